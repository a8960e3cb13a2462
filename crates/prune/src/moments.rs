//! Means and covariances of sampled columns, streamed in blocks of rows.
use crate::block::{block, block_mut};
use ndarray::linalg::general_mat_mul;
use ndarray::{Array2, ArrayView2};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

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
        mean.iter_mut()
            .zip(row)
            .for_each(|(m, &x)| *m += f64::from(x));
    }
    mean.iter_mut()
        .for_each(|m| *m /= rows.nrows().max(1) as f64);
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
    let (m, n) = (a.ncols(), b.ncols());
    let blocks: Vec<(usize, usize)> = (0..m.div_ceil(COLUMNS))
        .flat_map(|i| (0..n.div_ceil(COLUMNS)).map(move |j| (i, j)))
        .filter(|(i, j)| !symmetric || j <= i)
        .collect();
    let out = Mutex::new(Array2::<f64>::zeros((m, n)));
    let next = AtomicUsize::new(0);
    let scale = 1.0 / a.nrows().max(1) as f64;
    let work = || {
        while let Some(&(i, j)) = blocks.get(next.fetch_add(1, Ordering::Relaxed)) {
            let (i, j) = (
                i * COLUMNS..((i + 1) * COLUMNS).min(m),
                j * COLUMNS..((j + 1) * COLUMNS).min(n),
            );
            let mut sum = Array2::<f64>::zeros((i.len(), j.len()));
            let mut part = Array2::<f32>::zeros((i.len(), j.len()));
            for first in (0..a.nrows()).step_by(ROWS) {
                let rows = first..(first + ROWS).min(a.nrows());
                let left = block(a.view(), rows.clone(), i.clone());
                general_mat_mul(
                    1.0,
                    &left.t(),
                    &block(b.view(), rows, j.clone()),
                    0.0,
                    &mut part,
                );
                sum.zip_mut_with(&part, |s, &p| *s += f64::from(p));
            }
            sum *= scale;
            let mut out = out.lock().expect("no thread panics with the lock held");
            if symmetric {
                block_mut(out.view_mut(), j.clone(), i.clone()).assign(&sum.t());
            }
            block_mut(out.view_mut(), i, j).assign(&sum);
        }
    };
    std::thread::scope(|scope| {
        (1..threads.max(1)).for_each(|_| {
            scope.spawn(work);
        });
        work();
    });
    out.into_inner()
        .expect("no thread panics with the lock held")
}

impl Moments {
    /// Of the columns of `rows`.
    pub fn of(rows: ArrayView2<'_, f32>, threads: usize) -> Self {
        let mean = means(&rows);
        let x = centred(&rows, &mean);
        let covariance = cross(&x, &x, threads, true);
        Self { mean, covariance }
    }

    /// A ridge that is a share of the mean variance, and positive.
    pub(crate) fn ridge(&self, share: f64) -> f64 {
        let trace: f64 = self.covariance.diag().sum();
        share * trace / self.mean.len().max(1) as f64 + f64::MIN_POSITIVE.sqrt()
    }
}
