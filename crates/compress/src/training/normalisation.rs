//! BatchNormalization that is kept and trained: by the statistics of the images that run together while it learns, by those of
//! training images wherever it is judged or written.
use super::TrainOptions;
use crate::CompressError;
use crate::examples::{Examples, Pick};
use ir::{Graph, Op, ValueId};
use observe::Engine;
use std::collections::BTreeSet;
use train::{Batching, Weight, population_statistics, with_statistics};
use yolo::{Augmentation, DrawKey};

/// Training images, as they are, by which statistics are taken once weights have changed.
const IMAGES: usize = 32;

/// The BatchNormalization of a detector.
pub(super) struct Normalisation {
    scales: BTreeSet<ValueId>,
    /// The raw outputs, behind which nothing is standardised.
    outputs: Vec<ValueId>,
    images: Vec<Vec<f32>>,
    /// Images that run together.
    per_run: usize,
}

impl Normalisation {
    /// # Errors
    /// `NoBatchNormalization` where there is none, `OddBatch` where no two images of a step run together, `Yolo` for images that
    /// cannot be read.
    pub(super) fn new(
        trunk: &Graph,
        training: &Examples<'_>,
        options: &TrainOptions,
    ) -> Result<Self, CompressError> {
        let norms = trunk.nodes().filter(|(_, n)| matches!(n.op, Op::BatchNormalization(_)));
        let scales: BTreeSet<ValueId> = norms.map(|(_, n)| n.inputs[1]).collect();
        if scales.is_empty() {
            return Err(CompressError::NoBatchNormalization);
        }
        let per_run = Batching::ways(options.batch).map(|way| way.per_run).max().unwrap_or(1);
        if per_run == 1 {
            return Err(CompressError::OddBatch { batch: options.batch });
        }
        // Whole runs, of images that come again where there are few.
        let image = |at: usize| {
            let pick = Pick {
                image: at % training.images.len(),
                augmentation: Augmentation::NONE,
                key: DrawKey { seed: options.seed, step: 0, image: at as u64 },
            };
            Ok(training.example(&pick)?.image)
        };
        let images: Result<_, CompressError> = (0..IMAGES).map(image).collect();
        Ok(Self { scales, outputs: trunk.outputs().to_vec(), images: images?, per_run })
    }

    /// Lets the scales become sparse.
    pub(super) fn sparsify(&self, weights: &mut [Weight], share: f64) {
        let scales = weights.iter_mut().filter(|w| self.scales.contains(&w.value));
        scales.for_each(|weight| weight.sparsity = share);
    }

    /// The detector with the statistics that its weights give on training images.
    pub(super) fn settled(&self, graph: &Graph, engine: Engine) -> Result<Graph, CompressError> {
        let failed = |e| CompressError::training(0, e);
        let mut trunk = graph.clone();
        let mut edit = trunk.edit();
        edit.set_outputs(&self.outputs);
        trunk.apply(edit)?;
        let images: Vec<&[f32]> = self.images.iter().map(Vec::as_slice).collect();
        let Engine { options, threads, .. } = engine;
        let statistics = population_statistics(&trunk, &images, self.per_run, &options, threads);
        with_statistics(graph, &statistics.map_err(failed)?).map_err(failed)
    }

    /// What its images take of memory.
    pub(super) fn bytes(&self) -> usize {
        self.images.iter().map(|image| image.len() * size_of::<f32>()).sum()
    }
}
