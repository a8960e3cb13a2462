//! Gradients over a batch of images, computed by the runtime.
use crate::{Statistics, TrainError, TrainingGraph, Weight, differentiate};
use ir::{Graph, Tensor, ValueId};
use numerics::{parallel_map, parallel_map_with};
use runtime::{Plan, PlanOptions, RuntimeError, Session};
use std::collections::BTreeMap;

/// A loss of one image and its gradient by the graph's outputs.
#[derive(Clone, Debug, PartialEq)]
pub struct OutputGradients {
    /// The loss.
    pub loss: f64,
    /// Its gradient by each output, in the shape of the output.
    pub gradients: Vec<Vec<f32>>,
}

/// The loss of a batch and its gradient by each parameter. One value serves all batches, so that memory is taken once.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BatchGradients {
    /// The sum over the images.
    pub loss: f64,
    /// The sums over the images, in the order of the parameters.
    pub gradients: Vec<Vec<f32>>,
}

/// From the number of an image in its batch and the outputs that the graph gives for it to the loss.
pub type LossFunction<'a> = &'a (dyn Fn(usize, &[Vec<f32>]) -> OutputGradients + Sync);

/// A graph of one input and its gradient, compiled for several images at once, with a session for each thread.
pub struct Trainer {
    sessions: Vec<Session>,
    threads: usize,
    batching: Batching,
    outputs: Vec<Computed>,
    parameters: Vec<Computed>,
    /// Of each run of a batch.
    runs: Vec<Run>,
}

/// What a run gives, in memory that is taken once.
struct Run {
    loss: f64,
    /// The graph's outputs.
    raw: Vec<Vec<f32>>,
    gradients: Vec<Vec<f32>>,
}

/// An output, or a parameter whose gradient is one.
struct Computed {
    value: ValueId,
    name: String,
    elements: usize,
}

/// How the images of a step are handled.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Batching {
    /// Images of a step.
    pub images: usize,
    /// Images of one run of the graph; runs are spread over the threads. What runs give is summed in order, so that every number of
    /// threads gives the same bits.
    pub per_run: usize,
    /// By what BatchNormalization standardises.
    pub statistics: Statistics,
}

impl Batching {
    /// The ways to divide so many images among runs, the fastest first: gradients of the weights are gathered once a run, so
    /// the more images of it, the less often.
    pub fn ways(images: usize) -> impl Iterator<Item = Batching> {
        let per_run = [4, 2, 1].into_iter().filter(move |per_run| images.is_multiple_of(*per_run));
        per_run.map(move |per_run| Batching { images, per_run, statistics: Statistics::Frozen })
    }
}

impl Trainer {
    /// Compiles the gradient of a graph of one image by its `parameters`.
    ///
    /// # Errors
    /// As [`differentiate`]; `Batch` where an operator holds on to the number of images, and `Runtime` when the graph cannot
    /// be compiled or there is not enough memory.
    pub fn new(
        graph: &Graph,
        parameters: &[ValueId],
        options: &PlanOptions,
        threads: usize,
        batching: Batching,
    ) -> Result<Self, TrainError> {
        let Batching { images, per_run, statistics } = batching;
        let outputs = graph.outputs().len();
        let graph = ir::with_batch(graph, per_run);
        let graph = graph.map_err(|reason| TrainError::Batch { images: per_run, reason })?;
        let TrainingGraph { graph, .. } = differentiate(&graph, parameters, statistics)?;
        let outputs = graph.outputs()[..outputs].to_vec();
        let plan = Plan::compile(&graph, &outputs, options)?;
        let computed = |&value: &ValueId| {
            let elements = graph.ty(value)?.elements();
            Ok(Computed { value, name: graph.value(value).name.clone(), elements })
        };
        let computed = |values: &[ValueId]| values.iter().map(computed).collect();
        let (outputs, parameters): (Result<_, TrainError>, Result<_, TrainError>) =
            (computed(&outputs), computed(parameters));
        // Where there are fewer runs than threads, a run uses several.
        let workers = threads.min(images.div_ceil(per_run)).max(1);
        let first = Session::for_training(plan, threads / workers)?;
        let siblings = (1..workers).map(|_| first.sibling(threads / workers));
        let siblings: Result<Vec<Session>, RuntimeError> = siblings.collect();
        let sessions = std::iter::once(first).chain(siblings?).collect();
        Ok(Self {
            sessions,
            threads,
            batching,
            outputs: outputs?,
            parameters: parameters?,
            runs: vec![],
        })
    }

    /// About what all of it takes of memory: the values of the runs at a time, the gradients of each run of a batch and their
    /// sum, and the weights as they came, as they are, and as they are packed for the ways forth and back.
    pub fn memory_bytes(&self) -> usize {
        let values: usize = self.sessions.iter().map(|s| s.plan().arena_bytes()).sum();
        let weights: usize = self.parameters.iter().map(|p| p.elements * size_of::<f32>()).sum();
        let runs = self.batching.images.div_ceil(self.batching.per_run);
        values + weights * (runs + 1 + 4)
    }

