//! The whole way: baseline, prune, quantize, gate, with less pruning when that costs too much.

use std::path::PathBuf;

use ir::{Graph, Normalised, normalise};
use quant::Target;
use runtime::PlanOptions;
use serde::{Deserialize, Serialize};
use yolo::families::{self, Head};
use yolo::{BadInput, Dataset};

use crate::digest::{Key, Scenes};
use crate::gate::{Attempt, Gate};
use crate::judge::Court;
use crate::measure::StageRecord;
use crate::quantize_detector;
use crate::run_dir::RunDir;
use crate::{CompressError, Labelled, Observation, PruneBudget, PruneStudy, Reached, Recipe};

mod package;

/// Data of the pipeline: images to look at while changing the model, and the split that judges it.
pub struct CompressData<'a> {
    /// Calibration images, none of them of `val`.
    pub calibration: &'a [PathBuf],
    /// Labelled images, neither of `calibration` nor of `val`, by which attempts are chosen; `None` where there are none to spare.
    pub holdout: Option<&'a Dataset>,
    /// Read by the gate alone.
    pub val: &'a Dataset,
    /// What was used instead of what was asked; kept in `metrics.json`.
    pub warnings: &'a [String],
}

/// How the pipeline runs, which decides nothing but the time it takes.
pub struct Runner<'a> {
    /// How plans are compiled.
    pub engine: PlanOptions,
    /// Images in flight, and threads of one inference when it is timed.
    pub threads: usize,
    /// Told what begins.
    pub say: &'a (dyn Fn(&str) + Sync),
    /// Told how much is done, as images, of how many.
    pub progress: &'a (dyn Fn(usize, usize) + Sync),
}

/// `metrics.json`.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct CompressRecord {
    /// The model as it came.
    pub baseline: StageRecord,
    /// After pruning, in float.
    pub pruned: StageRecord,
    /// The result.
    pub quantized: StageRecord,
    /// The verdict.
    pub gate: Gate,
    /// Images that were calibrated on, without those that could not be read.
    pub calibration_images: usize,
    /// Images by which attempts were chosen.
    pub holdout_images: usize,
    /// What is labelled in `val`.
    pub val_labelled: Labelled,
    /// What was used instead of what was asked, and what the figures do not tell.
    pub warnings: Vec<String>,
    /// Images of all kinds that were skipped.
    pub bad_images: Vec<BadInput>,
    /// Labels that were skipped.
    pub bad_labels: Vec<BadInput>,
}

/// What does not change from attempt to attempt.
pub(crate) struct Run<'a> {
    /// With BatchNorm where the model has it, as pruning wants it.
    source: &'a Graph,
    pub(crate) graph: Normalised,
    pub(crate) head: Head,
    pub(crate) recipe: &'a Recipe,
    target: Target,
    data: &'a CompressData<'a>,
    pub(crate) runner: &'a Runner<'a>,
    pub(crate) dir: &'a RunDir,
    /// Progress over the calibration images.
    shown: &'a (dyn Fn(usize) + Sync),
    /// Digest of the calibration images.
    calibration: String,
}

/// What a pruning stage keeps.
#[derive(Deserialize, Serialize)]
struct PruneDone {
    reached: Reached,
    /// The earlier attempt that came out the same; nothing was written then.
    same_as: Option<String>,
    bad_images: Vec<BadInput>,
}

/// Runs the recipe on a graph and writes everything into the run directory: `recipe.toml`, `attempt-N/` with models and plans,
/// `pruned.onnx`, `model.onnx`, their plans, `latency.json` and `metrics.json`.
///
/// The model as it came is measured first: what cannot be judged is refused before anything is changed. A failed gate is
/// no error: everything is written and `gate.passed` is false.
///
/// # Errors
/// `TooFewToBeStrict`, `NothingFound`; as the stages; `Write` and `Onnx` when the folder refuses.
pub fn compress_detector(
    source: &Graph,
    recipe: &Recipe,
    data: &CompressData<'_>,
    runner: &Runner<'_>,
    dir: &RunDir,
) -> Result<CompressRecord, CompressError> {
    quant::check_float(source)?;
    recipe.check()?;
    dir.write("recipe.toml", recipe.to_toml()?.as_bytes())?;
    let graph = normalise(source.clone())?;
    let head = families::identify(&graph, recipe.family.as_deref())?;
    let scenes = Scenes {
        streams: &data.val.streams,
        images: head.input.images(),
    };
    let calibration = data.calibration.iter();
    let calibration = calibration.fold(Key::of("calibration"), |key, path| scenes.and(key, path));
    let images = data.calibration.len();
    let run = Run {
        shown: &|done| (runner.progress)(done, images),
        source,
        head,
        graph,
        recipe,
        target: quant::target(&recipe.quantize.target)?,
        data,
        runner,
        dir,
        calibration: calibration.finish(),
    };
    let court = Court::open(&run, data)?;
    let attempts = run.attempts(&court)?;
    run.package(court, attempts)
}

