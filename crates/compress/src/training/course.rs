//! What a step of a training is: images, a loss, gradients, weights.
use super::normalisation::Normalisation;
use super::scale::{Scale, Scales};
use super::{TrainOptions, TrainSubject};
use crate::examples::{Example, Examples, order};
use crate::learning::{Learner, told_of_memory};
use crate::{CompressError, THRESHOLDS};
use ir::Graph;
use numerics::{Rng, parallel_map};
use observe::{Engine, ImageSet};
use train::{
    BatchGradients, OutputGradients, Statistics, Weight, parameters, weights, with_weights,
};
use yolo::losses::{Loss, Targets};
use yolo::{CompiledDetector, Dataset, evaluate_detector};

/// Share of the images that is held out, and how many at least and at most.
const HELD_OUT_SHARE: usize = 10;
const HELD_OUT: [usize; 2] = [2, 100];

/// A training under way.
pub(super) struct Course<'a> {
    subject: &'a TrainSubject<'a>,
    pub(super) options: &'a TrainOptions,
    /// The detector as it came, with its BatchNormalization folded unless that is trained.
    pub(super) graph: Graph,
    /// BatchNormalization, where it is trained.
    normalisation: Option<Normalisation>,
    /// The model's own size first.
    scales: Vec<Scale<'a>>,
    /// Of the last step.
    gradients: BatchGradients,
    /// Those of the start.
    pub(super) weights: Vec<Weight>,
    pub(super) steps: usize,
    held_out: Dataset,
}

impl<'a> Course<'a> {
    pub(super) fn new(
        subject: &'a TrainSubject<'a>,
        options: &'a TrainOptions,
    ) -> Result<Self, CompressError> {
        let graph = subject.graph.clone();
        let graph = if options.batch_statistics {
            ir::canonicalise(graph)?.into_graph()
        } else {
            ir::normalise(graph)?.into_graph()
        };
        let (raw, input) = (subject.head.raw(&graph)?, &subject.head.input);
        let trunk = yolo::trunk(&graph, &raw.outputs, input.size_px)?;
        let learned = parameters(&trunk);
        let failed = |e| CompressError::training(0, e);
        let (training, held_out) = split(subject.dataset, options.seed)?;
        let images = ImageSet::from(&training);
        let training = Examples::new(images.clone(), Some(subject.dataset), input, input.size_px);
        let normalisation =
            options.batch_statistics.then(|| Normalisation::new(&trunk, &training, options));
        let normalisation = normalisation.transpose()?;
        let statistics = normalisation.as_ref().map_or(Statistics::Frozen, |_| Statistics::OfRun);
        let mut weights = weights(&trunk, &learned).map_err(failed)?;
        if let Some(normalisation) = &normalisation {
            normalisation.sparsify(&mut weights, options.sparsify);
        }
        Ok(Self {
            normalisation,
            subject,
            options,
            steps: (options.epochs * images.len()).div_ceil(options.batch),
            scales: Scales { subject, options, images, statistics }.of(&graph, &raw, &learned)?,
            gradients: BatchGradients::default(),
            weights,
            graph,
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
        let at = self.scale_of(step);
        let examples = self.examples(&self.scales[at], step)?;
        let Scale { trainer, loss: labelled, .. } = &mut self.scales[at];
        let targets = examples.iter().map(|e| labelled.targets(e.boxes.as_deref().unwrap_or(&[])));
        let targets: Vec<Targets> = targets.collect::<Result<_, _>>()?;
        let objects = targets.iter().map(Targets::objects).sum::<usize>().max(1) as f64;
        trainer.set_weights(&learner.weights).map_err(failed)?;
        let images: Vec<&[f32]> = examples.iter().map(|e| e.image.as_slice()).collect();
        let loss = |image: usize, raw: &[Vec<f32>]| {
            let Loss { value, gradients } = labelled.loss(raw, &targets[image], objects);
            OutputGradients { loss: value, gradients }
        };
        let batch = &mut self.gradients;
        trainer.gradients(&images, &loss, batch).map_err(failed)?;
        learner.step(batch, rate, self.subject.engine.threads);
        Ok(batch.loss)
    }

    /// What it takes of memory, as a sentence.
    pub(super) fn memory(&self, learner: &Learner) -> String {
        // The rates of the weights are as many as these.
        let rates: usize = self.weights.iter().map(|w| w.rates.len() * size_of::<f32>()).sum();
        let images = self.normalisation.as_ref().map_or(0, Normalisation::bytes);
        let others = self.scales[1..].iter().map(|scale| scale.trainer.memory_bytes());
        let beside = learner.bytes() + rates + images + others.sum::<usize>();
        told_of_memory(&self.scales[0].trainer, beside)
    }

    /// Which size a step is on.
    fn scale_of(&self, step: usize) -> usize {
        let of_seed = Rng::new(self.options.seed).next_u64();
        Rng::new(of_seed ^ step as u64).below(self.scales.len())
    }

    /// The images of a step.
    fn examples(&self, scale: &Scale<'_>, step: usize) -> Result<Vec<Example>, CompressError> {
        let TrainOptions { batch, seed, augmentation, .. } = *self.options;
        let augmentation = augmentation.at(step, self.steps);
        let picks = scale.training.batch(step, batch, seed, augmentation);
        let threads = self.subject.engine.threads;
        let examples = parallel_map(threads, picks, |pick| scale.training.example(&pick));
        examples.into_iter().collect()
    }

    /// map_50_95 of a detector on the held-out images.
    pub(super) fn accuracy(&self, graph: Graph) -> Result<f64, CompressError> {
        let Engine { options, threads, .. } = self.subject.engine;
        let graph = ir::normalise(graph)?;
        let detector = CompiledDetector::compile(&graph, self.subject.head, &options)?;
        let evaluation =
            evaluate_detector(&detector, &self.held_out, THRESHOLDS, threads, &|_| ())?;
        Ok(evaluation.metrics.coco.map_50_95)
    }

    /// The detector with these weights, and the statistics that they give.
    pub(super) fn graph_with(&self, weights: &[Weight]) -> Result<Graph, CompressError> {
        let graph = with_weights(&self.graph, weights);
        let graph = graph.map_err(|e| CompressError::training(0, e))?;
        match &self.normalisation {
            Some(normalisation) => normalisation.settled(&graph, self.subject.engine),
            None => Ok(graph),
        }
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
