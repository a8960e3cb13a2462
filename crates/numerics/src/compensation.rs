//! Removing inputs of linear layers while the remaining weights make up for them.
//! Source: Frantar and Alistarh, Optimal Brain Compression (arXiv:2208.11580), for blocks of columns.
use crate::block::block;
use crate::cholesky::Cholesky;
use crate::moments::ridge;
use crate::parallel::parallel_map;
use crate::symmetric::Symmetric;
use crate::{Linear, Moments};
use ndarray::linalg::general_mat_mul;
use ndarray::{Array2, ArrayView1, Axis};

/// Rows of weights that a thread changes at a time.
const ROWS: usize = 64;

/// Layers of the same inputs that lose these one block of columns at a time; their weights stay the ridge least squares
/// solution.
#[derive(Clone, Debug)]
pub struct Compensation {
    inverse: Symmetric,
    /// Of all layers, one below the other, each divided by the deviation of its outputs together.
    weight: Array2<f64>,
    dense: Vec<Linear>,
    deviations: Vec<f64>,
    mean: Vec<f64>,
    threads: usize,
}

impl Compensation {
    /// Of layers and the moments of the inputs that they all read, with a ridge that is a `share` of these inputs' mean variance.
    /// `None` when the moments are not finite.
    pub fn new(layers: Vec<Linear>, moments: &Moments, share: f64, threads: usize) -> Option<Self> {
        let mut a = moments.covariance.clone();
        a.add_to_diagonal(ridge(&a.diagonal(), share));
        let mut weight = Array2::zeros((0, a.order()));
        let mut deviations = Vec::new();
        for layer in &layers {
            let variance = (a.multiplied(&layer.weight, threads) * &layer.weight).sum();
            deviations.push(variance.max(1e-30).sqrt());
            let scaled = &layer.weight / deviations[deviations.len() - 1];
            weight.append(Axis(0), scaled.view()).ok()?;
        }
        Some(Self {
            inverse: a.inverse(threads)?,
            weight,
            dense: layers,
            deviations,
            mean: moments.mean.clone(),
            threads,
        })
    }

    /// The squared error that removing these columns adds, after the others have made up for it: for each layer as a
    /// share of its outputs' variance before anything was removed, and of all layers the sum.
    pub fn cost(&self, columns: &[usize]) -> f64 {
        let Some(block) = self.block(columns) else {
            return 0.0;
        };
        let w = self.weight.select(Axis(1), columns);
        (w.dot(&block) * &w).sum()
    }

    /// Removes columns.
    pub fn remove(&mut self, columns: &[usize]) {
        let Some(solved) = self.block(columns) else {
            return;
        };
        let rows = self.inverse.rows(columns);
        let shift = solved.dot(&rows);
        let w = self.weight.select(Axis(1), columns);
        let parts: Vec<_> = self.weight.axis_chunks_iter_mut(Axis(0), ROWS).enumerate().collect();
        parallel_map(self.threads, parts, |(i, mut part)| {
            let of_part = i * ROWS..i * ROWS + part.nrows();
            let w = block(w.view(), of_part, 0..columns.len());
            general_mat_mul(-1.0, &w, &shift, 1.0, &mut part);
        });
        self.inverse.subtract_product(&rows, &shift, self.threads);
        self.inverse.clear(columns);
        columns.iter().for_each(|&c| self.weight.column_mut(c).fill(0.0));
    }

    /// The inverse of the block of the inverse; `None` when the columns are gone.
    fn block(&self, columns: &[usize]) -> Option<Array2<f64>> {
        Some(Cholesky::factor(self.inverse.select(columns), 1)?.inverse())
    }

    /// The layers as they are now, columns of zeros where inputs are gone.
    pub fn layers(&self) -> Vec<Linear> {
        let mut first = 0;
        let layer = |(dense, &deviation): (&Linear, &f64)| {
            let rows = first..first + dense.bias.len();
            first = rows.end;
            let weight = &block(self.weight.view(), rows, 0..self.mean.len()) * deviation;
            let lost = (&dense.weight - &weight).dot(&ArrayView1::from(&self.mean));
            let bias = dense.bias.iter().zip(&lost).map(|(b, l)| b + l);
            Linear { bias: bias.collect(), weight }
        };
        self.dense.iter().zip(&self.deviations).map(layer).collect()
    }
}
