//! What a step of a training is: images, a loss, gradients, weights.
use super::{TrainOptions, TrainSubject};
use crate::examples::{Example, Examples, order};
use crate::learning::{Learner, told_of_memory, trainer_within};
use crate::{CompressError, THRESHOLDS};
use ir::Graph;
use numerics::parallel_map;
use observe::{Engine, ImageSet};
use train::{BatchGradients, OutputGradients, Trainer, Weight, parameters, weights, with_weights};
use yolo::losses::{LabelledLoss, Loss, Targets};
use yolo::{CompiledDetector, Dataset, evaluate_detector};

/// Share of the images that is held out, and how many at least and at most.
const HELD_OUT_SHARE: usize = 10;
const HELD_OUT: [usize; 2] = [2, 100];

/// A training under way.
pub(super) struct Course<'a> {
    subject: &'a TrainSubject<'a>,
    pub(super) options: &'a TrainOptions,
    loss: LabelledLoss,
    /// The detector with its BatchNormalization folded.
    graph: Graph,
    trainer: Trainer,
    /// Of the last step.
    gradients: BatchGradients,
    /// Those of the start.
    pub(super) weights: Vec<Weight>,
    pub(super) steps: usize,
    training: Examples<'a>,
    held_out: Dataset,
}

impl<'a> Course<'a> {
    pub(super) fn new(
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
        let (training, held_out) = split(subject.dataset, options.seed)?;
        let (images, input) = (ImageSet::from(&training), &subject.head.input);
        let training = Examples::new(images, Some(subject.dataset), input, input.size_px);
        Ok(Self {
            subject,
            options,
            loss: LabelledLoss::new(&raw)?,
            trainer: trainer_within(options.memory_bytes, &trunk, &learned, engine, options.batch)?,
            gradients: BatchGradients::default(),
            weights: weights(&trunk, &learned).map_err(failed)?,
            graph,
            steps: (options.epochs * training.images.len()).div_ceil(options.batch),
            training,
            held_out,
        })
    }

    /// One step; gives the loss of its images.
    pub(super) fn step(
        &mut self,
        step: usize,
        learner: &mut Learner,
        rate: f64,
    ) -> Result<f64, CompressError> {
        let failed = |e| CompressError::training(step, e);
        let examples = self.examples(step)?;
        let targets = examples.iter().map(|e| self.loss.targets(e.boxes.as_deref().unwrap_or(&[])));
        let targets: Vec<Targets> = targets.collect::<Result<_, _>>()?;
        let objects = targets.iter().map(Targets::objects).sum::<usize>().max(1) as f64;
        self.trainer.set_weights(&learner.weights).map_err(failed)?;
        let images: Vec<&[f32]> = examples.iter().map(|e| e.image.as_slice()).collect();
        let labelled = &self.loss;
        let loss = |image: usize, raw: &[Vec<f32>]| {
            let Loss { value, gradients } = labelled.loss(raw, &targets[image], objects);
            OutputGradients { loss: value, gradients }
        };
        let batch = &mut self.gradients;
        self.trainer.gradients(&images, &loss, batch).map_err(failed)?;
        learner.step(batch, rate, self.subject.engine.threads);
        Ok(batch.loss)
    }

    /// What it takes of memory, as a sentence.
    pub(super) fn memory(&self, learner: &Learner) -> String {
        // The rates of the weights are as many as these.
        let rates: usize = self.weights.iter().map(|w| w.rates.len() * size_of::<f32>()).sum();
        told_of_memory(&self.trainer, learner.bytes() + rates)
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
    pub(super) fn accuracy(&self, weights: &[Weight]) -> Result<f64, CompressError> {
        let Engine { options, threads } = self.subject.engine;
        let graph = ir::normalise(self.graph_with(weights)?)?;
        let detector = CompiledDetector::compile(&graph, self.subject.head, &options)?;
        let evaluation =
            evaluate_detector(&detector, &self.held_out, THRESHOLDS, threads, &|_| ())?;
        Ok(evaluation.metrics.coco.map_50_95)
    }

    pub(super) fn graph_with(&self, weights: &[Weight]) -> Result<Graph, CompressError> {
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
