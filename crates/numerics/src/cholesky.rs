//! Cholesky factors of symmetric positive definite matrices, in blocks.
use crate::block::{block, block_mut};
use crate::parallel::parallel_map;
use ndarray::linalg::general_mat_mul;
use ndarray::{Array2, ArrayViewMut2, Axis};

const BLOCK: usize = 64;
/// Columns that are solved for at a time.
const COLUMNS: usize = 64;

/// The lower factor `L` of `A = L Lᵀ`.
pub(crate) struct Cholesky(Array2<f64>);

impl Cholesky {
    /// Factors a symmetric matrix, of which the lower triangle is read; `None` when it is not positive definite.
    pub(crate) fn factor(mut a: Array2<f64>, threads: usize) -> Option<Self> {
        let n = a.nrows();
        for first in (0..n).step_by(BLOCK) {
            let end = (first + BLOCK).min(n);
            factor_block(&mut block_mut(a.view_mut(), first..end, first..end))?;
            if end == n {
                break;
            }
            let (top, mut below) = a.view_mut().split_at(Axis(0), end);
            let diagonal = block(top.view(), first..end, first..end);
            let mut columns = block_mut(below.view_mut(), 0..n - end, first..end);
            let rows: Vec<_> = columns.axis_chunks_iter_mut(Axis(0), BLOCK).collect();
            parallel_map(threads, rows, |mut rows| {
                for mut row in rows.rows_mut() {
                    for j in 0..row.len() {
                        let known: f64 = (0..j).map(|k| row[k] * diagonal[[j, k]]).sum();
                        row[j] = (row[j] - known) / diagonal[[j, j]];
                    }
                }
            });
            let panel = block(below.view(), 0..n - end, first..end).to_owned();
            // Only the lower triangle is read, so block rows stop at the diagonal.
            let rows: Vec<_> = below.axis_chunks_iter_mut(Axis(0), BLOCK).enumerate().collect();
            parallel_map(threads, rows, |(i, mut rows)| {
                let last = i * BLOCK + rows.nrows();
                let left = block(panel.view(), i * BLOCK..last, 0..end - first);
                let right = block(panel.view(), 0..last, 0..end - first);
                let all = 0..rows.nrows();
                let mut rows = block_mut(rows.view_mut(), all, end..end + last);
                general_mat_mul(-1.0, &left, &right.t(), 1.0, &mut rows);
            });
        }
        Some(Self(a))
    }

    /// Solves `A X = B`, in place.
    pub(crate) fn solve(&self, b: &mut Array2<f64>, threads: usize) {
        let parts: Vec<_> = b.axis_chunks_iter_mut(Axis(1), COLUMNS).collect();
        parallel_map(threads, parts, |part| self.solve_columns(part));
    }

    fn solve_columns(&self, mut b: ArrayViewMut2<'_, f64>) {
        let (l, n, columns) = (&self.0, self.0.nrows(), b.ncols());
        let starts: Vec<usize> = (0..n).step_by(BLOCK).collect();
        for &first in &starts {
            let end = (first + BLOCK).min(n);
            let (known, mut rest) = b.view_mut().split_at(Axis(0), first);
            let mut part = block_mut(rest.view_mut(), 0..end - first, 0..columns);
            general_mat_mul(-1.0, &block(l.view(), first..end, 0..first), &known, 1.0, &mut part);
            for i in 0..end - first {
                let (above, mut row) = part.view_mut().split_at(Axis(0), i);
                for (k, x) in above.rows().into_iter().enumerate() {
                    row.row_mut(0).scaled_add(-l[[first + i, first + k]], &x);
                }
                row.row_mut(0).mapv_inplace(|v| v / l[[first + i, first + i]]);
            }
        }
        for &first in starts.iter().rev() {
            let end = (first + BLOCK).min(n);
            let (mut head, known) = b.view_mut().split_at(Axis(0), end);
            let mut part = block_mut(head.view_mut(), first..end, 0..columns);
            general_mat_mul(-1.0, &block(l.view(), end..n, first..end).t(), &known, 1.0, &mut part);
            for i in (0..end - first).rev() {
                let (mut row, below) = part.view_mut().split_at(Axis(0), i + 1);
                for (k, x) in below.rows().into_iter().enumerate() {
                    row.row_mut(i).scaled_add(-l[[first + i + 1 + k, first + i]], &x);
                }
                row.row_mut(i).mapv_inplace(|v| v / l[[first + i, first + i]]);
            }
        }
    }

    /// The inverse of `A`.
    pub(crate) fn inverse(&self, threads: usize) -> Array2<f64> {
        let mut inverse = Array2::eye(self.0.nrows());
        self.solve(&mut inverse, threads);
        inverse
    }
}

fn factor_block(a: &mut ArrayViewMut2<'_, f64>) -> Option<()> {
    for j in 0..a.nrows() {
        for i in j..a.nrows() {
            let known: f64 = (0..j).map(|k| a[[i, k]] * a[[j, k]]).sum();
            let x = a[[i, j]] - known;
            if i > j {
                a[[i, j]] = x / a[[j, j]];
            } else if x > 0.0 && x.is_finite() {
                a[[j, j]] = x.sqrt();
            } else {
                return None;
            }
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inverse_of_a_positive_matrix_times_it_is_one() {
        let n = 150;
        let b =
            Array2::from_shape_fn((n, n), |(i, j)| (((i * 31 + j * 17) % 101) as f64 / 50.0).sin());
        let a = b.dot(&b.t()) + Array2::<f64>::eye(n) * 0.5;
        let inverse = Cholesky::factor(a.clone(), 2).expect("positive definite").inverse(2);
        let error = (a.dot(&inverse) - Array2::<f64>::eye(n)).mapv(f64::abs);
        assert!(error.iter().all(|e| *e < 1e-8), "{:?}", error.iter().cloned().fold(0.0, f64::max));
    }

    #[test]
    fn factor_of_an_indefinite_matrix_gives_nothing() {
        let mut a = Array2::<f64>::eye(3);
        a[[2, 2]] = -1.0;
        assert!(Cholesky::factor(a, 1).is_none());
    }
}
