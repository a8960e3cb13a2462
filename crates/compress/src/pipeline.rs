//! The whole way: the model as it came is evaluated, pruned, quantized and judged, with less pruning when that costs too much.
//!
//! A stage is a function of its inputs: `RunDir::stage` keys what it gives by their digests, so that an interrupted run goes on
//! with what is finished.

use ir::Graph;
use observe::{ImageSet, Model, Observation, Splits, check_bad_images};

use crate::artifact::{Candidate, LESSONS, PrunedModel, QuantizedModel, StoredModel};
use crate::digest::images_digest;
use crate::gate::Gate;
use crate::recipe::{PruneRecipe, QuantizeRecipe, RecoverRecipe};
use crate::record::CompressRecord;
use crate::run::Run;
use crate::run_dir::{MODEL, PRUNE_PLAN, PRUNED, QUANT_ACCOUNT, QUANT_PLAN, THOROUGH};
use crate::source::Source;
use crate::{
    CompressError, HeadedModel, Lessons, PruneBudget, PruneOptions, PruneStudy, QuantizeAccount,
    QuantizeBudget, QuantizeOptions, Recipe, quantize_detector,
};

mod package;
mod recover;

use recover::recover;

/// By how much a float form may miss the gate for its INT8 form to learn from the model as it came, which may pass even so: yolov5n's
/// gained 0.017 of the mAP of the model as it came (docs/benchmarks.md).
const LESSONS_GAIN: f64 = 0.02;

/// Runs the recipe on a graph and writes everything into the run directory: `recipe.toml`, `attempt-N/` with models and plans,
/// `pruned.onnx`, `model.onnx`, their plans, `latency.json` and `metrics.json`; for TensorRT also the calibration cache of `pruned.onnx`.
///
/// The model as it came is evaluated first: what cannot be judged is refused before anything is changed. A failed gate is
/// no error: everything is written and `gate.passed` is false.
///
/// # Errors
/// `TooFewToBeStrict`, `NothingFound`; as the stages; `Write` and `Onnx` when the folder refuses.
pub fn compress_detector(
    graph: &Graph,
    recipe: &Recipe,
    data: &Splits,
    run: &Run<'_>,
) -> Result<CompressRecord, CompressError> {
    quant::check_float(graph)?;
    recipe.check()?;
    run.dir.write("recipe.toml", recipe.to_toml()?.as_bytes())?;
    let source = Source::new(graph, recipe, data)?;
    let gate = Gate::open(recipe.gate, data, &source, run)?;
    let progress = |done| (run.progress)(done, data.calibration.len());
    let observation = Observation {
        model: Model::new(graph, &source.head),
        images: &data.calibration,
        engine: run.engine,
        progress: &progress,
    };
    let mut pruner =
        Pruner { observation, recipe: &recipe.prune, source: &source, run, study: None };
    let context = Context { recipe, data, observation, source: &source, gate: &gate, run };
    let mut candidates: Vec<Candidate> = Vec::new();
    let budgets = recipe.prune.budgets();
    let recovery = context.recovery(&budgets);
    for (i, &budget) in budgets.iter().enumerate() {
        let is_last = i + 1 == budgets.len();
        let pruned = pruner.prune(i + 1, budget, &candidates)?;
        let is_new = !pruned.is_same || candidates.is_empty();
        if is_new {
            let quantized = context.quantized(&pruned.model, pruned.lessons())?;
            candidates.iter_mut().for_each(Candidate::release);
            candidates.push(Candidate::new(pruned, quantized));
        }
        let next = format!("attempt-{}", candidates.len() + 1);
        // A model that came out again was asked for again, recovered or not.
        let pruned = candidates.iter().rposition(|c| c.attempt.recovery.is_none()).unwrap_or(0);
        candidates[pruned..].iter_mut().for_each(|c| c.attempt.asked.push(budget));
        let candidate = candidates.last_mut().expect("the first attempt is new");
        let recovery = recovery.filter(|_| is_new && candidate.attempt.macs_ratio > 0.0);
        gate.judge(candidate, is_last && recovery.is_none(), &source, run)?;
        if candidate.attempt.passed {
            break;
        }
        let who = candidate.attempt.ratio.map_or("hold-out", |_| "gate");
        if let Some(recovery) = recovery {
            (run.log)(&format!("{who}: pruning alone took too much, recovering"));
            let recovered = context.recovered(candidate, &recovery, &next, is_last)?;
            let has_passed = recovered.attempt.passed;
            candidates.iter_mut().for_each(Candidate::release);
            candidates.push(recovered);
            if has_passed {
                break;
            }
        }
        if is_new && !is_last {
            (run.log)(&format!("{who}: too much was lost, trying again with less pruning"));
        }
    }
    package::package(candidates, &context)
}

