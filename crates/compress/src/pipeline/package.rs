//! The end of a run: the last attempt at the top of its folder, everything measured, `metrics.json`.

use std::sync::Arc;

use ir::Normalised;
use observe::{Engine, Measured, Runs, Splits, runs_in_integers};
use runtime::Plan;

use crate::artifact::{Candidate, StoredModel};
use crate::evaluation::Accuracy;
use crate::gate::Gate;
use crate::record::{CompressRecord, Footprint, GateRecord, StageRecord};
use crate::run::Run;
use crate::run_dir::MODEL_FILES;
use crate::source::Source;
use crate::{CompressError, Recipe};

/// How often a model runs when it is timed.
const RUNS: Runs = Runs { warmup: 3, timed: 20 };

/// Copies the last attempt to the top, measures what is left to measure, writes `metrics.json`, and removes what an earlier run
/// left.
pub(super) fn package(
    gate: Gate<'_>,
    candidates: Vec<Candidate>,
    recipe: &Recipe,
    data: &Splits,
    source: &Source,
    run: &Run<'_>,
) -> Result<CompressRecord, CompressError> {
    let last = candidates.last().ok_or(CompressError::NoAttempts)?;
    for file in MODEL_FILES {
        run.dir.copy(&format!("{}/{file}", last.attempt.folder), file)?;
    }
    let models = [&source.model, &last.pruned, &last.quantized.model];
    let pruned = gate.val.evaluate(&last.pruned, source, run)?;
    let quantized = gate.val.evaluate(&last.quantized.model, source, run)?;
    let val_lost = gate.val.losses(&quantized, run)?;
    let footprints = footprints(models, source, run)?;
    let accuracies = [&gate.val.baseline, &pruned, &quantized];
    let [baseline, pruned, quantized] =
        [0, 1, 2].map(|i| stage_record(models[i], footprints[i], accuracies[i]));
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
        warnings: gate.warnings,
        bad_images: [gate.val.baseline.bad_images, calibration_bad].concat(),
        bad_labels: data.val.bad_labels.clone(),
    };
    run.dir.write_json("metrics.json", &record)?;
    run.dir.sweep()?;
    Ok(record)
}

fn stage_record(model: &StoredModel, footprint: Footprint, accuracy: &Accuracy) -> StageRecord {
    StageRecord { file_bytes: model.file_bytes, footprint, metrics: accuracy.metrics.clone() }
}

/// Sizes and times of the three models, one after the other, so that they can be compared. `latency.json` keeps the times, which
/// no other run would find again.
fn footprints(
    models: [&StoredModel; 3],
    source: &Source,
    run: &Run<'_>,
) -> Result<[Footprint; 3], CompressError> {
    let inputs = (&source.key, models, run.engine.threads);
    let footprints = run.dir.stage("run.latency", &inputs, || {
        (run.log)("latency: measuring");
        let measure = |model: &StoredModel| footprint(model.graph(run.dir)?, run.engine);
        let [baseline, pruned, quantized] = models.map(measure);
        Ok([baseline?, pruned?, quantized?])
    })?;
    let [baseline, pruned, quantized] = footprints.map(|f| f.latency_ms);
    let latency = serde_json::json!({
        "baseline": baseline, "pruned": pruned, "quantized": quantized,
        "threads": run.engine.threads, "isa": run.engine.options.isa.to_string(),
    });
    run.dir.write_json("latency.json", &latency)?;
    Ok(footprints)
}

/// Parameters, MACs, memory, and the time and energy of some runs.
fn footprint(graph: &Normalised, engine: Engine) -> Result<Footprint, CompressError> {
    let plan = Arc::new(Plan::compile(graph, &[], &engine.options)?);
    let measured = if runs_in_integers(graph, &plan) {
        Some(Measured::of_plan(graph, &plan, engine.threads, RUNS)?)
    } else {
        None
    };
    Ok(Footprint {
        params: graph.params(),
        macs: graph.macs(),
        int8_macs_share: quant::int8_macs_share(graph),
        arena_bytes: plan.arena_bytes(),
        latency_ms: measured.map(|m| m.latency),
        energy_j: measured.and_then(|m| m.energy_j),
    })
}
