//! Training: a detector learns from labelled images, from the weights that it has.
mod start;

pub use start::standardise;

use crate::examples::{Example, Examples, order};
use crate::{CompressError, THRESHOLDS};
use ir::Graph;
use numerics::parallel_map;
use observe::{Engine, ImageSet};
use serde::Serialize;
use std::sync::Arc;
use train::optimizers::{Adam, clip};
use train::{
    BatchGradients, Batching, OutputGradients, Schedule, Trainer, Weight, parameters, weights,
    with_weights,
};
use yolo::families::Head;
use yolo::losses::{LabelledLoss, Loss, Targets};
use yolo::{Augmentation, CompiledDetector, Dataset, evaluate_detector};

/// The last rate, as a share of the largest, and the share of the steps in which it rises.
const REST: f64 = 0.01;
const WARM_UP_SHARE: usize = 20;

/// Shares that Adam's means keep.
const BETAS: [f64; 2] = [0.9, 0.99];

/// Length to which gradients are shortened.
const LONGEST: f64 = 10.0;

/// The share of the averaged weights that a step keeps at most.
const AVERAGE: f64 = 0.998;

/// How often the held-out images are looked at.
const CHECKS: usize = 20;

/// Share of the images that is held out, and how many at least and at most.
const HELD_OUT_SHARE: usize = 10;
const HELD_OUT: [usize; 2] = [2, 100];

/// What is trained, and on what.
#[derive(Clone, Copy, Debug)]
pub struct TrainSubject<'a> {
    /// The detector. BatchNormalization is folded into its convolutions and learns with them.
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
    /// The largest rate, relative to each weight's size at the start.
    pub rate: f64,
    /// How images are changed.
    pub augmentation: Augmentation,
    /// Decides what is held out, the order of the images and how they are changed.
    pub seed: u64,
}

/// One look at the held-out images, with the averaged weights.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
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
    /// The detector with the weights that did best on the held-out images.
    pub graph: Graph,
    /// All looks.
    pub curve: Vec<TrainPoint>,
    /// The look whose weights are kept.
    pub best: TrainPoint,
    /// Why it ended before its last step.
    pub ended: Option<String>,
}

/// Trains a detector on labelled images with the loss of its family: Adam, a rate that rises and falls along a cosine, weights
/// averaged over steps (Polyak and Juditsky, "Acceleration of stochastic approximation by averaging", 1992). The average that does
/// best on held-out images is kept. Where a loss is no number, what was best until then.
///
/// # Errors
/// `FewImages`; `Yolo` for labels that are not the head's, a head without a loss and images that cannot be read; `Training` where a
/// node has no gradient, or the first loss is no number.
pub fn train_detector(
    subject: &TrainSubject<'_>,
    options: &TrainOptions,
    progress: &dyn Fn(&TrainPoint),
) -> Result<Trained, CompressError> {
    let mut course = Course::new(subject, options)?;
    let steps = course.steps;
    let schedule =
        Schedule { peak: options.rate, rest: REST, warm_up: steps / WARM_UP_SHARE, steps };
    let mut adam = Adam::new(&course.weights, BETAS);
    let mut average = course.weights.clone();
    let mut best = TrainPoint { step: 0, steps, loss: None, map_50_95: course.accuracy(&average)? };
    progress(&best);
    let (mut curve, mut kept, mut ended) = (vec![best], average.clone(), None);
    let every = steps.div_ceil(CHECKS).max(1);
    let mut losses = Vec::new();
    for step in 0..steps {
        match course.step(step, &mut adam, schedule.rate(step)) {
            Ok(loss) => losses.push(loss),
            Err(error @ CompressError::Training { .. }) if step > 0 => {
                ended = Some(error.to_string());
                break;
            }
            Err(error) => return Err(error),
        }
        move_towards(&mut average, &course.weights, step);
        let done = step + 1;
        if done % every != 0 && done != steps {
            continue;
        }
        let loss = Some(losses.iter().sum::<f64>() / losses.len() as f64);
        let point = TrainPoint { step: done, steps, loss, map_50_95: course.accuracy(&average)? };
        losses.clear();
        progress(&point);
        curve.push(point);
        // Of two that do equally well, the one that learned longer.
        if point.map_50_95 >= best.map_50_95 {
            (best, kept) = (point, average.clone());
        }
    }
    Ok(Trained { graph: course.graph_with(&kept)?, curve, best, ended })
}

/// Moves the averaged weights towards those of a step: nearly all the way at first, when the average still holds the start.
fn move_towards(average: &mut [Weight], weights: &[Weight], step: usize) {
    let keep = AVERAGE.min((1 + step) as f64 / (10 + step) as f64) as f32;
    for (average, weight) in average.iter_mut().zip(weights) {
        for (mean, &new) in average.elements.iter_mut().zip(&weight.elements) {
            *mean += (1.0 - keep) * (new - *mean);
        }
    }
}

