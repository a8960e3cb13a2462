//! The running average of weights, which often does better than the weights themselves.
use crate::Weight;

/// An exponential moving average; young ones forget faster.
///
/// Source: Tan and Le, "EfficientNet" (arXiv:1905.11946), and the ramp of Ultralytics' YOLOv5.
#[derive(Clone, Debug)]
pub struct MovingAverage {
    keep: f64,
    ramp: f64,
    updates: u32,
    average: Vec<Vec<f32>>,
}

impl MovingAverage {
    /// The average of weights, of which it keeps the share `keep` at each update once it has seen many more than `ramp`.
    pub fn new(weights: &[Weight], keep: f64, ramp: f64) -> Self {
        Self {
            keep,
            ramp,
            updates: 0,
            average: weights.iter().map(|w| w.elements.clone()).collect(),
        }
    }

    /// Takes the weights in as they are now.
    pub fn update(&mut self, weights: &[Weight]) {
        self.updates += 1;
        let keep = self.keep * (1.0 - (-f64::from(self.updates) / self.ramp).exp());
        for (average, weight) in self.average.iter_mut().zip(weights) {
            for (a, &w) in average.iter_mut().zip(&weight.elements) {
                *a += ((1.0 - keep) * f64::from(w - *a)) as f32;
            }
        }
    }

    /// The weights with the average's elements.
    pub fn weights(&self, weights: &[Weight]) -> Vec<Weight> {
        let averaged = |(weight, average): (&Weight, &Vec<f32>)| Weight {
            elements: average.clone(),
            ..weight.clone()
        };
        weights.iter().zip(&self.average).map(averaged).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::tests::weight;

    #[test]
    fn update_moves_a_young_average_far_and_an_old_one_little() {
        let mut weights = vec![weight(&[0.0], 1.0)];
        let mut average = MovingAverage::new(&weights, 0.9, 1.0);
        weights[0].elements[0] = 1.0;
        average.update(&weights);
        let first = average.weights(&weights)[0].elements[0];
        let keep = 0.9 * (1.0 - (-1.0f32).exp());
        assert!((first - (1.0 - keep)).abs() < 1e-6);
        (0..100).for_each(|_| average.update(&weights));
        assert!((average.weights(&weights)[0].elements[0] - 1.0).abs() < 1e-3);
    }
}
