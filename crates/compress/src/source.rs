//! The model as it came, and what decides how it is read.

use std::sync::Arc;

use ir::Graph;
use observe::Splits;
use yolo::families::{self, Head};

use crate::artifact::StoredModel;
use crate::digest::{images_digest, stage_key};
use crate::{CompressError, Recipe};

/// The model as it came.
pub(crate) struct Source {
    /// Ready to execute.
    pub(crate) model: StoredModel,
    pub(crate) head: Arc<Head>,
    /// Digest of its bytes and of all else that decides how it is read and what it computes to the last bit.
    pub(crate) key: String,
    /// Digest of the calibration images.
    pub(crate) calibration: String,
    pub(crate) seed: u64,
}

impl Source {
    pub(crate) fn new(
        graph: &Graph,
        recipe: &Recipe,
        data: &Splits,
    ) -> Result<Self, CompressError> {
        let head = families::identify(graph, recipe.family)?;
        let reading =
            (&recipe.model_sha256, recipe.family, &recipe.anchors, recipe.imgsz, &recipe.isa);
        Ok(Self {
            model: StoredModel::source(graph, recipe)?,
            key: stage_key("source", &reading)?,
            calibration: images_digest(&data.calibration, head.input.images()),
            head: Arc::new(head),
            seed: recipe.seed,
        })
    }
}
