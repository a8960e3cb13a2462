//! The factor by which rounding errors are carried over: unit upper triangular, of a covariance.

/// `U` of `H = (U + I) D (U + I)ᵀ`, strictly upper triangular, with `D` diagonal.
#[derive(Clone, Debug)]
pub struct UnitUpper {
    order: usize,
    /// By columns: element `[i][k]` at `k * order + i`.
    columns: Vec<f64>,
}

impl UnitUpper {
    /// Factors a symmetric matrix `[order, order]`, row-major; `None` when it is not positive definite.
    pub fn factor(mut h: Vec<f64>, order: usize) -> Option<Self> {
        let n = order;
        let mut u = vec![0.0; n * n];
        for k in (0..n).rev() {
            let d = h[k * n + k];
            if !(d.is_finite() && d > 0.0) {
                return None;
            }
            let (column, row) = (&mut u[k * n..k * n + k], &h[k * n..k * n + k]);
            column.iter_mut().zip(row).for_each(|(u, h)| *u = h / d);
            let column = &u[k * n..k * n + k];
            // What is left of the leading block once column k explains its part; it stays symmetric.
            for (i, &ui) in column.iter().enumerate().filter(|(_, u)| **u != 0.0) {
                for (h, &uj) in h[i * n..i * n + k].iter_mut().zip(column) {
                    *h -= d * ui * uj;
                }
            }
        }
        Some(Self { order, columns: u })
    }

    /// The elements of a column above the diagonal, from the first row on.
    pub fn column(&self, k: usize) -> &[f64] {
        let first = k * self.order;
        &self.columns[first..first + k]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rng;

    #[test]
    fn factor_of_a_positive_matrix_multiplies_back() {
        let n = 7;
        let mut rng = Rng::new(0);
        let root: Vec<f64> = (0..n * n).map(|_| f64::from(rng.signed()) / 2.0).collect();
        let element = |i: usize, j: usize| {
            let dot: f64 = (0..n).map(|k| root[i * n + k] * root[j * n + k]).sum();
            dot + if i == j { 0.1 } else { 0.0 }
        };
        let h: Vec<f64> = (0..n * n).map(|i| element(i / n, i % n)).collect();
        let factor = UnitUpper::factor(h.clone(), n).unwrap();
        let unit = |i: usize, k: usize| match i.cmp(&k) {
            std::cmp::Ordering::Less => factor.column(k)[i],
            std::cmp::Ordering::Equal => 1.0,
            std::cmp::Ordering::Greater => 0.0,
        };
        // D from the last column on: h[k][k] without what later columns explain.
        let mut d = vec![0.0; n];
        for k in (0..n).rev() {
            let later: f64 = (k + 1..n).map(|j| unit(k, j).powi(2) * d[j]).sum();
            d[k] = h[k * n + k] - later;
        }
        for (i, &expected) in h.iter().enumerate() {
            let (r, c) = (i / n, i % n);
            let back: f64 = (0..n).map(|k| unit(r, k) * d[k] * unit(c, k)).sum();
            assert!((back - expected).abs() < 1e-9, "{r} {c}: {back} {expected}");
        }
        assert!(UnitUpper::factor(vec![-1.0], 1).is_none());
    }
}
