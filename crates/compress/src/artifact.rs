//! What stages hand on: models that know their file in the run directory and its digest.

use std::cell::OnceCell;
use std::fs;

use ir::{Graph, Normalised, normalise};
use onnx::LoadOptions;
use serde::{Deserialize, Serialize};
use yolo::BadInput;

use crate::digest::sha256;
use crate::record::RecoveryRecord;
use crate::{Attempt, CompressError, Reached, Recipe, RunDir};

/// A model of a run. What depends on it depends on its digest, so it can stand in the inputs of a stage.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct StoredModel {
    /// What it is called in messages, and in the names of stages and files that tell of it.
    pub(crate) name: String,
    /// Its file in the run directory; empty for the model as it came.
    file: String,
    sha256: String,
    pub(crate) file_bytes: u64,
    /// The graph as a reader of the file sees it, which is what a run that goes on after an interruption sees too.
    #[serde(skip)]
    graph: OnceCell<Normalised>,
}

impl StoredModel {
    /// The model as it came.
    pub(crate) fn source(graph: &Graph, recipe: &Recipe) -> Result<Self, CompressError> {
        let path = &recipe.model;
        let metadata = fs::metadata(path)
            .map_err(|cause| CompressError::Read { path: path.clone(), cause })?;
        Ok(Self {
            name: "baseline".to_owned(),
            file: String::new(),
            sha256: recipe.model_sha256.clone(),
            file_bytes: metadata.len(),
            graph: OnceCell::from(normalise(graph.clone())?),
        })
    }

    /// Writes the bytes of a model as a file of the run directory.
    pub(crate) fn write(
        dir: &RunDir,
        name: String,
        file: String,
        bytes: &[u8],
    ) -> Result<Self, CompressError> {
        dir.write(&file, bytes)?;
        Ok(Self {
            name,
            file,
            sha256: sha256(bytes),
            file_bytes: bytes.len() as u64,
            graph: OnceCell::from(decode(bytes)?),
        })
    }

    /// Whether its file has these bytes.
    pub(crate) fn has_bytes(&self, bytes: &[u8]) -> bool {
        self.sha256 == sha256(bytes)
    }

    /// The folder of its file, below the run directory.
    pub(crate) fn folder(&self) -> &str {
        self.file.split('/').next().unwrap_or_default()
    }

    /// Frees the graph, which is read again should it be asked for.
    pub(crate) fn release(&mut self) {
        self.graph = OnceCell::new();
    }

    /// The same file, its graph not read.
    pub(crate) fn without_graph(&self) -> Self {
        Self {
            name: self.name.clone(),
            file: self.file.clone(),
            sha256: self.sha256.clone(),
            file_bytes: self.file_bytes,
            graph: OnceCell::new(),
        }
    }

    /// The graph, ready to execute; read from the run directory if an earlier process wrote it.
    pub(crate) fn graph(&self, dir: &RunDir) -> Result<&Normalised, CompressError> {
        if let Some(graph) = self.graph.get() {
            return Ok(graph);
        }
        let path = dir.file(&self.file);
        let bytes = fs::read(&path).map_err(|cause| CompressError::Read { path, cause })?;
        let graph = decode(&bytes)?;
        Ok(self.graph.get_or_init(|| graph))
    }
}

/// A pruned model.
#[derive(Deserialize, Serialize)]
pub(crate) struct PrunedModel {
    pub(crate) model: StoredModel,
    pub(crate) reached: Reached,
    pub(crate) bad_images: Vec<BadInput>,
    /// Whether the attempt before has the same model, which was not written again.
    pub(crate) is_same: bool,
}

/// Steps in which an INT8 model learns, at least, where it learns from the model as it came.
pub(crate) const LESSONS: usize = 100;

impl PrunedModel {
    /// Steps in which it learns from the model as it came, once it is quantized; `None` where nothing is gone, since it is that model.
    pub(crate) fn lessons(&self) -> Option<usize> {
        (self.reached.macs_ratio > 0.0).then_some(LESSONS)
    }
}

/// A pruned model that was recovered.
#[derive(Deserialize, Serialize)]
pub(crate) struct RecoveredModel {
    pub(crate) model: StoredModel,
    pub(crate) recovery: RecoveryRecord,
}

/// A quantized model.
#[derive(Deserialize, Serialize)]
pub(crate) struct QuantizedModel {
    pub(crate) model: StoredModel,
    pub(crate) bad_images: Vec<BadInput>,
}

/// An attempt with its models.
pub(crate) struct Candidate {
    pub(crate) attempt: Attempt,
    pub(crate) pruned: StoredModel,
    pub(crate) quantized: QuantizedModel,
}

impl Candidate {
    pub(crate) fn new(pruned: PrunedModel, quantized: QuantizedModel) -> Self {
        let folder = quantized.model.name.clone();
        let attempt = Attempt {
            macs_ratio: pruned.reached.macs_ratio,
            shortfall: pruned.reached.shortfall,
            ..Attempt::new(folder)
        };
        Self { attempt, pruned: pruned.model, quantized }
    }

    /// A candidate of which the pruned model was recovered.
    pub(crate) fn recovered(&self, recovered: RecoveredModel, quantized: QuantizedModel) -> Self {
        let attempt = Attempt {
            asked: self.attempt.asked.clone(),
            macs_ratio: self.attempt.macs_ratio,
            shortfall: self.attempt.shortfall,
            recovery: Some(recovered.recovery),
            ..Attempt::new(quantized.model.name.clone())
        };
        Self { attempt, pruned: recovered.model, quantized }
    }

    /// Frees the graphs, which are read again should they be asked for.
    pub(crate) fn release(&mut self) {
        self.pruned.release();
        self.quantized.model.release();
    }
}

fn decode(bytes: &[u8]) -> Result<Normalised, CompressError> {
    let graph = onnx::parse(bytes, None, &LoadOptions::default())?;
    Ok(normalise(graph)?)
}
