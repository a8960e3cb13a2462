//! The whole way: baseline, prune, quantize, gate, with less pruning when that costs too much.

use std::fs;
use std::path::{Path, PathBuf};

use ir::{Graph, rewrites};
use quant::Target;
use runtime::PlanOptions;
use serde::{Deserialize, Serialize};
use yolo::families::{self, Head};
use yolo::metrics::{RatioInterval, paired_bootstrap};
use yolo::{BadInput, Dataset};

use crate::digest::{Key, Scenes, dataset_digest};
use crate::gate::{Attempt, Gate};
use crate::measure::{self, Accuracy, Size, StageRecord};
use crate::quantize_detector;
use crate::run_dir::{RunDir, Stage};
use crate::{CompressError, Observation, PruneBudget, PruneStudy, Recipe, file_digest};

const BOOTSTRAP_ROUNDS: usize = 1000;

/// Data of the pipeline: images to look at while changing the model, and the split that judges it.
pub struct CompressData<'a> {
    /// Calibration images, none of them of `val`.
    pub calibration: &'a [PathBuf],
    /// Labelled images, neither of `calibration` nor of `val`, by which attempts are chosen; `None` where there are none to spare.
    pub holdout: Option<&'a Dataset>,
    /// Read by the gate alone.
    pub val: &'a Dataset,
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
    /// Images of all kinds that were skipped.
    pub bad_images: Vec<BadInput>,
    /// Labels that were skipped.
    pub bad_labels: Vec<BadInput>,
}

/// What does not change from attempt to attempt.
struct Run<'a> {
    /// With BatchNorm where the model has it, as pruning wants it.
    source: &'a Graph,
    /// With BatchNorm folded.
    graph: Graph,
    head: Head,
    recipe: &'a Recipe,
    target: Target,
    data: &'a CompressData<'a>,
    runner: &'a Runner<'a>,
    dir: &'a RunDir,
    /// Progress over the calibration images.
    shown: &'a (dyn Fn(usize) + Sync),
    /// Digest of the calibration images.
    calibration: String,
}

/// Runs the recipe on a graph and writes everything into the run directory: `recipe.toml`, `attempt-N/` with models and plans,
/// `pruned.onnx`, `model.onnx`, their plans, `latency.json` and `metrics.json`.
///
/// A failed gate is no error: everything is written and `gate.passed` is false.
///
/// # Errors
/// As the stages; `Write` and `Onnx` when the folder refuses.
pub fn compress_detector(
    source: &Graph,
    recipe: &Recipe,
    data: &CompressData<'_>,
    runner: &Runner<'_>,
    dir: &RunDir,
) -> Result<CompressRecord, CompressError> {
    dir.write("recipe.toml", recipe.to_toml().as_bytes())?;
    let mut graph = source.clone();
    for rewrite in rewrites::REWRITES {
        rewrites::apply(&mut graph, rewrite)?;
    }
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
    run.finish(run.attempts()?)
}

/// A set of images on which baseline and attempts are compared.
#[derive(Clone, Copy)]
struct Jury<'a> {
    name: &'static str,
    dataset: &'a Dataset,
}

