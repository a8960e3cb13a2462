//! A model run on images while values of its plan are observed.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ir::{Graph, ValueId};
use numerics::parallel_map_with;
use runtime::{Observed, Plan, RuntimeError, Session};
use yolo::families::Head;
use yolo::{BadInput, ModelInput};

use crate::{Engine, ImageSet, ObserveError};

/// Told the number of images that are finished, or as many as stand for the share of the work that is done.
pub type Progress<'a> = &'a (dyn Fn(usize) + Sync);

/// A model with what turns images into its inputs and its outputs into detections.
#[derive(Clone, Copy)]
pub struct Model<'a> {
    /// The graph in the form in which the caller will change it: canonical, with BatchNorm folded or kept.
    pub graph: &'a Graph,
    /// How images are prepared.
    pub input: &'a ModelInput,
    /// Its head, which tells how its outputs are decoded; without it models are compared by their outputs as they are.
    pub head: Option<&'a Head>,
}

impl<'a> Model<'a> {
    /// A graph whose head was recognised.
    pub fn new(graph: &'a Graph, head: &'a Head) -> Self {
        Self { graph, input: &head.input, head: Some(head) }
    }
}

/// A model, the images on which it is observed, and how it is run.
#[derive(Clone, Copy)]
pub struct Observation<'a> {
    /// The model.
    pub model: Model<'a>,
    /// The images.
    pub images: &'a ImageSet,
    /// How it is run.
    pub engine: Engine,
    /// Told of finished images.
    pub progress: Progress<'a>,
}

impl Observation<'_> {
    /// Runs every image once, several at a time. `observe` gets the collector of its thread, the image's position, and each
    /// value of `values`. Gives the collectors, and the images that could not be read.
    ///
    /// # Errors
    /// `Runtime` when the plan complains, `NoImages` when no image could be read.
    pub fn run<T: Send>(
        &self,
        values: &[ValueId],
        collector: impl Fn() -> T,
        observe: impl Fn(&mut T, usize, ValueId, &Observed<'_>) -> Result<(), RuntimeError> + Sync,
    ) -> Result<(Vec<T>, Vec<BadInput>), ObserveError> {
        let plan = Plan::compile(self.model.graph, values, &self.engine.options)?;
        let plan = Arc::new(plan);
        let mut workers = (0..self.engine.threads.max(1))
            .map(|_| Ok((Session::new(&plan, 1)?, collector())))
            .collect::<Result<Vec<_>, RuntimeError>>()?;
        let finished = AtomicUsize::new(0);
        let images = self.images.paths.iter().enumerate();
        let failures =
            parallel_map_with(&mut workers, images, |(session, collector), (i, path)| {
                let planes = self.images.planes(path, self.model.input);
                let done = planes.map_err(ObserveError::from).and_then(|planes| {
                    let mut sink = |v: ValueId, o: &Observed<'_>| observe(collector, i, v, o);
                    session.run_observed(&planes.slices(), &mut sink)?;
                    Ok(())
                });
                (self.progress)(finished.fetch_add(1, Ordering::Relaxed) + 1);
                done.err()
            });
        let collectors = workers.into_iter().map(|(_, collector)| collector);
        Ok((collectors.collect(), self.images.bad_images(failures)?))
    }
}
