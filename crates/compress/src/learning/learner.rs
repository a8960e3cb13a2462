//! Weights that learn, with all that decides how they go on.
use super::StateFile;
use super::state::LearningState;
use crate::CompressError;
use serde::Serialize;
use serde::de::DeserializeOwned;
use train::optimizers::{Optimizer, OptimizerState, clip};
use train::{BatchGradients, Weight};

/// Length to which gradients are shortened.
const LONGEST: f64 = 10.0;

/// Names of the lists of a state.
const WEIGHTS: &str = "weights";
const KEPT: &str = "kept";
const AVERAGE: &str = "average";
const REMEMBERED: &str = "remembered";

/// How weights learn.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Manner {
    /// By what they move.
    pub(crate) optimizer: &'static Optimizer,
    /// The share of their average over steps that a step keeps at most; `None` where none is made.
    pub(crate) average: Option<f64>,
}

/// Weights that learn.
#[derive(Clone, Debug)]
pub(crate) struct Learner {
    /// As the last step left them.
    pub(crate) weights: Vec<Weight>,
    /// Those that did best.
    pub(crate) kept: Vec<Weight>,
    average: Option<Average>,
    optimizer: OptimizerState,
}

/// Weights averaged over steps (Polyak and Juditsky, "Acceleration of stochastic approximation by averaging", 1992).
#[derive(Clone, Debug)]
struct Average {
    weights: Vec<Weight>,
    keeps: f64,
}

impl Learner {
    /// Before the first step.
    pub(crate) fn new(weights: &[Weight], manner: Manner) -> Self {
        let copy = || weights.to_vec();
        Self {
            weights: copy(),
            kept: copy(),
            average: manner.average.map(|keeps| Average { weights: copy(), keeps }),
            optimizer: OptimizerState::new(manner.optimizer, weights),
        }
    }

    /// One step, on so many threads: gradients are shortened, weights move against them, and their average moves after them.
    pub(crate) fn step(&mut self, batch: &mut BatchGradients, rate: f64, threads: usize) {
        clip(&mut batch.gradients, LONGEST, threads);
        self.optimizer.step(&mut self.weights, &batch.gradients, rate, threads);
        let steps = self.optimizer.steps();
        if let Some(average) = &mut self.average {
            average.follow(&self.weights, steps, threads);
        }
    }

    /// The weights by which it is judged: their average, where one is made.
    pub(crate) fn judged(&self) -> &[Weight] {
        self.average.as_ref().map_or(&self.weights, |average| &average.weights)
    }

    /// Keeps the weights by which it is judged as those that did best.
    pub(crate) fn keep(&mut self) {
        self.kept = self.judged().to_vec();
    }

    /// What it takes of memory.
    pub(crate) fn bytes(&self) -> usize {
        let numbers: usize = self.lists().iter().flat_map(|(_, list)| list).map(|l| l.len()).sum();
        numbers * size_of::<f32>()
    }

    /// Stores how it stands, with what else is to be known then.
    ///
    /// # Errors
    /// As [`StateFile::write`].
    pub(crate) fn store<P: Serialize>(
        &self,
        progress: &P,
        file: &StateFile,
    ) -> Result<(), CompressError> {
        file.write(&(self.optimizer.steps(), progress), &self.lists())
    }

    /// A learner of these weights as it was stored, and what else was; `None` where nothing is that fits.
    pub(crate) fn stored<P: DeserializeOwned>(
        file: &StateFile,
        weights: &[Weight],
        manner: Manner,
    ) -> Option<(Self, P)> {
        let LearningState { progress, mut numbers } = file.read::<(i32, P)>()?;
        let (steps, progress) = progress;
        let mut learner = Self::new(weights, manner);
        let mut fill = |list: &str, weights: &mut [Weight]| {
            let stored = numbers.remove(list)?;
            let fits = stored.len() == weights.len()
                && stored.iter().zip(&*weights).all(|(s, w)| s.len() == w.elements.len());
            weights.iter_mut().zip(stored).for_each(|(weight, stored)| weight.elements = stored);
            fits.then_some(())
        };
        fill(WEIGHTS, &mut learner.weights)?;
        fill(KEPT, &mut learner.kept)?;
        if let Some(average) = &mut learner.average {
            fill(AVERAGE, &mut average.weights)?;
        }
        learner.optimizer = learner.optimizer.resumed(steps, numbers.remove(REMEMBERED)?)?;
        Some((learner, progress))
    }

    fn lists(&self) -> Vec<(&'static str, Vec<&[f32]>)> {
        let average = self.average.as_ref().map(|average| (AVERAGE, elements(&average.weights)));
        let own = [
            (WEIGHTS, elements(&self.weights)),
            (KEPT, elements(&self.kept)),
            (REMEMBERED, self.optimizer.remembered().collect()),
        ];
        own.into_iter().chain(average).collect()
    }
}

fn elements(weights: &[Weight]) -> Vec<&[f32]> {
    weights.iter().map(|w| w.elements.as_slice()).collect()
}

impl Average {
    /// Moves towards the weights of a step, counted from 1: nearly all the way at first, when it still holds the start.
    fn follow(&mut self, weights: &[Weight], step: i32, threads: usize) {
        let step = f64::from(step);
        let keep = self.keeps.min(step / (9.0 + step)) as f32;
        numerics::parallel_map(
            threads,
            self.weights.iter_mut().zip(weights),
            |(average, weight)| {
                for (mean, &new) in average.elements.iter_mut().zip(&weight.elements) {
                    *mean += (1.0 - keep) * (new - *mean);
                }
            },
        );
    }
}
