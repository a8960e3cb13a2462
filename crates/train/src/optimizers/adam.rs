//! Adam.
use super::{Optimizer, Step};
use crate::Weight;

/// Running means of gradients and of their squares decide how far each element moves.
///
/// Source: Kingma and Ba (arXiv:1412.6980), algorithm 1; without weight decay.
pub const ADAM: Optimizer = Optimizer { name: "adam", remembered: 2, step };

/// Shares that the means of gradients and of squares keep. The second is shorter than the usual 0.999, for trainings of a few
/// hundred steps.
const BETAS: [f64; 2] = [0.9, 0.99];

/// Keeps the quotient finite where all gradients were 0.
const EPSILON: f32 = 1e-8;

fn step(step: &Step, weight: &mut Weight, gradients: &[f32], memory: &mut [Vec<f32>]) {
    let (means, squares) = memory.split_at_mut(1);
    let [b1, b2] = BETAS;
    let rate = (step.rate / (1.0 - b1.powi(step.number))) as f32;
    let scale = (1.0 / (1.0 - b2.powi(step.number))) as f32;
    let (b1, b2) = (b1 as f32, b2 as f32);
    let elements = weight.elements.iter_mut().zip(&weight.rates);
    let state = means[0].iter_mut().zip(&mut squares[0]);
    for (((w, own), &g), (mean, square)) in elements.zip(gradients).zip(state) {
        *mean = b1 * *mean + (1.0 - b1) * g;
        *square = b2 * *square + (1.0 - b2) * g * g;
        *w -= rate * own * *mean / ((*square * scale).sqrt() + EPSILON);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::optimizers::OptimizerState;
    use crate::weights::tests::weight;

    #[test]
    fn two_steps_equal_those_of_pytorch() {
        // torch.optim.Adam([w], lr=0.1, betas=(0.9, 0.99)) with w = [1, -2] and gradients [0.5, -1], then [0.1, 3].
        let mut weights = vec![weight(&[1.0, -2.0], 1.0)];
        let mut adam = OptimizerState::new(&ADAM, &weights);
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
}
