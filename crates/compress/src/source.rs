//! The model as it came, and what decides how it is read.

use std::sync::Arc;

use ir::Graph;
use observe::Splits;
use serde::Serialize;
use yolo::families::{self, Family, Head};

use crate::artifact::StoredModel;
use crate::digest::images_digest;
use crate::{CompressError, Recipe};

/// The model as it came.
pub(crate) struct Source<'a> {
    /// Ready to execute.
    pub(crate) model: StoredModel,
    pub(crate) head: Arc<Head>,
    /// What decides how the model is read and run.
    pub(crate) reading: Reading<'a>,
    /// Digest of the calibration images.
    pub(crate) calibration: String,
    pub(crate) seed: u64,
}

/// What decides, beside its bytes, how a model is read and what it computes to the last bit.
#[derive(Serialize)]
pub(crate) struct Reading<'a> {
    model_sha256: &'a str,
    family: Option<&'static Family>,
    anchors: &'a Option<Vec<f32>>,
    imgsz: Option<[usize; 2]>,
    isa: &'a str,
}

impl<'a> Source<'a> {
    pub(crate) fn new(
        graph: &Graph,
        recipe: &'a Recipe,
        data: &Splits,
    ) -> Result<Self, CompressError> {
        let model = StoredModel::source(graph, recipe)?;
        let head = Arc::new(families::identify(graph, recipe.family)?);
        Ok(Self {
            model,
            reading: Reading {
                model_sha256: &recipe.model_sha256,
                family: recipe.family,
                anchors: &recipe.anchors,
                imgsz: recipe.imgsz,
                isa: &recipe.isa,
            },
            calibration: images_digest(&data.calibration, head.input.images()),
            head,
            seed: recipe.seed,
        })
    }
}
