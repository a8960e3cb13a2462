//! The end of a run: the last attempt at the top of its folder, everything measured, `metrics.json`.

use std::fs;
use std::path::Path;

use ir::Graph;
use yolo::BadInput;

use super::{CompressRecord, Run};
use crate::gate::{Attempt, Gate};
use crate::judge::Court;
use crate::measure::{self, Accuracy, Size, StageRecord};
use crate::run_dir::MODEL_FILES;
use crate::{CompressError, file_digest};

impl Run<'_> {
    /// Copies the last attempt to the top, measures what is left to measure, writes `metrics.json`, and removes what an
    /// earlier run left.
    pub(super) fn package(
        &self,
        court: Court<'_>,
        attempts: Vec<Attempt>,
    ) -> Result<CompressRecord, CompressError> {
        let last = attempts.last().ok_or(CompressError::NoAttempts)?;
        for file in MODEL_FILES {
            let path = self.dir.file(&format!("{}/{file}", last.folder));
            let bytes = fs::read(&path).map_err(|source| CompressError::Read { path, source })?;
            self.dir.write(file, &bytes)?;
        }
        let accuracy = |who: &str, model: &str| {
            let model = format!("{}/{model}", last.folder);
            court.val.accuracy(self, who, &model)
        };
        let pruned = accuracy(&format!("{}.pruned", last.folder), "pruned.onnx")?;
        let quantized = accuracy(&last.folder, "model.onnx")?;
        let [before, middle, after] = self.sizes()?;
        let files = ["pruned.onnx", "model.onnx"].map(|f| self.dir.file(f));
        let baseline = &court.val.baseline;
        let record = self.record(
            [
                stage_record(&self.recipe.model, before, baseline)?,
                stage_record(&files[0], middle, &pruned)?,
                stage_record(&files[1], after, &quantized)?,
            ],
            court,
            attempts,
        )?;
        self.dir.write_json("metrics.json", &record)?;
        self.dir.sweep()?;
        Ok(record)
    }

    fn record(
        &self,
        [baseline, pruned, quantized]: [StageRecord; 3],
        court: Court<'_>,
        attempts: Vec<Attempt>,
    ) -> Result<CompressRecord, CompressError> {
        let last = attempts.last().ok_or(CompressError::NoAttempts)?;
        let calibration_bad: Vec<BadInput> = self.quantize(&last.folder)?;
        let calibration_images = self.data.calibration.len() - calibration_bad.len();
        let gate = Gate {
            keep: self.recipe.gate.keep,
            strict: self.recipe.gate.strict,
            ratio: last.ratio.unwrap_or(0.0),
            lower_bound: last.lower_bound,
            upper_bound: last.upper_bound,
            passed: last.passed,
            attempts,
        };
        Ok(CompressRecord {
            baseline,
            pruned,
            quantized,
            gate,
            calibration_images,
            holdout_images: court.holdout_images(),
            val_labelled: court.labelled,
            warnings: court.warnings,
            bad_images: [court.val.baseline.bad_images, calibration_bad].concat(),
            bad_labels: self.data.val.bad_labels.clone(),
        })
    }

    /// Sizes and times of the three models; `latency.json` keeps the times, which no other run would find again.
    fn sizes(&self) -> Result<[Size; 3], CompressError> {
        let files = ["pruned.onnx", "model.onnx"];
        let mut key = self.key("latency").and_text(self.runner.threads);
        for file in files {
            key = key.and(file_digest(&self.dir.file(file))?);
        }
        let sizes = self.dir.stage(("run.latency", key.finish()), || {
            (self.runner.say)("latency: measuring");
            let measure =
                |graph: &Graph| measure::size(graph, &self.runner.engine, self.runner.threads);
            let [pruned, quantized] = [self.read(files[0])?, self.read(files[1])?];
            Ok([
                measure(&self.graph)?,
                measure(&pruned)?,
                measure(&quantized)?,
            ])
        })?;
        let [baseline, pruned, quantized] = sizes.map(|s| s.latency_ms);
        let latency = serde_json::json!({
            "baseline": baseline, "pruned": pruned, "quantized": quantized,
            "threads": self.runner.threads, "isa": self.recipe.isa,
        });
        self.dir.write_json("latency.json", &latency)?;
        Ok(sizes)
    }
}

fn stage_record(
    file: &Path,
    size: Size,
    accuracy: &Accuracy,
) -> Result<StageRecord, CompressError> {
    let found = fs::metadata(file).map_err(|source| CompressError::Read {
        path: file.to_owned(),
        source,
    })?;
    Ok(StageRecord {
        file_bytes: found.len(),
        params: size.params,
        macs: size.macs,
        int8_macs_share: size.int8_macs_share,
        arena_bytes: size.arena_bytes,
        latency_ms: size.latency_ms,
        energy_j: size.energy_j,
        metrics: accuracy.metrics.clone(),
    })
}