/// What the stages of a run share.
struct Context<'a> {
    recipe: &'a Recipe,
    data: &'a Splits,
    observation: Observation<'a>,
    source: &'a Source,
    gate: &'a Gate<'a>,
    run: &'a Run<'a>,
}

impl Context<'_> {
    /// A candidate whose pruned model is recovered into a folder, quantized and judged.
    fn recovered(
        &self,
        candidate: &Candidate,
        recovery: &RecoverRecipe,
        folder: &str,
        is_last: bool,
    ) -> Result<Candidate, CompressError> {
        let model = recover(&candidate.pruned, folder, recovery, self)?;
        let steps = model.recovery.best.step.max(LESSONS);
        let quantized = self.quantized(&model.model, Some(steps))?;
        let mut recovered = candidate.recovered(model, quantized);
        self.gate.judge(&mut recovered, is_last, self.source, self.run)?;
        Ok(recovered)
    }

    /// Quantizes a pruned model; thoroughly where it is quantization that takes too much on the hold-out. It learns then, from the
    /// model as it came for so many steps, or from itself.
    fn quantized(
        &self,
        pruned: &StoredModel,
        lessons: Option<usize>,
    ) -> Result<QuantizedModel, CompressError> {
        let folder = pruned.folder();
        let quantized = self.quantized_into(folder, pruned, QuantizeBudget::Normal, None)?;
        let gain = lessons.map_or(0.0, |_| LESSONS_GAIN);
        let (gate, quantized_model) = (self.gate, &quantized.model);
        if !gate.fails_by_quantization(pruned, quantized_model, gain, self.source, self.run)? {
            return Ok(quantized);
        }
        (self.run.log)("hold-out: quantization took too much, trying thoroughly");
        let thorough = format!("{folder}{THOROUGH}");
        let model = self.quantized_into(&thorough, pruned, QuantizeBudget::Thorough, lessons)?;
        for file in [PRUNED, PRUNE_PLAN] {
            self.run.dir.copy(&format!("{folder}/{file}"), &format!("{thorough}/{file}"))?;
        }
        Ok(model)
    }

    fn quantized_into(
        &self,
        folder: &str,
        pruned: &StoredModel,
        budget: QuantizeBudget,
        lessons: Option<usize>,
    ) -> Result<QuantizedModel, CompressError> {
        let Self { recipe, data, source, run, .. } = *self;
        let QuantizeRecipe { target, calibrator, head, ref float } = recipe.quantize;
        let per_scene = source.head.input.images();
        let training = ImageSet::from(&data.training);
        let learnt_from = lessons.map(|steps| (steps, images_digest(&training, per_scene)));
        let inputs =
            (&source.key, &source.calibration, &recipe.quantize, budget, learnt_from, pruned);
        run.dir.stage(&format!("{folder}.quantize"), &inputs, || {
            let images = self.observation.images.len();
            (run.log)(&format!("quantize: {images} images, {}", calibrator.name));
            let model = Model::new(pruned.graph(run.dir)?, &source.head);
            let observation = Observation { model, ..self.observation };
            let teacher = HeadedModel { graph: source.model.graph(run.dir)?, head: &source.head };
            let training = lessons.map(|_| training.readable(per_scene, run.engine.threads));
            let training = training.transpose()?.map(|(images, _)| images);
            let lessons = lessons.zip(training.as_ref());
            let options = QuantizeOptions {
                target,
                calibrator,
                budget,
                explain: false,
                head,
                float: float.clone(),
                lessons: lessons.map(|(steps, images)| Lessons { teacher, images, steps }),
            };
            let quantized = quantize_detector(&observation, &options, run.log)?;
            check_bad_images(quantized.bad_images.len(), images)?;
            run.dir.write_json(&format!("{folder}/{QUANT_PLAN}"), &quantized.plan)?;
            let account = QuantizeAccount { steps: quantized.steps, ranges: quantized.ranges };
            run.dir.write_json(&format!("{folder}/{QUANT_ACCOUNT}"), &account)?;
            let bytes = onnx::encode(&quantized.graph)?;
            let file = format!("{folder}/{MODEL}");
            Ok(QuantizedModel {
                model: StoredModel::write(run.dir, folder.to_owned(), file, &bytes)?,
                bad_images: quantized.bad_images,
            })
        })
    }
}

