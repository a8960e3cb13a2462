//! Gradients over a batch of images, computed by the runtime.
use crate::{TrainError, TrainingGraph, Weight, differentiate};
use ir::{Graph, Tensor, ValueId};
use numerics::{parallel_map, parallel_map_with};
use runtime::{Plan, PlanOptions, RuntimeError, Session};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Parts of a batch whose gradients are summed apart, and then in order: so every number of threads gives the same bits.
const SHARDS: usize = 4;

/// A loss of one image and its gradient by the graph's outputs.
#[derive(Clone, Debug, PartialEq)]
pub struct OutputGradients {
    /// The loss.
    pub loss: f64,
    /// Its gradient by each output, in the shape of the output.
    pub gradients: Vec<Vec<f32>>,
}

/// The loss of a batch and its gradient by each parameter.
#[derive(Clone, Debug, PartialEq)]
pub struct BatchGradients {
    /// The sum over the images.
    pub loss: f64,
    /// The sums over the images, in the order of the parameters.
    pub gradients: Vec<Vec<f32>>,
}

/// From the number of an image in its batch and the outputs that the graph gives for it to the loss.
pub type LossFunction<'a> = &'a (dyn Fn(usize, &[Vec<f32>]) -> OutputGradients + Sync);

/// A graph of one input and its gradient, compiled, with one session for each thread.
pub struct Trainer {
    sessions: Vec<Session>,
    outputs: Vec<ValueId>,
    /// Name of each parameter.
    names: Vec<String>,
}

impl Trainer {
    /// Compiles the gradient of a graph by its `parameters`.
    ///
    /// # Errors
    /// As [`differentiate`], and `Runtime` when the graph cannot be compiled or there is not enough memory.
    pub fn new(
        graph: &Graph,
        parameters: &[ValueId],
        options: &PlanOptions,
        threads: usize,
    ) -> Result<Self, TrainError> {
        let TrainingGraph { graph, .. } = differentiate(graph, parameters)?;
        let outputs = graph.outputs().len() - parameters.len();
        let outputs = graph.outputs()[..outputs].to_vec();
        let plan = Arc::new(Plan::compile(&graph, &outputs, options)?);
        let sessions = (0..threads.clamp(1, SHARDS)).map(|_| Session::new(&plan, 1));
        let name = |&v: &ValueId| graph.value(v).name.clone();
        Ok(Self {
            sessions: sessions.collect::<Result<_, _>>()?,
            outputs,
            names: parameters.iter().map(name).collect(),
        })
    }

    /// Memory that all sessions take for values.
    pub fn arena_bytes(&self) -> usize {
        let bytes = self.sessions.iter().map(|s| s.plan().arena_bytes());
        bytes.sum()
    }

    /// Lets the graph have these weights from now on.
    ///
    /// # Errors
    /// `Runtime` when they are not the graph's.
    pub fn set_weights(&mut self, weights: &[Weight]) -> Result<(), TrainError> {
        let tensor = |w: &Weight| Ok((w.value, w.tensor()?));
        let tensors = weights.iter().map(tensor);
        let tensors: BTreeMap<ValueId, Tensor> = tensors.collect::<Result<_, TrainError>>()?;
        // One item for each session: which worker takes it does not matter, since each changes its own.
        let sessions = self.sessions.iter_mut();
        let set =
            parallel_map(sessions.len(), sessions, |session| session.set_parameters(&tensors));
        Ok(set.into_iter().collect::<Result<(), RuntimeError>>()?)
    }

    /// The loss of a batch of images, row-major `[1, C, H, W] f32` each, and its gradient.
    ///
    /// # Errors
    /// `NotFinite`, which names the output or the parameter where a number is none, `Runtime` when the images do not fit.
    pub fn gradients(
        &mut self,
        images: &[&[f32]],
        loss: LossFunction<'_>,
    ) -> Result<BatchGradients, TrainError> {
        let per_shard = images.len().div_ceil(SHARDS).max(1);
        let shards = (0..images.len()).step_by(per_shard);
        let outputs = &self.outputs;
        let sums = parallel_map_with(&mut self.sessions, shards, |session, first| {
            let mut total: Option<BatchGradients> = None;
            for (index, image) in images.iter().enumerate().skip(first).take(per_shard) {
                let one = gradients_of(session, outputs, image, &|raw| loss(index, raw))?;
                match &mut total {
                    None => total = Some(one),
                    Some(total) => total.add(&one),
                }
            }
            Ok(total)
        });
        let sums: Vec<Option<BatchGradients>> =
            sums.into_iter().collect::<Result<_, TrainError>>()?;
        let mut sums = sums.into_iter().flatten();
        let mut total = sums.next().unwrap_or(BatchGradients { loss: 0.0, gradients: vec![] });
        sums.for_each(|sum| total.add(&sum));
        self.check(&total)?;
        Ok(total)
    }

    fn check(&self, batch: &BatchGradients) -> Result<(), TrainError> {
        let is_finite = |gradients: &Vec<f32>| gradients.iter().all(|g| g.is_finite());
        if let Some(at) = batch.gradients.iter().position(|g| !is_finite(g)) {
            return Err(TrainError::NotFinite {
                what: format!("the gradient of `{}`", self.names[at]),
            });
        }
        if batch.loss.is_finite() {
            return Ok(());
        }
        Err(TrainError::NotFinite { what: "the loss".into() })
    }
}

impl BatchGradients {
    fn add(&mut self, other: &Self) {
        self.loss += other.loss;
        for (sum, other) in self.gradients.iter_mut().zip(&other.gradients) {
            sum.iter_mut().zip(other).for_each(|(sum, g)| *sum += g);
        }
    }
}

/// The loss of one image and its gradient.
fn gradients_of(
    session: &mut Session,
    outputs: &[ValueId],
    image: &[f32],
    loss: &dyn Fn(&[Vec<f32>]) -> OutputGradients,
) -> Result<BatchGradients, TrainError> {
    let mut value = 0.0;
    let results = session.run_supplied(&[image], &mut |observed| {
        let raw = outputs.iter().map(|v| elements(&observed[v]));
        let OutputGradients { loss, gradients } = loss(&raw.collect::<Vec<_>>());
        value = loss;
        gradients
    })?;
    let gradients = results.iter().skip(outputs.len()).map(elements);
    Ok(BatchGradients { loss: value, gradients: gradients.collect() })
}

/// What the runtime gives is f32.
fn elements(tensor: &Tensor) -> Vec<f32> {
    let elements = tensor.as_slice::<f32>();
    elements.expect("the runtime gives f32").to_vec()
}