    /// How the images of a step are handled.
    pub fn batching(&self) -> Batching {
        self.batching
    }

    /// Runs at a time.
    pub fn workers(&self) -> usize {
        self.sessions.len()
    }

    /// Lets the graph have these weights from now on.
    ///
    /// # Errors
    /// `Runtime` when they are not the graph's.
    pub fn set_weights(&mut self, weights: &[Weight]) -> Result<(), TrainError> {
        let elements = weights.iter().map(|w| (w.value, w.elements.as_slice())).collect();
        Ok(self.sessions[0].set_parameters(&elements, self.threads)?)
    }

    /// The loss of a batch of images, row-major `[1, C, H, W] f32` each, and its gradient. The batch is a multiple of the
    /// images of one run; runs are summed in order, so that every number of threads gives the same bits.
    ///
    /// # Errors
    /// `NotFinite`, which names the parameter where a number is none, `Runtime` when the images do not fit.
    pub fn gradients(
        &mut self,
        images: &[&[f32]],
        loss: LossFunction<'_>,
        batch: &mut BatchGradients,
    ) -> Result<(), TrainError> {
        let per_run = self.batching.per_run;
        let parts: Vec<&[&[f32]]> = images.chunks(per_run).collect();
        let (outputs, parameters) = (&self.outputs, &self.parameters);
        let room = |computed: &[Computed]| computed.iter().map(|c| vec![0.0; c.elements]).collect();
        self.runs.resize_with(parts.len(), || Run {
            loss: 0.0,
            raw: room(outputs),
            gradients: room(parameters),
        });
        let jobs = parts.into_iter().zip(&mut self.runs).enumerate();
        let done = parallel_map_with(&mut self.sessions, jobs, |session, (at, (images, run))| {
            run.compute(session, outputs, images, &|image, raw| loss(at * per_run + image, raw))
        });
        done.into_iter().collect::<Result<(), RuntimeError>>()?;
        batch.sum(&self.runs, self.threads);
        self.check(batch)
    }

    fn check(&self, batch: &BatchGradients) -> Result<(), TrainError> {
        let is_finite = |gradients: &Vec<f32>| gradients.iter().all(|g| g.is_finite());
        if let Some(at) = batch.gradients.iter().position(|g| !is_finite(g)) {
            return Err(TrainError::NotFinite {
                what: format!("the gradient of `{}`", self.parameters[at].name),
            });
        }
        if batch.loss.is_finite() {
            return Ok(());
        }
        Err(TrainError::NotFinite { what: "the loss".into() })
    }
}

impl Run {
    /// Runs forward, to the loss, and back.
    fn compute(
        &mut self,
        session: &mut Session,
        outputs: &[Computed],
        images: &[&[f32]],
        loss: LossFunction<'_>,
    ) -> Result<(), RuntimeError> {
        let mut total = 0.0;
        let threads = session.threads();
        let mut supply = |observed: &BTreeMap<ValueId, Tensor>| {
            let raw: Vec<&[f32]> = outputs.iter().map(|o| elements(&observed[&o.value])).collect();
            let losses = parallel_map(threads, 0..images.len(), |image| {
                let raw = raw.iter().map(|all| part(all, image, images.len()).to_vec());
                loss(image, &raw.collect::<Vec<_>>())
            });
            total = losses.iter().map(|image| image.loss).sum();
            let gradients = |output: usize| {
                let gradients = losses.iter().map(|image| image.gradients[output].as_slice());
                gradients.collect::<Vec<_>>().concat()
            };
            (0..outputs.len()).map(gradients).collect()
        };
        let outputs = self.raw.iter_mut().chain(&mut self.gradients);
        let mut outputs: Vec<&mut [f32]> = outputs.map(Vec::as_mut_slice).collect();
        session.run_supplied(&[&images.concat()], &mut supply, &mut outputs)?;
        self.loss = total;
        Ok(())
    }
}

impl BatchGradients {
    fn sum(&mut self, runs: &[Run], threads: usize) {
        self.loss = runs.iter().map(|run| run.loss).sum();
        let parameters = runs.first().map_or(0, |run| run.gradients.len());
        self.gradients.resize(parameters, vec![]);
        parallel_map(threads, self.gradients.iter_mut().enumerate(), |(at, sum)| {
            sum.clear();
            sum.extend_from_slice(&runs[0].gradients[at]);
            for run in &runs[1..] {
                sum.iter_mut().zip(&run.gradients[at]).for_each(|(sum, g)| *sum += g);
            }
        });
    }
}

/// The elements of one of so many images.
fn part(all: &[f32], image: usize, images: usize) -> &[f32] {
    let each = all.len() / images;
    &all[image * each..(image + 1) * each]
}

/// What the runtime gives is f32.
fn elements(tensor: &Tensor) -> &[f32] {
    let elements = tensor.as_slice::<f32>();
    elements.expect("the runtime gives f32")
}
