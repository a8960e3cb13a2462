//! Removing inputs of linear layers while the remaining weights make up for them.
//! Source: Frantar and Alistarh, Optimal Brain Compression (arXiv:2208.11580), for blocks of columns.
use crate::block::block;
use crate::cholesky::Cholesky;
use crate::moments::ridge;
use crate::parallel::parallel_map;
use crate::symmetric::{Symmetric, TILE};
use crate::{Linear, Moments};
use ndarray::linalg::general_mat_mul;
use ndarray::{Array2, ArrayView1, Axis};

/// Share of the columns that stay as zeros, at most, before the others move together.
const ZEROS: f64 = 0.125;

/// Layers of the same inputs that lose these one block of columns at a time; their weights stay the ridge least squares
/// solution.
#[derive(Clone, Debug)]
pub struct Compensation {
    /// Columns that are still computed with, rising: all that are left, and those that went since they last moved together.
    columns: Vec<usize>,
    /// How many of these are gone: zeros in what follows.
    zeros: usize,
    /// Of these columns' moments.
    inverse: Symmetric,
    /// Of all layers, one below the other, each divided by the deviation of its outputs together.
    weight: Array2<f64>,
    dense: Vec<Linear>,
    deviations: Vec<f64>,
    mean: Vec<f64>,
    threads: usize,
}

/// Columns, by their place among those that are left, and the inverse of their block of the inverse.
struct Block {
    at: Vec<usize>,
    solved: Array2<f64>,
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
            columns: (0..a.order()).collect(),
            zeros: 0,
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
        let Some(gone) = self.block(columns) else {
            return 0.0;
        };
        let w = self.weight.select(Axis(1), &gone.at);
        (w.dot(&gone.solved) * &w).sum()
    }

    /// Removes columns.
    pub fn remove(&mut self, columns: &[usize]) {
        let Some(Block { at, solved }) = self.block(columns) else {
            return;
        };
        let w = self.weight.select(Axis(1), &at);
        let inverse = &self.inverse;
        let parts: Vec<_> = self.weight.axis_chunks_iter_mut(Axis(1), TILE).enumerate().collect();
        let strips = parallel_map(self.threads, parts, |(tile, mut part)| {
            let rows = inverse.rows(&at, tile);
            let shift = solved.dot(&rows);
            general_mat_mul(-1.0, &w, &shift, 1.0, &mut part);
            (rows, shift)
        });
        let (rows, shift): (Vec<_>, Vec<_>) = strips.into_iter().unzip();
        self.inverse.eliminate(&rows, &shift, &at, self.threads);
        at.iter().for_each(|&c| self.weight.column_mut(c).fill(0.0));
        self.zeros += at.len();
        if self.zeros as f64 > ZEROS * self.columns.len() as f64 {
            self.close_up();
        }
    }

    /// Moves the columns that are not gone together: what is gone takes neither time nor memory then.
    fn close_up(&mut self) {
        let kept = |i: &usize| self.inverse.get(*i, *i) != 0.0;
        let kept: Vec<usize> = (0..self.columns.len()).filter(kept).collect();
        self.inverse.keep(&kept);
        self.weight = self.weight.select(Axis(1), &kept);
        self.columns = kept.iter().map(|&i| self.columns[i]).collect();
        self.zeros = 0;
    }

    /// The inverse of the block of the inverse; `None` when the columns are gone.
    fn block(&self, columns: &[usize]) -> Option<Block> {
        let at = columns.iter().map(|c| self.columns.binary_search(c).ok());
        let at = at.collect::<Option<Vec<usize>>>()?;
        let solved = Cholesky::factor(self.inverse.select(&at), 1)?.inverse(1);
        Some(Block { at, solved })
    }

    /// The layers as they are now, columns of zeros where inputs are gone.
    pub fn layers(&self) -> Vec<Linear> {
        let mut first = 0;
        let layer = |(dense, &deviation): (&Linear, &f64)| {
            let rows = first..first + dense.bias.len();
            first = rows.end;
            let mut weight = Array2::zeros(dense.weight.dim());
            let left = block(self.weight.view(), rows, 0..self.columns.len());
            for (now, &column) in left.columns().into_iter().zip(&self.columns) {
                weight.column_mut(column).assign(&(&now * deviation));
            }
            let lost = (&dense.weight - &weight).dot(&ArrayView1::from(&self.mean));
            let bias = dense.bias.iter().zip(&lost).map(|(b, l)| b + l);
            Linear { bias: bias.collect(), weight }
        };
        self.dense.iter().zip(&self.deviations).map(layer).collect()
    }
}
