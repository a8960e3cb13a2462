//! Training: a detector learns from labelled images, from the weights that it has.
mod course;
mod normalisation;
mod scale;
mod start;

pub use start::standardise;

use crate::CompressError;
use crate::digest::{dataset_digest, sha256};
use crate::learning::{Learner, Manner, StateFile};
use course::Course;
use ir::Graph;
use observe::Engine;
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::sync::Arc;
use train::Schedule;
use train::optimizers::Optimizer;
use yolo::families::Head;
use yolo::{Augmentation, Dataset};

/// The last rate, as a share of the largest, and the share of the steps in which it rises.
const REST: f64 = 0.01;
const WARM_UP_SHARE: usize = 20;

/// The share of the averaged weights that a step keeps at most.
const AVERAGE: f64 = 0.998;

/// How often the held-out images are looked at.
const CHECKS: usize = 20;

/// What is trained, and on what.
#[derive(Clone, Copy, Debug)]
pub struct TrainSubject<'a> {
    /// The detector. BatchNormalization is folded into its convolutions and learns with them, unless batch statistics are asked
    /// for.
    pub graph: &'a Graph,
    /// Its head.
    pub head: &'a Arc<Head>,
    /// Labelled training images; some of them are held out.
    pub dataset: &'a Dataset,
    /// What computes.
    pub engine: Engine,
}

/// How it is trained.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct TrainOptions {
    /// How often every image is seen.
    pub epochs: usize,
    /// Images of a step.
    pub batch: usize,
    /// What the training may take of memory, about; `None` for what there is. With less, fewer images run at a time, which
    /// changes the last bits of sums.
    pub memory_bytes: Option<usize>,
    /// By what weights move.
    pub optimizer: &'static Optimizer,
    /// The largest rate, relative to each weight's size at the start.
    pub rate: f64,
    /// Whether BatchNormalization is kept, and standardises by the images that run together while it learns.
    pub batch_statistics: bool,
    /// How far the scales of BatchNormalization move towards 0 in each step, as a share of their rate; 0 for not at all.
    pub sparsify: f64,
    /// Whether steps are on inputs of several sizes.
    pub multi_scale: bool,
    /// How images are changed.
    pub augmentation: Augmentation,
    /// Decides what is held out, the order of the images and how they are changed.
    pub seed: u64,
}

/// One look at the held-out images, with the averaged weights.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub struct TrainPoint {
    /// Steps that were done.
    pub step: usize,
    /// All steps.
    pub steps: usize,
    /// The mean loss of the steps since the last look; null before the first step.
    pub loss: Option<f64>,
    /// Accuracy on the held-out images.
    pub map_50_95: f64,
}

/// What came out.
#[derive(Clone, Debug)]
pub struct Trained {
    /// The detector with the weights of the look that is kept.
    pub graph: Graph,
    /// All looks.
    pub curve: Vec<TrainPoint>,
    /// The look whose weights are kept.
    pub best: TrainPoint,
    /// Why it ended before its last step.
    pub ended: Option<String>,
}

impl TrainSubject<'_> {
    /// All that a result depends on, large things by their digests.
    fn inputs(&self, options: &TrainOptions) -> Result<impl Serialize, CompressError> {
        let model = sha256(&onnx::encode(self.graph)?);
        let images = dataset_digest(self.dataset, self.head.input.images())?;
        Ok((model, self.head.family.name, images, self.engine.options.isa.to_string(), *options))
    }
}

/// What a training tells while it goes on.
#[derive(Clone, Copy)]
pub struct TrainHooks<'a> {
    /// Told what should be known.
    pub log: &'a dyn Fn(&str),
    /// Told of every look at the held-out images.
    pub progress: &'a dyn Fn(&TrainPoint),
    /// Where it stores how it stands at every look, and goes on from. Whoever has kept what came out removes the file.
    pub state: Option<&'a Path>,
}

