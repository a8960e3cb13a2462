//! A layer's weights fitted again to what the dense model gave, from inputs as the pruned model has them.
//! Source: Luo et al., ThiNet (arXiv:1707.06342); He et al. (arXiv:1707.06168).
use crate::block::block;
use crate::cholesky::Cholesky;
use crate::moments::{Centred, cross, means, ridge};
use crate::parallel::parallel_map;
use ndarray::{Array2, ArrayView2, Axis};

/// Outputs whose rest a thread computes at a time.
const OUTPUTS: usize = 64;

/// A linear layer: `y = weight · x + bias`.
#[derive(Clone, Debug, PartialEq)]
pub struct Linear {
    /// `[outputs, inputs]`; a convolution's inputs run over channels and taps.
    pub weight: Array2<f64>,
    /// One for each output.
    pub bias: Vec<f64>,
}

impl Linear {
    /// The layer with these outputs only.
    pub fn rows(&self, rows: &[usize]) -> Self {
        Self {
            weight: self.weight.select(Axis(0), rows),
            bias: rows.iter().map(|&r| self.bias[r]).collect(),
        }
    }
}

/// The weights and bias with the least squared error `‖target − layer(x)‖²` over the sampled rows.
///
/// `x` is `[rows, inputs]`, `target` `[rows, outputs]`. Weights are pulled towards those of `layer` by a ridge, a
/// `share` of the inputs' mean variance, so that directions which the samples do not show stay as they were.
pub fn least_squares(
    layer: &Linear,
    x: ArrayView2<'_, f32>,
    target: ArrayView2<'_, f32>,
    share: f64,
    threads: usize,
) -> Linear {
    let mean = means(&x);
    let x = Centred { rows: x, centre: &mean };
    let mut a = cross(x, x, threads, true);
    let target_mean = means(&target);
    let target = Centred { rows: target, centre: &target_mean };
    let given = cross(target, x, threads, false);
    let mut rest = rest(layer, &a, &given, threads);
    let ridge = self::ridge(&a.diag().to_vec(), share);
    a.diag_mut().mapv_inplace(|v| v + ridge);
    let weight = match Cholesky::factor(a, threads) {
        Some(factor) => {
            factor.solve(&mut rest, threads);
            &layer.weight + &rest.t()
        }
        None => layer.weight.clone(),
    };
    let given = weight.dot(&ndarray::ArrayView1::from(&mean));
    let bias = target_mean.iter().zip(&given).map(|(t, g)| t - g).collect();
    Linear { weight, bias }
}

/// What the layer's covariances with the target lack, one column for each output: `(cross - weight · covariance)ᵀ`.
fn rest(
    layer: &Linear,
    covariance: &Array2<f64>,
    cross: &Array2<f64>,
    threads: usize,
) -> Array2<f64> {
    let mut rest = Array2::zeros((cross.ncols(), cross.nrows()));
    let starts = (0..cross.nrows()).step_by(OUTPUTS);
    let parts = starts.zip(rest.axis_chunks_iter_mut(Axis(1), OUTPUTS));
    parallel_map(threads, parts.collect::<Vec<_>>(), |(first, mut part)| {
        let outputs = first..first + part.ncols();
        let rows =
            |of: ArrayView2<'_, f64>| block(of, outputs.clone(), 0..cross.ncols()).to_owned();
        let given = rows(layer.weight.view()).dot(covariance);
        part.assign(&(rows(cross.view()) - given).t());
    });
    rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Compensation, MomentSums, Moments};

    /// Rows of four columns, the last of which is a combination of the others and a constant.
    fn rows() -> Array2<f32> {
        let mut rows = Array2::from_shape_fn((400, 4), |(i, j)| {
            ((i * (7 + 3 * j) + j) % 23) as f32 / 11.0 - 1.0
        });
        for mut row in rows.rows_mut() {
            row[3] = 0.5 * row[0] - 2.0 * row[1] + 0.25 * row[2] + 3.0;
        }
        rows
    }

    fn moments(rows: &Array2<f32>) -> Moments {
        let mut sums = MomentSums::new(rows.ncols());
        sums.add(rows.view(), 1);
        sums.moments(2)
    }

    fn dense() -> Linear {
        Linear {
            weight: Array2::from_shape_fn((3, 4), |(i, j)| (i as f64 + 1.0) * 0.3 - j as f64 * 0.2),
            bias: vec![0.1, -0.2, 0.3],
        }
    }

    fn outputs(layer: &Linear, x: &Array2<f32>) -> Array2<f32> {
        let y = x.mapv(f64::from).dot(&layer.weight.t()) + ndarray::ArrayView1::from(&layer.bias);
        y.mapv(|v| v as f32)
    }

    fn assert_same(a: &Array2<f32>, b: &Array2<f32>) {
        let worst = (a - b).iter().fold(0.0_f32, |w, d| w.max(d.abs()));
        assert!(worst < 2e-3, "{worst}");
    }

    #[test]
    fn least_squares_without_a_column_that_the_others_span_is_exact() {
        let (x, dense) = (rows(), dense());
        let kept = [0, 1, 2];
        let pruned =
            Linear { weight: dense.weight.select(Axis(1), &kept), bias: dense.bias.clone() };
        let seen = x.select(Axis(1), &kept);
        let target = outputs(&dense, &x);
        let fitted = least_squares(&pruned, seen.view(), target.view(), 1e-7, 2);
        assert_same(&outputs(&fitted, &seen), &target);
    }

    #[test]
    fn compensation_of_a_column_that_the_others_span_costs_nothing_and_is_exact() {
        let (x, dense) = (rows(), dense());
        let moments = moments(&x);
        let mut layer = Compensation::new(vec![dense.clone()], &moments, 1e-7, 2).expect("finite");
        assert!(layer.cost(&[3]) < 1e-4);
        assert!(layer.cost(&[2]) < 1e-4);
        layer.remove(&[3]);
        assert!(layer.cost(&[2]) > 1e-2);
        let now = layer.layers().remove(0);
        assert!(now.weight.column(3).iter().all(|w| *w == 0.0));
        assert_same(&outputs(&now, &x), &outputs(&dense, &x));
    }

    #[test]
    fn compensation_of_two_layers_and_a_block_of_columns_is_that_of_each_alone_and_one_by_one() {
        let moments = moments(&rows());
        let (first, second) = (dense(), dense().rows(&[2, 0]));
        let new = |layers| Compensation::new(layers, &moments, 0.1, 2).expect("finite");
        let mut both = new(vec![first.clone(), second.clone()]);
        let cost = both.cost(&[1, 3]);
        both.remove(&[1, 3]);
        let mut sum = 0.0;
        for (layer, now) in [first, second].into_iter().zip(both.layers()) {
            let mut alone = new(vec![layer]);
            for column in [3, 1] {
                sum += alone.cost(&[column]);
                alone.remove(&[column]);
            }
            let difference = &alone.layers().remove(0).weight - &now.weight;
            assert!(difference.iter().all(|d| d.abs() < 1e-9));
        }
        assert!((cost - sum).abs() < 1e-9 * sum);
    }

    #[test]
    fn least_squares_on_any_number_of_threads_gives_the_same_bits() {
        let (x, dense) = (rows(), dense());
        let target = outputs(&dense, &x);
        let one = least_squares(&dense, x.view(), target.view(), 1e-3, 1);
        assert_eq!(one, least_squares(&dense, x.view(), target.view(), 1e-3, 3));
    }
}
