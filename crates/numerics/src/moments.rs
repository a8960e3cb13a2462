//! Means and covariances of sampled columns, streamed in blocks of rows.
use crate::block::{block, block_mut};
use crate::parallel::parallel_map;
use ndarray::linalg::general_mat_mul;
use ndarray::{Array1, Array2, ArrayView2};
use std::sync::Mutex;

/// Rows that are multiplied at once; sums between them are kept in f64.
const ROWS: usize = 512;
/// Columns of a block of the covariance.
const COLUMNS: usize = 256;

/// Mean and covariance of the columns of sampled rows.
#[derive(Clone, Debug)]
pub struct Moments {
    /// Mean of each column.
    pub mean: Vec<f64>,
    /// `E[(x - mean)(x - mean)ᵀ]`.
    pub covariance: Array2<f64>,
}

/// Mean of each column.
pub(crate) fn means(rows: &ArrayView2<'_, f32>) -> Vec<f64> {
    let mut mean = vec![0.0; rows.ncols()];
    for row in rows.rows() {
        mean.iter_mut().zip(row).for_each(|(m, &x)| *m += f64::from(x));
    }
    mean.iter_mut().for_each(|m| *m /= rows.nrows().max(1) as f64);
    mean
}

/// The rows with the mean of each column taken off.
pub(crate) fn centred(rows: &ArrayView2<'_, f32>, mean: &[f64]) -> Array2<f32> {
    let mut out = rows.to_owned();
    for mut row in out.rows_mut() {
        row.iter_mut().zip(mean).for_each(|(x, m)| *x -= *m as f32);
    }
    out
}

/// `aᵀ b / rows`, the sum over rows in a fixed order whatever the number of threads.
pub(crate) fn cross(
    a: &Array2<f32>,
    b: &Array2<f32>,
    threads: usize,
    symmetric: bool,
) -> Array2<f64> {
    let mut out = Array2::zeros((a.ncols(), b.ncols()));
    add_cross(&mut out, a, b, threads, symmetric);
    out *= 1.0 / a.nrows().max(1) as f64;
    out
}

/// Adds `aᵀ b`, the sum over rows in a fixed order whatever the number of threads.
fn add_cross(
    out: &mut Array2<f64>,
    a: &Array2<f32>,
    b: &Array2<f32>,
    threads: usize,
    symmetric: bool,
) {
    let (m, n) = (a.ncols(), b.ncols());
    let blocks: Vec<(usize, usize)> = (0..m.div_ceil(COLUMNS))
        .flat_map(|i| (0..n.div_ceil(COLUMNS)).map(move |j| (i, j)))
        .filter(|(i, j)| !symmetric || j <= i)
        .collect();
    let out = Mutex::new(out.view_mut());
    parallel_map(threads, blocks, |(i, j)| {
        let (i, j) =
            (i * COLUMNS..((i + 1) * COLUMNS).min(m), j * COLUMNS..((j + 1) * COLUMNS).min(n));
        let mut sum = Array2::<f64>::zeros((i.len(), j.len()));
        let mut part = Array2::<f32>::zeros((i.len(), j.len()));
        for first in (0..a.nrows()).step_by(ROWS) {
            let rows = first..(first + ROWS).min(a.nrows());
            let left = block(a.view(), rows.clone(), i.clone());
            general_mat_mul(1.0, &left.t(), &block(b.view(), rows, j.clone()), 0.0, &mut part);
            sum.zip_mut_with(&part, |s, &p| *s += f64::from(p));
        }
        let mut out = out.lock().expect("no thread panics with the lock held");
        if symmetric && i != j {
            block_mut(out.view_mut(), j.clone(), i.clone()).scaled_add(1.0, &sum.t());
        }
        block_mut(out.view_mut(), i, j).scaled_add(1.0, &sum);
    });
}

/// Moments on their way: sums over the rows seen so far, about the mean of the first of them.
#[derive(Clone, Debug)]
pub struct MomentSums {
    rows: usize,
    centre: Vec<f64>,
    sum: Vec<f64>,
    products: Array2<f64>,
}

impl MomentSums {
    /// Of no rows yet, of so many columns.
    pub fn new(columns: usize) -> Self {
        Self {
            rows: 0,
            centre: vec![],
            sum: vec![0.0; columns],
            products: Array2::zeros((columns, columns)),
        }
    }

    /// Adds rows.
    pub fn add(&mut self, rows: ArrayView2<'_, f32>, threads: usize) {
        if self.rows == 0 {
            // What is taken off is taken off in f32.
            self.centre = means(&rows).iter().map(|&m| f64::from(m as f32)).collect();
        }
        let x = centred(&rows, &self.centre);
        let means = means(&x.view());
        let sums = self.sum.iter_mut().zip(means);
        sums.for_each(|(s, m)| *s += m * rows.nrows() as f64);
        add_cross(&mut self.products, &x, &x, threads, true);
        self.rows += rows.nrows();
    }

    /// The moments of all rows.
    pub fn moments(self) -> Moments {
        let scale = 1.0 / self.rows.max(1) as f64;
        let mut covariance = self.products;
        let off = Array1::from(self.sum) * scale;
        for (mut row, &m) in covariance.rows_mut().into_iter().zip(&off) {
            row *= scale;
            row.scaled_add(-m, &off);
        }
        let mean = self.centre.iter().zip(&off).map(|(c, o)| c + o).collect();
        Moments { mean, covariance }
    }
}

impl Moments {
    /// A ridge that is a share of the mean variance, and positive.
    pub(crate) fn ridge(&self, share: f64) -> f64 {
        let trace: f64 = self.covariance.diag().sum();
        share * trace / self.mean.len().max(1) as f64 + f64::MIN_POSITIVE.sqrt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Columns far from zero that depend on each other.
    fn rows() -> Array2<f32> {
        Array2::from_shape_fn((300, 5), |(i, j)| {
            ((i * (3 + j) + i * i) % 29) as f32 / 7.0 + 50.0 * j as f32
        })
    }

    #[test]
    fn moment_sums_of_batches_are_those_of_all_rows_in_f64() {
        let all = rows();
        let mut sums = MomentSums::new(5);
        for batch in [0..7, 7..200, 200..300] {
            sums.add(block(all.view(), batch, 0..5), 2);
        }
        let found = sums.moments();
        let wide = all.mapv(f64::from);
        let mean = wide.mean_axis(ndarray::Axis(0)).unwrap();
        let centred = &wide - &mean;
        let covariance = centred.t().dot(&centred) / 300.0;
        assert!(found.mean.iter().zip(&mean).all(|(f, m)| (f - m).abs() < 1e-5));
        let wrong = (&found.covariance - &covariance).mapv(f64::abs);
        let worst = wrong.iter().copied().fold(0.0, f64::max);
        assert!(worst < 1e-4 * covariance[[0, 0]], "{worst}");
    }
}
