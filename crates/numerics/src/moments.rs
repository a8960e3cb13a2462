//! Means and covariances of sampled columns, streamed in blocks of rows.
use crate::block::{block, block_mut};
use crate::parallel::parallel_map;
use crate::symmetric::Symmetric;
use ndarray::linalg::general_mat_mul;
use ndarray::{Array2, ArrayView2};
use std::ops::Range;
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
    pub covariance: Symmetric,
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

/// Rows from which a number is taken off each column, in f32, where they are read.
#[derive(Clone, Copy)]
pub(crate) struct Centred<'a> {
    pub(crate) rows: ArrayView2<'a, f32>,
    /// One for each column.
    pub(crate) centre: &'a [f64],
}

impl Centred<'_> {
    /// A rectangle of them.
    fn block(&self, rows: Range<usize>, columns: Range<usize>) -> Array2<f32> {
        let mut part = block(self.rows, rows, columns.clone()).to_owned();
        for mut row in part.rows_mut() {
            let elements = row.iter_mut().zip(&self.centre[columns.clone()]);
            elements.for_each(|(x, c)| *x -= *c as f32);
        }
        part
    }

    /// Mean of each column.
    fn means(&self) -> Vec<f64> {
        let mut mean = vec![0.0; self.rows.ncols()];
        for row in self.rows.rows() {
            let elements = mean.iter_mut().zip(row).zip(self.centre);
            elements.for_each(|((m, &x), c)| *m += f64::from(x - *c as f32));
        }
        mean.iter_mut().for_each(|m| *m /= self.rows.nrows().max(1) as f64);
        mean
    }
}

/// `aᵀ b / rows`, the sum over rows in a fixed order whatever the number of threads.
pub(crate) fn cross(
    a: Centred<'_>,
    b: Centred<'_>,
    threads: usize,
    symmetric: bool,
) -> Array2<f64> {
    let (m, n) = (a.rows.ncols(), b.rows.ncols());
    let mut all = Array2::zeros((m, n));
    let blocks: Vec<(usize, usize)> = (0..m.div_ceil(COLUMNS))
        .flat_map(|i| (0..n.div_ceil(COLUMNS)).map(move |j| (i, j)))
        .filter(|(i, j)| !symmetric || j <= i)
        .collect();
    let out = Mutex::new(all.view_mut());
    parallel_map(threads, blocks, |(i, j)| {
        let (i, j) =
            (i * COLUMNS..((i + 1) * COLUMNS).min(m), j * COLUMNS..((j + 1) * COLUMNS).min(n));
        let sum = products(a, b, i.clone(), j.clone());
        let mut out = out.lock().expect("no thread panics with the lock held");
        if symmetric && i != j {
            block_mut(out.view_mut(), j.clone(), i.clone()).assign(&sum.t());
        }
        block_mut(out.view_mut(), i, j).assign(&sum);
    });
    all *= 1.0 / a.rows.nrows().max(1) as f64;
    all
}

/// `aᵀ b` of some columns of each, the sum over rows in a fixed order.
fn products(a: Centred<'_>, b: Centred<'_>, of_a: Range<usize>, of_b: Range<usize>) -> Array2<f64> {
    let mut sum = Array2::<f64>::zeros((of_a.len(), of_b.len()));
    let mut part = Array2::<f32>::zeros((of_a.len(), of_b.len()));
    let count = a.rows.nrows();
    for first in (0..count).step_by(ROWS) {
        let rows = first..(first + ROWS).min(count);
        let left = a.block(rows.clone(), of_a.clone());
        general_mat_mul(1.0, &left.t(), &b.block(rows, of_b.clone()), 0.0, &mut part);
        sum.zip_mut_with(&part, |s, &p| *s += f64::from(p));
    }
    sum
}

/// Moments on their way: sums over the rows seen so far, about the mean of the first of them.
#[derive(Clone, Debug)]
pub struct MomentSums {
    rows: usize,
    centre: Vec<f64>,
    sum: Vec<f64>,
    products: Symmetric,
}

impl MomentSums {
    /// Of no rows yet, of so many columns.
    pub fn new(columns: usize) -> Self {
        Self {
            rows: 0,
            centre: vec![],
            sum: vec![0.0; columns],
            products: Symmetric::zeros(columns),
        }
    }

    /// Adds rows.
    pub fn add(&mut self, rows: ArrayView2<'_, f32>, threads: usize) {
        if self.rows == 0 {
            // What is taken off is taken off in f32.
            self.centre = means(&rows).iter().map(|&m| f64::from(m as f32)).collect();
        }
        let x = Centred { rows, centre: &self.centre };
        let sums = self.sum.iter_mut().zip(x.means());
        sums.for_each(|(s, m)| *s += m * rows.nrows() as f64);
        self.products.for_each_tile(threads, |tile, i, j| *tile += &products(x, x, i, j));
        self.rows += rows.nrows();
    }

    /// The moments of all rows.
    pub fn moments(self, threads: usize) -> Moments {
        let scale = 1.0 / self.rows.max(1) as f64;
        let mut covariance = self.products;
        let off: Vec<f64> = self.sum.iter().map(|s| s * scale).collect();
        covariance.for_each_tile(threads, |tile, rows, columns| {
            for (mut row, i) in tile.rows_mut().into_iter().zip(rows) {
                let elements = row.iter_mut().zip(&off[columns.clone()]);
                elements.for_each(|(v, o)| *v = *v * scale + -off[i] * o);
            }
        });
        let mean = self.centre.iter().zip(&off).map(|(c, o)| c + o).collect();
        Moments { mean, covariance }
    }
}

/// A ridge that is a share of the mean of some variances, and positive.
pub(crate) fn ridge(variances: &[f64], share: f64) -> f64 {
    let trace: f64 = variances.iter().sum();
    share * trace / variances.len().max(1) as f64 + f64::MIN_POSITIVE.sqrt()
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
        let found = sums.moments(2);
        let wide = all.mapv(f64::from);
        let mean = wide.mean_axis(ndarray::Axis(0)).unwrap();
        let centred = &wide - &mean;
        let covariance = centred.t().dot(&centred) / 300.0;
        assert!(found.mean.iter().zip(&mean).all(|(f, m)| (f - m).abs() < 1e-5));
        let found_covariance = Array2::from_shape_fn((5, 5), |(i, j)| found.covariance.get(i, j));
        let wrong = (&found_covariance - &covariance).mapv(f64::abs);
        let worst = wrong.iter().copied().fold(0.0, f64::max);
        assert!(worst < 1e-4 * covariance[[0, 0]], "{worst}");
    }
}
