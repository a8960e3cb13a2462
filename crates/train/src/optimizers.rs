//! Optimizers: from gradients to new weights, one file each, and the list of them.

mod adam;
mod sgd;

use crate::Weight;
pub use adam::ADAM;
use numerics::parallel_map;
pub use sgd::SGD;

/// All optimizers.
pub const OPTIMIZERS: &[&Optimizer] = &[&ADAM, &SGD];

/// A named rule by which weights move against their gradients.
#[derive(Clone, Copy, Debug)]
pub struct Optimizer {
    /// Name, for options and reports.
    pub name: &'static str,
    /// Numbers that it remembers for each element of a weight.
    remembered: usize,
    /// Moves one weight, given its gradient and what is remembered of it.
    step: fn(&Step, &mut Weight, &[f32], &mut [Vec<f32>]),
}

ir::choices!(Optimizer, "optimizer", OPTIMIZERS);

/// A step.
struct Step {
    /// What each element's own rate is multiplied by.
    rate: f64,
    /// Counted from 1.
    number: i32,
}

/// What an optimizer has come to know from step to step.
#[derive(Clone, Debug, PartialEq)]
pub struct OptimizerState {
    optimizer: &'static Optimizer,
    /// Steps that were done.
    steps: i32,
    /// For each weight so many lists as the optimizer remembers, each of as many numbers as the weight has elements.
    memories: Vec<Vec<Vec<f32>>>,
}

impl OptimizerState {
    /// Before the first step of these weights.
    pub fn new(optimizer: &'static Optimizer, weights: &[Weight]) -> Self {
        let zeros = |w: &Weight| vec![vec![0.0; w.elements.len()]; optimizer.remembered];
        Self { optimizer, steps: 0, memories: weights.iter().map(zeros).collect() }
    }

    /// Steps that were done.
    pub fn steps(&self) -> i32 {
        self.steps
    }

    /// All that is remembered of the weights, one list after the other.
    pub fn remembered(&self) -> impl Iterator<Item = &[f32]> {
        self.memories.iter().flatten().map(Vec::as_slice)
    }

    /// The same after so many steps, with what was remembered then; `None` where that is not of these weights.
    pub fn resumed(mut self, steps: i32, remembered: Vec<Vec<f32>>) -> Option<Self> {
        let here = self.memories.iter_mut().flatten();
        let mut there = remembered.into_iter();
        for list in here {
            let stored = there.next().filter(|stored| stored.len() == list.len())?;
            *list = stored;
        }
        let fits = there.next().is_none();
        fits.then_some(Self { steps, ..self })
    }

    /// Moves every weight against its gradient, on so many threads; `rate` is multiplied by each element's own.
    pub fn step(
        &mut self,
        weights: &mut [Weight],
        gradients: &[Vec<f32>],
        rate: f64,
        threads: usize,
    ) {
        self.steps += 1;
        let step = Step { rate, number: self.steps };
        let all = weights.iter_mut().zip(gradients).zip(&mut self.memories);
        parallel_map(threads, all, |((weight, gradients), memory)| {
            (self.optimizer.step)(&step, weight, gradients, memory);
            if weight.sparsity > 0.0 {
                shrink(weight, rate);
            }
        });
    }
}

/// Moves every element towards 0, and no further: the proximal step of an L1 norm, after which what matters to nothing is 0.
///
/// Source: Beck and Teboulle, "A fast iterative shrinkage-thresholding algorithm for linear inverse problems" (2009), section 1.
fn shrink(weight: &mut Weight, rate: f64) {
    let share = (rate * weight.sparsity) as f32;
    for (w, own) in weight.elements.iter_mut().zip(&weight.rates) {
        *w = w.signum() * (w.abs() - share * own).max(0.0);
    }
}

/// The length of all gradients together.
pub fn norm(gradients: &[Vec<f32>], threads: usize) -> f64 {
    let squares = parallel_map(threads, gradients, |gradients| squares(gradients));
    squares.iter().sum::<f64>().sqrt()
}

fn squares(elements: &[f32]) -> f64 {
    elements.iter().map(|&g| f64::from(g).powi(2)).sum()
}

/// Shortens all gradients together to a length of at most `limit`.
pub fn clip(gradients: &mut [Vec<f32>], limit: f64, threads: usize) {
    let norm = norm(gradients, threads);
    if norm > limit {
        let factor = (limit / norm) as f32;
        parallel_map(threads, gradients, |gradients| {
            gradients.iter_mut().for_each(|g| *g *= factor);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::tests::weight;

    #[test]
    fn clip_shortens_to_the_limit_and_leaves_what_is_shorter() {
        let mut gradients = vec![vec![3.0], vec![0.0, 4.0]];
        clip(&mut gradients, 10.0, 1);
        assert_eq!(gradients, [vec![3.0], vec![0.0, 4.0]]);
        clip(&mut gradients, 1.0, 2);
        assert!((norm(&gradients, 2) - 1.0).abs() < 1e-6);
        assert!((gradients[0][0] - 0.6).abs() < 1e-6);
    }

    #[test]
    fn every_optimizer_moves_a_weight_of_twice_the_rate_twice_as_far() {
        for optimizer in OPTIMIZERS {
            let mut weights = vec![weight(&[1.0], 1.0), weight(&[1.0], 2.0)];
            let mut state = OptimizerState::new(optimizer, &weights);
            state.step(&mut weights, &[vec![0.3], vec![0.3]], 0.01, 1);
            let moved = [0, 1].map(|i| 1.0 - weights[i].elements[0]);
            assert!(moved[0] > 0.0, "{}", optimizer.name);
            assert!((moved[1] - 2.0 * moved[0]).abs() < 1e-6, "{}", optimizer.name);
        }
    }

    #[test]
    fn a_sparse_weight_shrinks_to_zero_and_stays_unless_a_gradient_holds_it() {
        for optimizer in OPTIMIZERS {
            let mut weights = vec![weight(&[0.3, -0.3, 0.3], 1.0)];
            weights[0].sparsity = 0.5;
            let mut state = OptimizerState::new(optimizer, &weights);
            for _ in 0..20 {
                // The last element is pushed back whenever it falls below 0.2.
                let push = if weights[0].elements[2] < 0.2 { -1.0 } else { 0.0 };
                state.step(&mut weights, &[vec![0.0, 0.0, push]], 0.1, 1);
            }
            let found = &weights[0].elements;
            assert_eq!(found[..2], [0.0, 0.0], "{}", optimizer.name);
            assert!(found[2] > 0.05, "{}: {found:?}", optimizer.name);
        }
    }

    #[test]
    fn every_optimizer_resumed_goes_on_to_the_same_bits() {
        for optimizer in OPTIMIZERS {
            let mut weights = vec![weight(&[1.0, -2.0], 1.0), weight(&[0.5], 0.1)];
            let gradients = [vec![0.3, 0.1], vec![-4.0]];
            let mut state = OptimizerState::new(optimizer, &weights);
            let new = state.clone();
            state.step(&mut weights, &gradients, 0.1, 1);
            let remembered: Vec<Vec<f32>> = state.remembered().map(<[f32]>::to_vec).collect();
            assert_eq!(new.clone().resumed(1, remembered[1..].to_vec()), None);
            let mut resumed = new.resumed(state.steps(), remembered).unwrap();
            assert_eq!(resumed, state);
            let mut there = weights.clone();
            state.step(&mut weights, &gradients, 0.1, 1);
            resumed.step(&mut there, &gradients, 0.1, 2);
            assert_eq!(there, weights);
        }
    }
}
