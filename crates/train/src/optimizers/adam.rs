//! Adam.
use crate::Weight;
use numerics::parallel_map;

/// Running means of gradients and of their squares decide how far each weight moves.
///
/// Source: Kingma and Ba (arXiv:1412.6980), algorithm 1; without weight decay.
#[derive(Clone, Debug)]
pub struct Adam {
    betas: [f64; 2],
    state: AdamState,
}

/// What an optimizer remembers from step to step.
#[derive(Clone, Debug, PartialEq)]
pub struct AdamState {
    /// Steps that were done.
    pub steps: i32,
    /// The running mean of each weight's gradients.
    pub means: Vec<Vec<f32>>,
    /// The running mean of their squares.
    pub squares: Vec<Vec<f32>>,
}

/// Keeps the quotient finite where all gradients were 0.
const EPSILON: f32 = 1e-8;

impl Adam {
    /// An optimizer of these weights; `betas` are the shares that the means of gradients and of squares keep each step.
    pub fn new(weights: &[Weight], betas: [f64; 2]) -> Self {
        let zeros = || weights.iter().map(|w| vec![0.0; w.elements.len()]).collect();
        Self { betas, state: AdamState { steps: 0, means: zeros(), squares: zeros() } }
    }

    /// What it remembers.
    pub fn state(&self) -> &AdamState {
        &self.state
    }

    /// The same optimizer, going on from what another one remembered.
    pub fn with_state(self, state: AdamState) -> Self {
        Self { state, ..self }
    }

    /// Moves every weight against its gradient, on so many threads; `rate` is multiplied by each weight's own.
    pub fn step(
        &mut self,
        weights: &mut [Weight],
        gradients: &[Vec<f32>],
        rate: f64,
        threads: usize,
    ) {
        let AdamState { steps, means, squares } = &mut self.state;
        *steps += 1;
        let [b1, b2] = self.betas;
        let step = (rate / (1.0 - b1.powi(*steps))) as f32;
        let scale = (1.0 / (1.0 - b2.powi(*steps))) as f32;
        let (b1, b2) = (b1 as f32, b2 as f32);
        let state = means.iter_mut().zip(squares);
        let all = weights.iter_mut().zip(gradients).zip(state);
        parallel_map(threads, all, |((weight, gradients), (means, squares))| {
            let elements = weight.elements.iter_mut().zip(&weight.rates);
            let state = means.iter_mut().zip(squares);
            for (((w, own), &g), (mean, square)) in elements.zip(gradients).zip(state) {
                *mean = b1 * *mean + (1.0 - b1) * g;
                *square = b2 * *square + (1.0 - b2) * g * g;
                *w -= step * own * *mean / ((*square * scale).sqrt() + EPSILON);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::tests::weight;

    #[test]
    fn two_steps_equal_those_of_pytorch() {
        // torch.optim.Adam([w], lr=0.1, betas=(0.9, 0.99)) with w = [1, -2] and gradients [0.5, -1], then [0.1, 3].
        let mut weights = vec![weight(&[1.0, -2.0], 1.0)];
        let mut adam = Adam::new(&weights, [0.9, 0.99]);
        adam.step(&mut weights, &[vec![0.5, -1.0]], 0.1, 1);
        assert!((weights[0].elements[0] - 0.9).abs() < 1e-6);
        assert!((weights[0].elements[1] + 1.9).abs() < 1e-6);
        adam.step(&mut weights, &[vec![0.1, 3.0]], 0.1, 1);
        let expected = [
            0.9 - 0.1 * (0.055 / 0.19) / (0.002575f64 / 0.0199).sqrt(),
            -1.9 - 0.1 * (0.21 / 0.19) / (0.0999f64 / 0.0199).sqrt(),
        ];
        for (found, expected) in weights[0].elements.iter().zip(expected) {
            assert!((f64::from(*found) - expected).abs() < 1e-6, "{found} instead of {expected}");
        }
    }

    #[test]
    fn a_weight_of_twice_the_rate_moves_twice_as_far() {
        let mut weights = vec![weight(&[1.0], 1.0), weight(&[1.0], 2.0)];
        let mut adam = Adam::new(&weights, [0.9, 0.99]);
        adam.step(&mut weights, &[vec![0.3], vec![0.3]], 0.01, 1);
        let moved = [0, 1].map(|i| 1.0 - weights[i].elements[0]);
        assert!((moved[1] - 2.0 * moved[0]).abs() < 1e-6);
    }
}