/// Trains a detector on labelled images with the loss of its family: a rate that rises and falls along a cosine, weights
/// averaged over steps. The average that does best on held-out images is kept, that of the last step where scales are to become
/// sparse. Where a loss is no number, what was best until
/// then.
///
/// # Errors
/// `FewImages`; `Yolo` for labels that are not the head's, a head without a loss and images that cannot be read; `TrainingMemory`
/// where it takes more than is allowed; `InputSize` where the graph holds on to its input size; `NoBatchNormalization` and `OddBatch` where batch statistics cannot be taken; `Training` where a node has no gradient, or the first loss is no number.
pub fn train_detector(
    subject: &TrainSubject<'_>,
    options: &TrainOptions,
    hooks: &TrainHooks<'_>,
) -> Result<Trained, CompressError> {
    let mut course = Course::new(subject, options)?;
    let state =
        hooks.state.map(|path| StateFile::new(path, &subject.inputs(options)?)).transpose()?;
    let mut standing = Standing::new(&course, state.as_ref())?;
    (hooks.log)(&course.memory(&standing.learner));
    match standing.progress.step {
        0 => (hooks.progress)(&standing.progress.best),
        done => (hooks.log)(&format!("going on after step {done}")),
    }
    standing.learn(&mut course, hooks, state.as_ref())?;
    let Standing { learner, progress: Progress { curve, best, ended, .. } } = standing;
    // What nothing came up to is given as it came, with the statistics that it had.
    let graph = match best.step {
        0 => course.graph,
        _ => course.graph_with(&learner.kept)?,
    };
    Ok(Trained { graph, curve, best, ended })
}

/// All but the weights and what the optimizer remembers.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct Progress {
    /// Steps that were done.
    step: usize,
    curve: Vec<TrainPoint>,
    best: TrainPoint,
    ended: Option<String>,
}

/// How a training stands between two steps.
struct Standing {
    learner: Learner,
    progress: Progress,
}

impl Standing {
    /// As it was stored, or before the first step.
    fn new(course: &Course<'_>, state: Option<&StateFile>) -> Result<Self, CompressError> {
        let optimizer = course.options.optimizer;
        let manner = Manner { optimizer, average: Some(AVERAGE) };
        let stored = state.and_then(|file| Learner::stored(file, &course.weights, manner));
        if let Some((learner, progress)) = stored {
            return Ok(Self { learner, progress });
        }
        let map_50_95 = course.accuracy(course.graph.clone())?;
        let best = TrainPoint { step: 0, steps: course.steps, loss: None, map_50_95 };
        let progress = Progress { step: 0, curve: vec![best], best, ended: None };
        Ok(Self { learner: Learner::new(&course.weights, manner), progress })
    }

    /// Goes on to the end.
    fn learn(
        &mut self,
        course: &mut Course<'_>,
        hooks: &TrainHooks<'_>,
        state: Option<&StateFile>,
    ) -> Result<(), CompressError> {
        let steps = course.steps;
        let warm_up = steps / WARM_UP_SHARE;
        let schedule = Schedule { peak: course.options.rate, rest: REST, warm_up, steps };
        let every = steps.div_ceil(CHECKS).max(1);
        let mut losses = Vec::new();
        while self.progress.step < steps {
            let step = self.progress.step;
            match course.step(step, &mut self.learner, schedule.rate(step)) {
                Ok(loss) => losses.push(loss),
                Err(error @ CompressError::Training { .. }) if step > 0 => {
                    self.progress.ended = Some(error.to_string());
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
            let done = step + 1;
            self.progress.step = done;
            if !done.is_multiple_of(every) && done != steps {
                continue;
            }
            let loss = losses.iter().sum::<f64>() / losses.len() as f64;
            losses.clear();
            (hooks.progress)(&self.look(course, loss)?);
            state.map_or(Ok(()), |file| self.learner.store(&self.progress, file))?;
        }
        Ok(())
    }

    /// Looks at the held-out images, and keeps the weights where they are the best.
    fn look(&mut self, course: &Course<'_>, loss: f64) -> Result<TrainPoint, CompressError> {
        let map_50_95 = course.accuracy(course.graph_with(self.learner.judged())?)?;
        let Progress { step, curve, best, .. } = &mut self.progress;
        let point = TrainPoint { step: *step, steps: course.steps, loss: Some(loss), map_50_95 };
        curve.push(point);
        // Of two that do equally well, the one that learned longer; scales are the sparser the longer they shrink.
        if point.map_50_95 >= best.map_50_95 || course.options.sparsify > 0.0 {
            *best = point;
            self.learner.keep();
        }
        Ok(point)
    }
}