impl Run<'_> {
    /// Tries until the gate passes, or nothing is left to try.
    fn attempts(&self) -> Result<Vec<Attempt>, CompressError> {
        let val = Jury {
            name: "val",
            dataset: self.data.val,
        };
        let holdout = self.data.holdout.map(|dataset| Jury {
            name: "holdout",
            dataset,
        });
        let mut attempts: Vec<Attempt> = Vec::new();
        let mut study = None;
        let budgets = self.recipe.prune.budgets();
        for (i, &budget) in budgets.iter().enumerate() {
            let last = i + 1 == budgets.len();
            let folder = format!("attempt-{}", i + 1);
            let macs_ratio = self.shrink(&folder, budget, &mut study)?;
            let holdout = holdout
                .map(|jury| self.compare(jury, &folder))
                .transpose()?;
            let hopeless = holdout.is_some_and(|h| !self.recipe.gate.passes(&h));
            let judged = match hopeless && !last {
                true => None,
                false => Some(self.compare(val, &folder)?),
            };
            let passed = judged.is_some_and(|j| self.recipe.gate.passes(&j));
            attempts.push(Attempt {
                macs_ratio,
                folder,
                holdout,
                ratio: judged.map(|j| j.ratio),
                lower_bound: judged.map(|j| j.lower),
                upper_bound: judged.map(|j| j.upper),
                passed,
            });
            if passed {
                break;
            }
            if !last {
                let who = if judged.is_some() { "gate" } else { "hold-out" };
                (self.runner.say)(&format!(
                    "{who}: too much was lost, trying again with less pruning"
                ));
            }
        }
        Ok(attempts)
    }

    /// Prunes and quantizes into a folder, and gives the share of the MACs that was to go or, by contribution, went.
    /// What is known of the channels is found out once, for all attempts.
    fn shrink<'s>(
        &'s self,
        folder: &str,
        budget: PruneBudget,
        study: &mut Option<PruneStudy<'s>>,
    ) -> Result<f64, CompressError> {
        let name = |file: &str| format!("{folder}/{file}");
        let options = self.recipe.prune.options();
        let (pruned, plan) = (name("pruned.onnx"), name("prune.plan.json"));
        let files = [pruned.as_str(), &plan];
        let key = self.key("prune").and(format!("{options:?} {budget:?}"));
        self.dir
            .stage(&self.named(folder, "prune", key, &files), || {
                (self.runner.say)(&format!("prune: {budget} by {}", options.criterion));
                let study = match study {
                    Some(study) => study,
                    None => study.insert(PruneStudy::new(self.observe(self.source), &options)?),
                };
                let done = study.prune(budget)?;
                self.check_bad(&done.bad_images)?;
                self.dir.write(&pruned, &onnx::encode(&done.graph)?)?;
                self.dir.write_json(&plan, &done.account)?;
                Ok(done.bad_images)
            })?;
        let (model, plan) = (name("model.onnx"), name("quant.plan.json"));
        let files = [model.as_str(), &plan];
        let calibrator = &self.recipe.quantize.calibrator;
        let key = self.key("quantize").and(self.target.name).and(calibrator);
        let key = key.and_file(&self.dir.file(&pruned))?;
        self.dir
            .stage(&self.named(folder, "quantize", key, &files), || {
                let images = self.data.calibration.len();
                (self.runner.say)(&format!("quantize: {images} images, {calibrator}"));
                let float = read(&self.dir.file(&pruned))?;
                let done = quantize_detector(&self.observe(&float), &self.target, calibrator)?;
                self.check_bad(&done.bad_images)?;
                self.dir.write(&model, &onnx::encode(&done.graph)?)?;
                self.dir.write_json(&plan, &done.plan)?;
                Ok(done.bad_images)
            })?;
        match budget {
            PruneBudget::Macs(ratio) | PruneBudget::Channels(ratio) => Ok(ratio),
            PruneBudget::Contribution(_) => {
                let left = read(&self.dir.file(&pruned))?.macs();
                Ok(1.0 - left as f64 / self.graph.macs().max(1) as f64)
            }
        }
    }

    /// How much of the baseline's mAP an attempt keeps.
    fn compare(&self, jury: Jury<'_>, folder: &str) -> Result<RatioInterval, CompressError> {
        let model = format!("{folder}/model.onnx");
        let baseline = self.accuracy(jury, "baseline", None)?;
        let found = self.accuracy(jury, folder, Some(&model))?;
        let [before, after] = ["baseline", folder].map(|who| dets(jury, who));
        let key = Key::of("compare")
            .and_text(self.recipe.seed)
            .and(dataset_digest(jury.dataset, self.head.input.images()));
        let key = key
            .and_file(&self.dir.file(&before))?
            .and_file(&self.dir.file(&after))?;
        let stage = format!("{}.compare", jury.name);
        self.dir.stage(&self.named(folder, &stage, key, &[]), || {
            (self.runner.say)(&format!("{}: comparing", jury.name));
            let expected = measure::matches(&baseline, jury.dataset, (self.dir, &before))?;
            let found = measure::matches(&found, jury.dataset, (self.dir, &after))?;
            let seed = self.recipe.seed;
            Ok(paired_bootstrap(&expected, &found, seed, BOOTSTRAP_ROUNDS)?)
        })
    }

    /// Accuracy of a model of the run directory, or of the source.
    fn accuracy(
        &self,
        jury: Jury<'_>,
        who: &str,
        model: Option<&str>,
    ) -> Result<Accuracy, CompressError> {
        let dets = dets(jury, who);
        let key = self
            .key("accuracy")
            .and(dataset_digest(jury.dataset, self.head.input.images()));
        let key = match model {
            Some(model) => key.and_file(&self.dir.file(model))?,
            None => key,
        };
        let stage = format!("{}.accuracy", jury.name);
        self.dir.stage(&self.named(who, &stage, key, &[&dets]), || {
            (self.runner.say)(&format!("{}: measuring accuracy of {who}", jury.name));
            let read = model.map(|model| read(&self.dir.file(model))).transpose()?;
            let graph = read.as_ref().unwrap_or(&self.graph);
            let total = jury.dataset.images.len();
            measure::accuracy(
                (graph, self.head.family.name),
                jury.dataset,
                (&self.runner.engine, self.runner.threads),
                (self.dir, &dets),
                &|done| (self.runner.progress)(done, total),
            )
        })
    }

    /// Copies the last attempt to the top, measures what is left to measure and writes `metrics.json`.
    fn finish(&self, attempts: Vec<Attempt>) -> Result<CompressRecord, CompressError> {
        let last = attempts.last().ok_or(CompressError::NoAttempts)?;
        for file in [
            "pruned.onnx",
            "prune.plan.json",
            "model.onnx",
            "quant.plan.json",
        ] {
            let path = self.dir.file(&format!("{}/{file}", last.folder));
            let bytes = fs::read(&path).map_err(|source| CompressError::Read { path, source })?;
            self.dir.write(file, &bytes)?;
        }
        let val = Jury {
            name: "val",
            dataset: self.data.val,
        };
        let pruned = format!("{}/pruned.onnx", last.folder);
        let accuracies = [
            self.accuracy(val, "baseline", None)?,
            self.accuracy(val, &format!("{}.pruned", last.folder), Some(&pruned))?,
            self.accuracy(
                val,
                &last.folder,
                Some(&format!("{}/model.onnx", last.folder)),
            )?,
        ];
        let sizes = self.sizes()?;
        let file_bytes = |path: &Path| {
            let found = fs::metadata(path).map(|m| m.len());
            found.map_err(|source| CompressError::Read {
                path: path.to_owned(),
                source,
            })
        };
        let files = [
            self.recipe.model.clone(),
            self.dir.file("pruned.onnx"),
            self.dir.file("model.onnx"),
        ];
        let mut records = Vec::new();
        for ((accuracy, size), file) in accuracies.iter().zip(sizes).zip(&files) {
            records.push(StageRecord {
                file_bytes: file_bytes(file)?,
                params: size.params,
                macs: size.macs,
                int8_macs_share: size.int8_macs_share,
                arena_bytes: size.arena_bytes,
                latency_ms: size.latency_ms,
                energy_j: size.energy_j,
                metrics: accuracy.metrics.clone(),
            });
        }
        let [baseline, pruned, quantized] =
            <[StageRecord; 3]>::try_from(records).expect("three models were measured");
        let [accuracy, ..] = accuracies;
        let record = self.record([baseline, pruned, quantized], attempts, accuracy.bad_images)?;
        self.dir.write_json("metrics.json", &record)?;
        Ok(record)
    }

    fn record(
        &self,
        [baseline, pruned, quantized]: [StageRecord; 3],
        attempts: Vec<Attempt>,
        mut bad_images: Vec<BadInput>,
    ) -> Result<CompressRecord, CompressError> {
        let last = attempts.last().ok_or(CompressError::NoAttempts)?;
        let quantize = format!("{}.quantize", last.folder);
        let calibration_bad: Vec<BadInput> = self.dir.stage_result(&quantize)?;
        let calibration_images = self.data.calibration.len() - calibration_bad.len();
        bad_images.extend(calibration_bad);
        let gate = Gate {
            keep: self.recipe.gate.keep,
            strict: self.recipe.gate.strict,
            ratio: last.ratio.unwrap_or(0.0),
            lower_bound: last.lower_bound.unwrap_or(0.0),
            upper_bound: last.upper_bound.unwrap_or(0.0),
            passed: last.passed,
            attempts,
        };
        Ok(CompressRecord {
            baseline,
            pruned,
            quantized,
            gate,
            calibration_images,
            holdout_images: self.data.holdout.map_or(0, |d| d.images.len()),
            bad_images,
            bad_labels: self.data.val.bad_labels.clone(),
        })
    }

    /// Sizes and times of the three models; `latency.json` keeps the times, which no other run would find again.
    fn sizes(&self) -> Result<[Size; 3], CompressError> {
        let files = ["pruned.onnx", "model.onnx"].map(|f| self.dir.file(f));
        let mut key = self.key("latency").and_text(self.runner.threads);
        for file in &files {
            key = key.and(file_digest(file)?);
        }
        let sizes = self
            .dir
            .stage(&self.named("run", "latency", key, &[]), || {
                (self.runner.say)("latency: measuring");
                let measure =
                    |graph: &Graph| measure::size(graph, &self.runner.engine, self.runner.threads);
                let [pruned, quantized] = [read(&files[0])?, read(&files[1])?];
                Ok([
                    measure(&self.graph)?,
                    measure(&pruned)?,
                    measure(&quantized)?,
                ])
            })?;
        let times = sizes.map(|s| s.latency_ms);
        let [baseline, pruned, quantized] = times;
        let latency = serde_json::json!({
            "baseline": baseline, "pruned": pruned, "quantized": quantized,
            "threads": self.runner.threads, "isa": self.recipe.isa,
        });
        self.dir.write_json("latency.json", &latency)?;
        Ok(sizes)
    }

    /// What every stage depends on.
    fn key(&self, stage: &str) -> Key {
        let recipe = self.recipe;
        let key = Key::of(stage).and(&recipe.model_sha256).and(&recipe.isa);
        let imgsz = format!("{:?} {}", self.head.input.size_px, self.head.family.name);
        key.and(imgsz).and(&self.calibration).and_text(recipe.seed)
    }

    fn named<'n>(&self, who: &str, stage: &str, key: Key, files: &'n [&'n str]) -> Stage<'n> {
        Stage {
            name: format!("{who}.{stage}"),
            key: key.finish(),
            files,
        }
    }

    fn observe<'g>(&'g self, graph: &'g Graph) -> Observation<'g> {
        Observation {
            graph,
            input: &self.head.input,
            streams: &self.data.val.streams,
            family: Some(self.head.family),
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

fn dets(jury: Jury<'_>, who: &str) -> String {
    format!("dets/{}.{who}.json", jury.name)
}

/// A model that a stage wrote, as later stages and later runs alike see it.
fn read(path: &Path) -> Result<Graph, CompressError> {
    let mut graph = onnx::load(path, &onnx::LoadOptions::default())?;
    for rewrite in rewrites::REWRITES {
        rewrites::apply(&mut graph, rewrite)?;
    }
    Ok(graph)
}
