//! Stochastic gradient descent with Nesterov's momentum.
use crate::Weight;

/// Weights move along a running sum of their gradients, looked ahead by one step.
///
/// Source: Sutskever, Martens, Dahl and Hinton, "On the importance of initialization and momentum in deep learning" (ICML 2013), in
/// the form of PyTorch's `SGD(nesterov=True)`.
#[derive(Clone, Debug)]
pub struct Sgd {
    momentum: f32,
    velocities: Vec<Vec<f32>>,
}

impl Sgd {
    /// An optimizer of these weights; `momentum` is the share that the running sum keeps each step.
    pub fn new(weights: &[Weight], momentum: f64) -> Self {
        let zeros = weights.iter().map(|w| vec![0.0; w.elements.len()]);
        Self { momentum: momentum as f32, velocities: zeros.collect() }
    }

    /// Moves every weight against its gradient; `rate` is multiplied by each weight's own.
    pub fn step(&mut self, weights: &mut [Weight], gradients: &[Vec<f32>], rate: f64) {
        let each = weights.iter_mut().zip(gradients).zip(&mut self.velocities);
        for ((weight, gradients), velocities) in each {
            let elements = weight.elements.iter_mut().zip(&weight.rates);
            for (((w, own), &g), velocity) in elements.zip(gradients).zip(velocities) {
                *velocity = self.momentum * *velocity + g;
                let ahead = g + self.momentum * *velocity;
                *w -= (rate * f64::from(*own)) as f32 * ahead;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::tests::weight;

    #[test]
    fn two_steps_equal_those_of_pytorch() {
        // torch.optim.SGD([w], lr=0.1, momentum=0.9, nesterov=True) with w = 1 and gradients 1, then -0.5.
        let mut weights = vec![weight(&[1.0], 1.0)];
        let mut sgd = Sgd::new(&weights, 0.9);
        sgd.step(&mut weights, &[vec![1.0]], 0.1);
        assert!((weights[0].elements[0] - 0.81).abs() < 1e-6);
        sgd.step(&mut weights, &[vec![-0.5]], 0.1);
        assert!((weights[0].elements[0] - 0.824).abs() < 1e-6);
    }
}
