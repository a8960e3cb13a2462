//! Repair of a layer by its outputs' means and standard deviations alone.
use numerics::Linear;

/// Largest factor by which a channel is stretched: what hardly varies any more holds noise.
const MOST_GAIN: f64 = 4.0;

/// Mean and standard deviation of each output channel before the activation.
#[derive(Clone, Debug, PartialEq)]
pub struct OutputStatistics {
    /// Means.
    pub mean: Vec<f64>,
    /// Standard deviations.
    pub deviation: Vec<f64>,
}

impl OutputStatistics {
    /// The factor for each channel that gives it the other's deviation.
    fn gains(&self, dense: &Self) -> Vec<f64> {
        let gain = |(now, dense): (&f64, &f64)| {
            if *now > 0.0 && *dense > 0.0 {
                (dense / now).clamp(1.0 / MOST_GAIN, MOST_GAIN)
            } else {
                1.0
            }
        };
        self.deviation.iter().zip(&dense.deviation).map(gain).collect()
    }
}

/// The layer whose outputs have the dense layer's means and deviations, where they have `now` with these weights.
///
/// Lengths are the layer's outputs. Constant channels are shifted alone, and no channel is stretched more than fourfold.
/// Source: Hubara et al. (arXiv:2007.02491), section on statistics of fused BatchNorm.
pub fn match_layer(layer: &Linear, now: &OutputStatistics, dense: &OutputStatistics) -> Linear {
    let mut matched = layer.clone();
    let rows = matched.weight.rows_mut().into_iter();
    for (c, (mut row, gain)) in rows.zip(now.gains(dense)).enumerate() {
        row.mapv_inplace(|w| w * gain);
        matched.bias[c] = (layer.bias[c] - now.mean[c]) * gain + dense.mean[c];
    }
    matched
}

/// As [`match_layer`] by the statistics of the BatchNorm behind the layer: its running mean and variance, with which it
/// gives what it gave of the dense layer's outputs.
pub fn match_batch_norm(
    mean: &[f64],
    variance: &[f64],
    epsilon: f64,
    now: &OutputStatistics,
    dense: &OutputStatistics,
) -> (Vec<f64>, Vec<f64>) {
    let matched = |(c, gain): (usize, f64)| {
        let shifted = now.mean[c] - (dense.mean[c] - mean[c]) / gain;
        let spread = (variance[c] + epsilon) / (gain * gain) - epsilon;
        (shifted, spread.max(0.0))
    };
    now.gains(dense).into_iter().enumerate().map(matched).unzip()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    fn spread(mean: &[f64], deviation: &[f64]) -> OutputStatistics {
        OutputStatistics { mean: mean.to_vec(), deviation: deviation.to_vec() }
    }

    #[test]
    fn match_layer_gives_outputs_the_dense_mean_and_deviation() {
        let layer = Linear { weight: array![[2.0], [1.0]], bias: vec![1.0, 0.5] };
        // The input is 0 or 1 equally often.
        let now = spread(&[2.0, 1.0], &[1.0, 0.5]);
        let dense = spread(&[-3.0, 4.0], &[2.0, 0.25]);
        let matched = match_layer(&layer, &now, &dense);
        let at = |x: f64| {
            matched.weight.column(0).mapv(|w| w * x) + array![matched.bias[0], matched.bias[1]]
        };
        assert_eq!((at(0.0) + at(1.0)) / 2.0, array![-3.0, 4.0]);
        assert_eq!((at(1.0) - at(0.0)) / 2.0, array![2.0, 0.25]);
    }

    #[test]
    fn match_layer_of_a_constant_channel_shifts_it_alone() {
        let layer = Linear { weight: array![[2.0]], bias: vec![1.0] };
        let matched = match_layer(&layer, &spread(&[1.0], &[0.0]), &spread(&[5.0], &[3.0]));
        assert_eq!(matched.weight, layer.weight);
        assert_eq!(matched.bias, [5.0]);
    }

    #[test]
    fn match_batch_norm_is_match_layer_behind_the_norm() {
        let (mean, variance, epsilon) = ([0.3, -1.0], [0.5, 2.0], 1e-3);
        let (now, dense) = (spread(&[0.1, 2.0], &[0.4, 1.0]), spread(&[0.2, 1.5], &[0.6, 0.8]));
        let (m, v) = match_batch_norm(&mean, &variance, epsilon, &now, &dense);
        for c in 0..2 {
            for y in [-1.0, 0.0, 2.5] {
                let matched =
                    (y - now.mean[c]) * dense.deviation[c] / now.deviation[c] + dense.mean[c];
                let expected = (matched - mean[c]) / (variance[c] + epsilon).sqrt();
                let found = (y - m[c]) / (v[c] + epsilon).sqrt();
                assert!((found - expected).abs() < 1e-12, "{found} {expected}");
            }
        }
    }
}
