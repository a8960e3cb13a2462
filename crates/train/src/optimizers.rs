//! Optimizers: from gradients to new weights, one file each.

mod adam;

pub use adam::{Adam, AdamState};
use numerics::parallel_map;

/// The length of all gradients together.
pub fn norm(gradients: &[Vec<f32>], threads: usize) -> f64 {
    let squares = parallel_map(threads, gradients, |gradients| {
        gradients.iter().map(|&g| f64::from(g).powi(2)).sum::<f64>()
    });
    squares.iter().sum::<f64>().sqrt()
}

/// Shortens all gradients together to a length of at most `limit`.
pub fn clip(gradients: &mut [Vec<f32>], limit: f64, threads: usize) {
    let norm = norm(gradients, threads);
    if norm > limit {
        let factor = (limit / norm) as f32;
        parallel_map(threads, gradients, |gradients| {
            gradients.iter_mut().for_each(|g| *g *= factor);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clip_shortens_to_the_limit_and_leaves_what_is_shorter() {
        let mut gradients = vec![vec![3.0], vec![0.0, 4.0]];
        clip(&mut gradients, 10.0, 1);
        assert_eq!(gradients, [vec![3.0], vec![0.0, 4.0]]);
        clip(&mut gradients, 1.0, 2);
        assert!((norm(&gradients, 2) - 1.0).abs() < 1e-6);
        assert!((gradients[0][0] - 0.6).abs() < 1e-6);
    }
}
