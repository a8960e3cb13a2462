//! Files beside a model, for engines and vendors' tools that quantize a float model themselves.
use anyhow::{Context as _, Result};
use compress::calibration_cache;
use observe::Observation;
use quant::{Calibrator, Target};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// What is written beside the model for versions of an engine that quantize a float model themselves.
#[derive(Debug, Serialize)]
pub(crate) struct CacheFiles {
    /// The float model that the cache belongs to: the names of its tensors are those of the cache.
    float_model: PathBuf,
    cache: PathBuf,
}

impl CacheFiles {
    /// Beside the model's file, where the engine reads them.
    pub(crate) fn beside(target: Target, out: &Path) -> Option<Self> {
        target.engine().reads_calibration_cache.then(|| Self {
            float_model: out.with_extension("float.onnx"),
            cache: out.with_extension("calibration.cache"),
        })
    }

    /// Those that a run has in its folder.
    pub(crate) fn of_run(target: Target, run: &Path) -> Option<Self> {
        target.engine().reads_calibration_cache.then(|| Self {
            float_model: run.join("pruned.onnx"),
            cache: run.join("pruned.calibration.cache"),
        })
    }

    /// Both files.
    pub(crate) fn into_paths(self) -> [PathBuf; 2] {
        [self.float_model, self.cache]
    }

    /// Writes both.
    pub(crate) fn write(
        &self,
        observation: &Observation<'_>,
        calibrator: &Calibrator,
    ) -> Result<()> {
        let text = calibration_cache(observation, calibrator)?;
        let float = onnx::encode(observation.model.graph)?;
        for (path, bytes) in [(&self.float_model, &float[..]), (&self.cache, text.as_bytes())] {
            yolo::write_file(path, bytes)
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(())
    }

    /// For versions that take the quantized file as it is, and for those that quantize.
    pub(crate) fn commands(&self, out: &Path) -> Vec<String> {
        let [out, float, cache] = [out, &self.float_model, &self.cache].map(Path::display);
        vec![
            format!("TensorRT 11: trtexec --onnx={out} --saveEngine=model.engine"),
            format!(
                "TensorRT up to 10: trtexec --onnx={float} --int8 --fp16 --calib={cache} --saveEngine=model.engine"
            ),
        ]
    }
}

/// What is written beside a model for a vendor's tool.
pub(crate) struct VendorFiles {
    /// One image a line, to calibrate on.
    pub(crate) calibration: PathBuf,
    /// What the model is, and the ranges of its tensors.
    pub(crate) ranges: PathBuf,
}

impl VendorFiles {
    /// Beside the model's file, where a vendor's tool quantizes.
    pub(crate) fn beside(target: Target, out: &Path) -> Option<Self> {
        target.engine().placement.is_vendors().then(|| Self {
            calibration: out.with_extension("calibration.txt"),
            ranges: out.with_extension("ranges.json"),
        })
    }

    /// Both files.
    pub(crate) fn into_paths(self) -> [PathBuf; 2] {
        [self.calibration, self.ranges]
    }
}