/// A training under way.
struct Course<'a> {
    subject: &'a TrainSubject<'a>,
    options: &'a TrainOptions,
    loss: LabelledLoss,
    /// The detector with its BatchNormalization folded.
    graph: Graph,
    trainer: Trainer,
    /// Of the last step.
    gradients: BatchGradients,
    weights: Vec<Weight>,
    steps: usize,
    training: Examples<'a>,
    held_out: Dataset,
}

impl<'a> Course<'a> {
    fn new(
        subject: &'a TrainSubject<'a>,
        options: &'a TrainOptions,
    ) -> Result<Self, CompressError> {
        let engine = subject.engine;
        let graph = ir::normalise(subject.graph.clone())?.into_graph();
        let raw = subject.head.raw(&graph)?;
        let mut trunk = graph.clone();
        let mut edit = trunk.edit();
        edit.set_outputs(&raw.outputs);
        trunk.apply(edit)?;
        let learned = parameters(&trunk);
        let failed = |e| CompressError::training(0, e);
        let batching = Batching { images: options.batch, per_run: 1 };
        let (training, held_out) = split(subject.dataset, options.seed)?;
        let (images, input) = (ImageSet::from(&training), &subject.head.input);
        let training = Examples::new(images, Some(subject.dataset), input, input.size_px);
        Ok(Self {
            subject,
            options,
            loss: LabelledLoss::new(&raw)?,
            trainer: Trainer::new(&trunk, &learned, &engine.options, engine.threads, batching)
                .map_err(failed)?,
            gradients: BatchGradients::default(),
            weights: weights(&trunk, &learned).map_err(failed)?,
            graph,
            steps: (options.epochs * training.images.len()).div_ceil(options.batch),
            training,
            held_out,
        })
    }

    /// One step; gives the mean loss of its images.
    fn step(&mut self, step: usize, adam: &mut Adam, rate: f64) -> Result<f64, CompressError> {
        let failed = |e| CompressError::training(step, e);
        let examples = self.examples(step)?;
        let targets = examples.iter().map(|e| self.loss.targets(e.boxes.as_deref().unwrap_or(&[])));
        let targets: Vec<Targets> = targets.collect::<Result<_, _>>()?;
        let objects = targets.iter().map(Targets::objects).sum::<usize>().max(1) as f64;
        self.trainer.set_weights(&self.weights).map_err(failed)?;
        let images: Vec<&[f32]> = examples.iter().map(|e| e.image.as_slice()).collect();
        let labelled = &self.loss;
        let loss = |image: usize, raw: &[Vec<f32>]| {
            let Loss { value, gradients } = labelled.loss(raw, &targets[image], objects);
            OutputGradients { loss: value, gradients }
        };
        let batch = &mut self.gradients;
        self.trainer.gradients(&images, &loss, batch).map_err(failed)?;
        let threads = self.subject.engine.threads;
        clip(&mut batch.gradients, LONGEST, threads);
        adam.step(&mut self.weights, &batch.gradients, rate, threads);
        Ok(batch.loss)
    }

    /// The images of a step.
    fn examples(&self, step: usize) -> Result<Vec<Example>, CompressError> {
        let TrainOptions { batch, seed, augmentation, .. } = *self.options;
        let augmentation = augmentation.at(step, self.steps);
        let picks = self.training.batch(step, batch, seed, augmentation);
        let threads = self.subject.engine.threads;
        let examples = parallel_map(threads, picks, |pick| self.training.example(&pick));
        examples.into_iter().collect()
    }

    /// map_50_95 of the detector with these weights on the held-out images.
    fn accuracy(&self, weights: &[Weight]) -> Result<f64, CompressError> {
        let Engine { options, threads } = self.subject.engine;
        let graph = ir::normalise(self.graph_with(weights)?)?;
        let detector = CompiledDetector::compile(&graph, self.subject.head, &options)?;
        let evaluation =
            evaluate_detector(&detector, &self.held_out, THRESHOLDS, threads, &|_| ())?;
        Ok(evaluation.metrics.coco.map_50_95)
    }

    fn graph_with(&self, weights: &[Weight]) -> Result<Graph, CompressError> {
        with_weights(&self.graph, weights).map_err(|e| CompressError::training(0, e))
    }
}

/// Images to train on, and those that are held out.
fn split(dataset: &Dataset, seed: u64) -> Result<(Dataset, Dataset), CompressError> {
    let (count, [least, most]) = (dataset.images.len(), HELD_OUT);
    if count < 2 * least {
        return Err(CompressError::FewImages { expected: 2 * least, found: count });
    }
    let out = (count / HELD_OUT_SHARE).clamp(least, most);
    let part = |picked: &[usize]| {
        let mut picked = picked.to_vec();
        picked.sort_unstable();
        let mut part = dataset.clone();
        part.images = picked.into_iter().map(|i| dataset.images[i].clone()).collect();
        part
    };
    let order = order(count, seed);
    let (held_out, training) = order.split_at(out);
    Ok((part(training), part(held_out)))
}