impl Run<'_> {
    /// Tries until the gate passes, or nothing is left to try.
    fn attempts(&self, court: &Court<'_>) -> Result<Vec<Attempt>, CompressError> {
        let mut attempts: Vec<Attempt> = Vec::new();
        let mut study = None;
        let budgets = self.recipe.prune.budgets();
        for (i, &budget) in budgets.iter().enumerate() {
            let last = i + 1 == budgets.len();
            let folder = format!("attempt-{}", attempts.len() + 1);
            let done = self.prune((i + 1, budget), &folder, &attempts, &mut study)?;
            let is_new = done.same_as.is_none();
            if is_new {
                attempts.push(Attempt::new(folder, &done.reached));
            }
            let Some(attempt) = attempts.last_mut() else {
                break;
            };
            attempt.asked.push(budget);
            if is_new {
                self.quantize(&attempt.folder)?;
            }
            court.judge(self, attempt, last)?;
            if attempt.passed {
                break;
            }
            if is_new && !last {
                let who = attempt.ratio.map_or("hold-out", |_| "gate");
                (self.runner.say)(&format!(
                    "{who}: too much was lost, trying again with less pruning"
                ));
            }
        }
        Ok(attempts)
    }

    /// Prunes into a folder, unless the same was made before. What is known of the channels is found out once, for all
    /// budgets.
    fn prune<'s>(
        &'s self,
        (turn, budget): (usize, PruneBudget),
        folder: &str,
        earlier: &[Attempt],
        study: &mut Option<PruneStudy<'s>>,
    ) -> Result<PruneDone, CompressError> {
        let options = self.recipe.prune.options();
        let [model, plan, ..] = crate::run_dir::MODEL_FILES.map(|f| format!("{folder}/{f}"));
        let mut key = self.key("prune").and(folder);
        key = key.and(format!("{options:?} {budget:?}"));
        let mut made = Vec::new();
        for attempt in earlier {
            let path = self.dir.file(&format!("{}/pruned.onnx", attempt.folder));
            key = key.and_file(&path)?;
            made.push((&attempt.folder, path));
        }
        let stage = (format!("prune-{turn}"), key.finish());
        let done = self.dir.stage((&stage.0, stage.1), || {
            (self.runner.say)(&format!("prune: {budget}, by {}", options.criterion));
            let study = match study {
                Some(study) => study,
                None => study.insert(PruneStudy::new(self.observe(self.source), &options)?),
            };
            let done = study.prune(budget)?;
            self.check_bad(&done.bad_images)?;
            let bytes = onnx::encode(&done.graph)?;
            let same = |path: &PathBuf| std::fs::read(path).is_ok_and(|other| other == bytes);
            let same_as = made.iter().find(|(_, path)| same(path));
            if same_as.is_none() {
                self.dir.write(&model, &bytes)?;
                self.dir.write_json(&plan, &done.account)?;
            }
            Ok(PruneDone {
                reached: done.account.reached,
                same_as: same_as.map(|(folder, _)| (*folder).clone()),
                bad_images: done.bad_images,
            })
        })?;
        let r = &done.reached;
        if let Some(shortfall) = &r.shortfall {
            (self.runner.say)(&format!(
                "prune: {:.1} % of the MACs went: {shortfall}",
                100.0 * r.macs_ratio
            ));
        }
        if let Some(same_as) = &done.same_as {
            (self.runner.say)(&format!("prune: the same as {same_as}"));
        }
        Ok(done)
    }

    /// Quantizes the pruned model of a folder; gives the images that could not be read.
    fn quantize(&self, folder: &str) -> Result<Vec<BadInput>, CompressError> {
        let [pruned, _, model, plan] = crate::run_dir::MODEL_FILES.map(|f| format!("{folder}/{f}"));
        let calibrator = &self.recipe.quantize.calibrator;
        let key = self.key("quantize").and(self.target.name).and(calibrator);
        let key = key.and(folder).and_file(&self.dir.file(&pruned))?.finish();
        self.dir.stage((&format!("{folder}.quantize"), key), || {
            let images = self.data.calibration.len();
            (self.runner.say)(&format!("quantize: {images} images, {calibrator}"));
            let float = self.read(&pruned)?;
            let done = quantize_detector(&self.observe(&float), &self.target, calibrator)?;
            self.check_bad(&done.bad_images)?;
            self.dir.write(&model, &onnx::encode(&done.graph)?)?;
            self.dir.write_json(&plan, &done.plan)?;
            Ok(done.bad_images)
        })
    }

    /// What every stage depends on.
    pub(crate) fn key(&self, stage: &str) -> Key {
        let recipe = self.recipe;
        let key = Key::of(stage).and(&recipe.model_sha256).and(&recipe.isa);
        let (input, decoder) = (&self.head.input, &self.head.decoder);
        let imgsz = format!("{:?} {} {decoder:?}", input.size_px, self.head.family.name);
        key.and(imgsz).and(&self.calibration).and_text(recipe.seed)
    }

    /// A model that a stage wrote, as later stages and later runs alike see it.
    pub(crate) fn read(&self, name: &str) -> Result<Normalised, CompressError> {
        let graph = onnx::load(&self.dir.file(name), &onnx::LoadOptions::default())?;
        Ok(normalise(graph)?)
    }

    fn observe<'g>(&'g self, graph: &'g Graph) -> Observation<'g> {
        Observation {
            graph,
            input: &self.head.input,
            streams: &self.data.val.streams,
            decoder: Some(&self.head.decoder),
            images: self.data.calibration,
            options: self.runner.engine,
            threads: self.runner.threads,
            progress: self.shown,
        }
    }

    fn check_bad(&self, bad_images: &[BadInput]) -> Result<(), CompressError> {
        let (bad, images) = (bad_images.len(), self.data.calibration.len());
        if bad > 3.max(images / 100) {
            return Err(CompressError::TooManyBadImages { bad, images });
        }
        Ok(())
    }
}
