//! Optimizers: from gradients to new weights, one file each.

mod adam;

pub use adam::Adam;

/// The length of all gradients together.
pub fn norm(gradients: &[Vec<f32>]) -> f64 {
    let squares = gradients.iter().flatten().map(|&g| f64::from(g).powi(2));
    squares.sum::<f64>().sqrt()
}

/// Shortens all gradients together to a length of at most `limit`.
pub fn clip(gradients: &mut [Vec<f32>], limit: f64) {
    let norm = norm(gradients);
    if norm > limit {
        let factor = (limit / norm) as f32;
        gradients.iter_mut().flatten().for_each(|g| *g *= factor);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clip_shortens_to_the_limit_and_leaves_what_is_shorter() {
        let mut gradients = vec![vec![3.0], vec![0.0, 4.0]];
        clip(&mut gradients, 10.0);
        assert_eq!(gradients, [vec![3.0], vec![0.0, 4.0]]);
        clip(&mut gradients, 1.0);
        assert!((norm(&gradients) - 1.0).abs() < 1e-6);
        assert!((gradients[0][0] - 0.6).abs() < 1e-6);
    }
}
