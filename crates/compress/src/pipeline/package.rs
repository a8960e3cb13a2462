//! The end of a run: the last attempt at the top of its folder, everything measured, `metrics.json`.

use std::sync::Arc;

use ir::Normalised;
use observe::{
    Compared, Engine, Latency, Machine, Model, Observation, PlannedModel, Runs, runs_in_integers,
};
use runtime::Plan;
use serde::{Deserialize, Serialize};

use super::Context;
use crate::CompressError;
use crate::artifact::{Candidate, StoredModel};
use crate::evaluation::Accuracy;
use crate::record::{CompressRecord, Footprint, GateRecord, StageRecord};
use crate::run::Run;
use crate::run_dir::{CALIBRATION_CACHE, MODEL_FILES};
use crate::source::Source;

/// How often a model runs when it is timed.
const RUNS: Runs = Runs { warmup: 3, timed: 30 };

/// Copies the last attempt to the top, measures what is left to measure, writes `metrics.json`, and removes what an earlier run
/// left.
pub(super) fn package(
    candidates: Vec<Candidate>,
    context: &Context<'_>,
) -> Result<CompressRecord, CompressError> {
    let Context { recipe, data, source, gate, run, .. } = *context;
    let last = candidates.last().ok_or(CompressError::NoAttempts)?;
    for file in MODEL_FILES {
        run.dir.copy(&format!("{}/{file}", last.attempt.folder), file)?;
    }
    let models = [&source.model, &last.pruned, &last.quantized.model];
    let pruned = gate.val.evaluate(&last.pruned, source, run)?;
    let quantized = gate.val.evaluate(&last.quantized.model, source, run)?;
    let val_lost = gate.val.losses(&quantized, run)?;
    if recipe.quantize.target.engine().reads_calibration_cache {
        calibration_cache(&last.pruned, context)?;
    }
    let confidence = gate.confidence(&last.quantized.model, source, run)?;
    let footprints = footprints(models, source, run)?;
    let accuracies = [&gate.val.baseline, &pruned, &quantized];
    let [baseline, pruned, quantized] =
        [0, 1, 2].map(|i| stage_record(models[i], footprints.models[i], accuracies[i]));
    let calibration_bad = last.quantized.bad_images.clone();
    let record = CompressRecord {
        baseline,
        pruned,
        quantized,
        calibration_images: data.calibration.len() - calibration_bad.len(),
        holdout_images: gate.holdout_images(),
        calibration_sha256: source.calibration.clone(),
        val_labelled: gate.labelled,
        val_sha256: gate.val.digest.clone(),
        gate: GateRecord {
            keep: recipe.gate.keep,
            strict: recipe.gate.strict,
            ratio: last.attempt.ratio.unwrap_or(0.0),
            lower_bound: last.attempt.lower_bound,
            upper_bound: last.attempt.upper_bound,
            passed: last.attempt.passed,
            attempts: candidates.into_iter().map(|c| c.attempt).collect(),
        },
        val_lost,
        confidence,
        machine: footprints.machine,
        warnings: gate.warnings.clone(),
        bad_images: [gate.val.baseline.bad_images.clone(), calibration_bad].concat(),
        bad_labels: data.val.bad_labels.clone(),
    };
    run.dir.write_json("metrics.json", &record)?;
    run.dir.sweep()?;
    Ok(record)
}

/// Writes what TensorRT up to version 10 quantizes the pruned model by.
fn calibration_cache(pruned: &StoredModel, context: &Context<'_>) -> Result<(), CompressError> {
    let Context { recipe, observation, source, run, .. } = *context;
    let calibrator = recipe.quantize.calibrator;
    let inputs = (&source.key, &source.calibration, calibrator.name, pruned);
    run.dir.stage("run.calibration-cache", &inputs, || {
        (run.log)("calibration cache: ranges of the pruned model");
        let model = Model::new(pruned.graph(run.dir)?, &source.head);
        let observation = Observation { model, ..observation };
        let text = crate::calibration_cache(&observation, calibrator)?;
        run.dir.write(CALIBRATION_CACHE, text.as_bytes())
    })
}

fn stage_record(model: &StoredModel, footprint: Footprint, accuracy: &Accuracy) -> StageRecord {
    StageRecord { file_bytes: model.file_bytes, footprint, metrics: accuracy.metrics.clone() }
}

/// Sizes and times of the three models, timed in turns so that they can be compared. `latency.json` keeps the times, which no other
/// run would find again.
fn footprints(
    models: [&StoredModel; 3],
    source: &Source,
    run: &Run<'_>,
) -> Result<Footprints, CompressError> {
    let inputs = (&source.key, models, run.engine.threads);
    let found = run.dir.stage("run.latency", &inputs, || {
        (run.log)("latency: measuring");
        let [baseline, pruned, quantized] = models.map(|model| model.graph(run.dir));
        Footprints::measure(&[baseline?, pruned?, quantized?], run.engine)
    })?;
    let times: Vec<Option<Latency>> = found.models.iter().map(|f| f.latency_ms).collect();
    let latency = serde_json::json!({
        "baseline": times[0], "pruned": times[1], "quantized": times[2],
        "threads": run.engine.threads, "isa": run.engine.options.isa.to_string(),
        "machine": found.machine,
    });
    run.dir.write_json("latency.json", &latency)?;
    Ok(found)
}

/// What is known of models without labelled images.
#[derive(Deserialize, Serialize)]
struct Footprints {
    models: Vec<Footprint>,
    /// What the machine was while they were timed; `None` where none was.
    machine: Option<Machine>,
}

impl Footprints {
    /// Parameters, MACs and memory, and the time and energy of some runs of those models whose time says something.
    fn measure(graphs: &[&Normalised], engine: Engine) -> Result<Self, CompressError> {
        let (mut models, mut timed, mut runs) = (Vec::new(), Vec::new(), Vec::new());
        for (i, &graph) in graphs.iter().enumerate() {
            let plan = Arc::new(Plan::compile(graph, &[], &engine.options)?);
            models.push(Footprint {
                params: graph.params(),
                macs: graph.macs(),
                int8_macs_share: quant::int8_macs_share(graph),
                arena_bytes: plan.arena_bytes(),
                latency_ms: None,
                energy_j: None,
            });
            if runs_in_integers(graph, &plan) {
                timed.push(i);
                runs.push(PlannedModel { graph, plan });
            }
        }
        if timed.is_empty() {
            return Ok(Self { models, machine: None });
        }
        let compared = Compared::of_plans(&runs, engine.threads, RUNS)?;
        for (i, measured) in timed.into_iter().zip(compared.measured) {
            models[i].latency_ms = Some(measured.latency);
            models[i].energy_j = measured.energy_j;
        }
        Ok(Self { models, machine: Some(compared.machine) })
    }
}
