//! Removing inputs of a linear layer while the remaining weights make up for them.
//! Source: Frantar and Alistarh, Optimal Brain Compression (arXiv:2208.11580), for blocks of columns.
use crate::cholesky::Cholesky;
use crate::{Linear, Moments};
use ndarray::linalg::general_mat_mul;
use ndarray::{Array2, Axis};

/// A layer that loses inputs one block of columns at a time; its weights stay the ridge least squares solution.
#[derive(Clone, Debug)]
pub struct Compensation {
    inverse: Array2<f64>,
    weight: Array2<f64>,
    dense: Array2<f64>,
    mean: Vec<f64>,
    energy: f64,
}

impl Compensation {
    /// Of a layer's weights `[outputs, inputs]` and its inputs' moments; `ridge` is a share of their mean variance.
    /// `None` when the moments are not finite.
    pub fn new(weight: Array2<f64>, moments: &Moments, ridge: f64) -> Option<Self> {
        let mut a = moments.covariance.clone();
        let ridge = moments.ridge(ridge);
        a.diag_mut().mapv_inplace(|v| v + ridge);
        let energy = (weight.dot(&a) * &weight).sum();
        Some(Self {
            inverse: Cholesky::of(a)?.inverse(),
            dense: weight.clone(),
            weight,
            mean: moments.mean.clone(),
            energy,
        })
    }

    /// Variance of all outputs together, before anything was removed.
    pub fn energy(&self) -> f64 {
        self.energy
    }

    /// The squared error that removing these columns adds, after the others have made up for it.
    pub fn cost(&self, columns: &[usize]) -> f64 {
        let Some(block) = self.block(columns) else {
            return 0.0;
        };
        let w = self.weight.select(Axis(1), columns);
        (w.dot(&block) * &w).sum()
    }

    /// Removes columns.
    pub fn remove(&mut self, columns: &[usize]) {
        let Some(block) = self.block(columns) else {
            return;
        };
        let rows = self.inverse.select(Axis(0), columns);
        let shift = block.dot(&rows);
        let w = self.weight.select(Axis(1), columns);
        general_mat_mul(-1.0, &w, &shift, 1.0, &mut self.weight);
        general_mat_mul(-1.0, &rows.t(), &shift, 1.0, &mut self.inverse);
        for &c in columns {
            self.weight.column_mut(c).fill(0.0);
            self.inverse.column_mut(c).fill(0.0);
            self.inverse.row_mut(c).fill(0.0);
        }
    }

    /// The inverse of the block of the inverse; `None` when the columns are gone.
    fn block(&self, columns: &[usize]) -> Option<Array2<f64>> {
        let block = self
            .inverse
            .select(Axis(0), columns)
            .select(Axis(1), columns);
        Some(Cholesky::of(block)?.inverse())
    }

    /// The layer as it is now, columns of zeros where inputs are gone; `bias` is the dense one.
    pub fn layer(&self, bias: &[f64]) -> Linear {
        let lost = (&self.dense - &self.weight).dot(&ndarray::ArrayView1::from(&self.mean));
        Linear {
            weight: self.weight.clone(),
            bias: bias.iter().zip(&lost).map(|(b, l)| b + l).collect(),
        }
    }
}
