//! A layer's weights fitted again to what the dense model gave, from inputs as the pruned model has them.
//! Source: Luo et al., ThiNet (arXiv:1707.06342); He et al. (arXiv:1707.06168).
use crate::cholesky::Cholesky;
use crate::moments::{Moments, centred, cross, means};
use ndarray::{Array2, ArrayView2, Axis};

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
/// `x` is `[rows, inputs]`, `target` `[rows, outputs]`. Weights are pulled towards those of `layer` by `ridge`, a
/// share of the inputs' mean variance, so that directions which the samples do not show stay as they were.
pub fn regress(
    layer: &Linear,
    x: ArrayView2<'_, f32>,
    target: ArrayView2<'_, f32>,
    ridge: f64,
    threads: usize,
) -> Linear {
    let mean = means(&x);
    let x = centred(&x, &mean);
    let moments = Moments {
        covariance: cross(&x, &x, threads, true),
        mean,
    };
    let target_mean = means(&target);
    let target = centred(&target, &target_mean);
    let given = cross(&target, &x, threads, false);
    fit(layer, &moments, &given, &target_mean, ridge)
}

/// As [`regress`], from moments: `cross` is `E[target xᵀ]` of centred rows.
fn fit(
    layer: &Linear,
    x: &Moments,
    cross: &Array2<f64>,
    target_mean: &[f64],
    ridge: f64,
) -> Linear {
    let mut a = x.covariance.clone();
    let ridge = x.ridge(ridge);
    a.diag_mut().mapv_inplace(|v| v + ridge);
    let mut rest = (cross - &layer.weight.dot(&x.covariance)).reversed_axes();
    let weight = match Cholesky::of(a) {
        Some(factor) => {
            rest = rest.as_standard_layout().into_owned();
            factor.solve(&mut rest);
            &layer.weight + &rest.t()
        }
        None => layer.weight.clone(),
    };
    let given = weight.dot(&ndarray::ArrayView1::from(&x.mean));
    let bias = target_mean.iter().zip(&given).map(|(t, g)| t - g).collect();
    Linear { weight, bias }
}
