//! Images that are not trained on, by which a recovery is steered.
use super::objective::{Objective, Objects};
use super::prepared::{Prepared, prepared, raw_outputs};
use crate::examples::{Examples, Pick};
use crate::{CompressError, THRESHOLDS};
use ir::Graph;
use numerics::parallel_map_with;
use observe::Engine;
use runtime::{Plan, Session};
use std::sync::Arc;
use yolo::families::Head;
use yolo::{Augmentation, CompiledDetector, Dataset, DrawKey, evaluate_detector};

/// Held-out images, as they are.
pub(super) struct HeldOut {
    examples: Vec<Prepared>,
    objects: Objects,
    /// What is labelled in them, where anything is.
    labels: Option<Dataset>,
}

impl HeldOut {
    pub(super) fn new(
        source: &Examples<'_>,
        labels: Option<&Dataset>,
        objective: &Objective,
        teachers: &mut [Session],
    ) -> Result<Self, CompressError> {
        let pick = |image| Pick {
            image,
            augmentation: Augmentation::NONE,
            key: DrawKey { seed: 0, step: 0, image: image as u64 },
        };
        let picks = (0..source.images.len()).map(pick).collect();
        let examples = prepared(teachers, objective, source, picks)?;
        let objects = objective.objects(examples.iter().map(|e| &e.lesson));
        let labels = labels.map(|dataset| {
            let mut dataset = dataset.clone();
            dataset.images.retain(|item| source.images.paths.contains(&item.path));
            dataset
        });
        Ok(Self { examples, objects, labels: labels.filter(Dataset::is_labelled) })
    }

    /// Whether anything is labelled in them.
    pub(super) fn is_labelled(&self) -> bool {
        self.labels.is_some()
    }

    /// The loss of a graph that gives the raw outputs.
    pub(super) fn loss(
        &self,
        trunk: &Graph,
        objective: &Objective,
        engine: Engine,
    ) -> Result<f64, CompressError> {
        let plan = Arc::new(Plan::compile(trunk, &[], &engine.options)?);
        let sessions = (0..engine.threads).map(|_| Session::new(&plan, 1));
        let mut sessions: Vec<Session> = sessions.collect::<Result<_, _>>()?;
        let losses = parallel_map_with(&mut sessions, &self.examples, |session, example| {
            let raw = raw_outputs(session, &example.image)?;
            Ok(objective.loss(&raw, &example.lesson, self.objects).value)
        });
        let losses: Vec<f64> = losses.into_iter().collect::<Result<_, CompressError>>()?;
        Ok(losses.iter().sum())
    }

    /// map_50_95 of a detector; `None` where nothing is labelled.
    pub(super) fn accuracy(
        &self,
        graph: Graph,
        head: &Head,
        engine: Engine,
    ) -> Result<Option<f64>, CompressError> {
        let Some(dataset) = &self.labels else { return Ok(None) };
        let graph = ir::normalise(graph)?;
        let head = Arc::new(head.clone());
        let detector = CompiledDetector::compile(&graph, &head, &engine.options)?;
        let evaluation =
            evaluate_detector(&detector, dataset, THRESHOLDS, engine.threads, &|_| ())?;
        Ok(Some(evaluation.metrics.coco.map_50_95))
    }
}