/// What is known of the channels; what pruning by a budget takes is told.
fn study<'a>(
    observation: Observation<'a>,
    options: &PruneOptions,
    budget: PruneBudget,
    run: &Run<'_>,
) -> Result<PruneStudy<'a>, CompressError> {
    let study = PruneStudy::new(observation, options)?;
    let minutes = study.reckoned_time(budget).as_secs_f64() / 60.0;
    let reckoning = study.reckoning();
    let megabytes = reckoning.memory_bytes.div_ceil(1_000_000);
    (run.log)(&format!(
        "prune: {reckoning}: about {minutes:.1} min and at most {megabytes} MB beside the model"
    ));
    Ok(study)
}

/// Prunes the model as it came. What is known of its channels is found out when a stage first needs it, and serves all budgets.
struct Pruner<'a> {
    observation: Observation<'a>,
    recipe: &'a PruneRecipe,
    source: &'a Source,
    run: &'a Run<'a>,
    study: Option<PruneStudy<'a>>,
}

impl Pruner<'_> {
    /// Prunes into the folder of the next attempt, unless the attempt before came out the same.
    fn prune(
        &mut self,
        turn: usize,
        budget: PruneBudget,
        earlier: &[Candidate],
    ) -> Result<PrunedModel, CompressError> {
        let (run, options) = (self.run, self.recipe.options());
        let folder = format!("attempt-{}", earlier.len() + 1);
        let previous = earlier.iter().rfind(|candidate| candidate.attempt.recovery.is_none());
        let inputs = (
            &self.source.key,
            &self.source.calibration,
            self.recipe.without_budgets(),
            budget,
            &folder,
            previous.map(|c| &c.pruned),
        );
        let pruned = run.dir.stage(&format!("prune-{turn}"), &inputs, || {
            (run.log)(&format!("prune: {budget}, by {}", options.criterion.name));
            let study = match &mut self.study {
                Some(study) => study,
                None => self.study.insert(study(self.observation, &options, budget, run)?),
            };
            let pruned = study.prune(budget)?;
            check_bad_images(pruned.bad_images.len(), self.observation.images.len())?;
            let bytes = onnx::encode(&pruned.graph)?;
            let same = previous.filter(|c| c.pruned.has_bytes(&bytes));
            let model = match same {
                Some(same) => same.pruned.without_graph(),
                None => {
                    let plan = format!("{folder}/{PRUNE_PLAN}");
                    run.dir.write_json(&plan, &pruned.account)?;
                    let name = format!("{folder}.pruned");
                    StoredModel::write(run.dir, name, format!("{folder}/{PRUNED}"), &bytes)?
                }
            };
            Ok(PrunedModel {
                model,
                reached: pruned.account.reached,
                bad_images: pruned.bad_images,
                is_same: same.is_some(),
            })
        })?;
        if let Some(shortfall) = &pruned.reached.shortfall {
            (run.log)(&format!(
                "prune: {:.1} % of the MACs were removed: {shortfall}",
                100.0 * pruned.reached.macs_ratio
            ));
        }
        if let Some(same) = previous.filter(|_| pruned.is_same) {
            (run.log)(&format!("prune: the same as {}", same.attempt.folder));
        }
        Ok(pruned)
    }
}
