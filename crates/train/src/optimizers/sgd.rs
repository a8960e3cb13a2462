//! Stochastic gradient descent.
use super::{Optimizer, Step, squares};
use crate::Weight;

/// Nesterov's momentum on gradients that are relative: each weight's gradient is divided by its root mean square, so that a rate
/// means the same as Adam's, whatever the loss and the layer. Without weight decay.
///
/// Source: Sutskever, Martens, Dahl and Hinton, "On the importance of initialization and momentum in deep learning" (2013);
/// gradients relative to their layer as in You, Gitman and Ginsburg, "LARS" (arXiv:1708.03888).
pub const SGD: Optimizer = Optimizer { name: "sgd", remembered: 1, step };

/// The share of the momentum that a step keeps.
const MOMENTUM: f32 = 0.9;

/// Keeps the quotient finite where all of a gradient is 0.
const EPSILON: f64 = 1e-12;

fn step(step: &Step, weight: &mut Weight, gradients: &[f32], memory: &mut [Vec<f32>]) {
    let mean_square = squares(gradients) / gradients.len().max(1) as f64;
    let relative = (1.0 / (mean_square.sqrt() + EPSILON)) as f32;
    // Gradients that stay the same are summed to so many of themselves.
    let rate = step.rate as f32 * (1.0 - MOMENTUM);
    let elements = weight.elements.iter_mut().zip(&weight.rates);
    for (((w, own), &g), momentum) in elements.zip(gradients).zip(&mut memory[0]) {
        let g = g * relative;
        *momentum = MOMENTUM * *momentum + g;
        *w -= rate * own * (g + MOMENTUM * *momentum);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::optimizers::OptimizerState;
    use crate::weights::tests::weight;

    #[test]
    fn two_steps_equal_those_of_pytorch() {
        // torch.optim.SGD([w], lr=0.01, momentum=0.9, nesterov=True) with w = [1, -2] and gradients [1, -1], then
        // [-1, -1]: lr is the tenth of ours that a momentum of 0.9 leaves, and the root mean squares are 1. The gradients
        // that are passed are multiples of these.
        let mut weights = vec![weight(&[1.0, -2.0], 1.0)];
        let mut sgd = OptimizerState::new(&SGD, &weights);
        sgd.step(&mut weights, &[vec![7.0, -7.0]], 0.1, 1);
        sgd.step(&mut weights, &[vec![-0.5, -0.5]], 0.1, 1);
        for (found, expected) in weights[0].elements.iter().zip([0.9919, -1.9539]) {
            assert!((found - expected).abs() < 1e-6, "{found} instead of {expected}");
        }
    }

    #[test]
    fn a_weight_without_gradient_stays() {
        let mut weights = vec![weight(&[1.0, -2.0], 1.0)];
        let before = weights.clone();
        OptimizerState::new(&SGD, &weights).step(&mut weights, &[vec![0.0; 2]], 0.1, 1);
        assert_eq!(weights, before);
    }
}
