//! Outputs that nothing decodes, compared channel by channel.

use ir::Tensor;
use yolo::YoloError;

/// Squared difference of two models, and squared values of the first, of each channel of the outputs, over any number of
/// images.
#[derive(Clone, Debug, Default)]
pub(super) struct OutputDifference {
    channels: Vec<[f64; 2]>,
}

impl OutputDifference {
    /// Adds the outputs of one more image.
    ///
    /// # Errors
    /// `Output` for an output that holds no numbers.
    pub(super) fn add(&mut self, first: &[Tensor], second: &[Tensor]) -> Result<(), YoloError> {
        let mut sums = Vec::new();
        for (x, y) in first.iter().zip(second) {
            sums.extend(channels(x, y)?);
        }
        self.channels.resize(sums.len().max(self.channels.len()), [0.0; 2]);
        for (all, [wrong, whole]) in self.channels.iter_mut().zip(sums) {
            all[0] += wrong;
            all[1] += whole;
        }
        Ok(())
    }

    /// Root mean square of the channels' relative errors, so that rows of boxes in pixels do not drown those of scores. 0
    /// when there is no difference.
    pub(super) fn error(&self) -> f64 {
        if self.channels.is_empty() {
            return 0.0;
        }
        let square = |[wrong, whole]: &[f64; 2]| wrong / whole.max(1e-30);
        let squares: f64 = self.channels.iter().map(square).sum();
        (squares / self.channels.len() as f64).sqrt()
    }
}

/// An output's channels are the indices of axis 1 of a map, `[N, C, H, W]`, and of others those of the shortest axis but the batch.
fn channels(x: &Tensor, y: &Tensor) -> Result<Vec<[f64; 2]>, YoloError> {
    let (x, y, shape) = (x.to_f64()?, y.to_f64()?, x.shape());
    // What is one row for each image is a channel as a whole.
    let axis = match shape.len() {
        0..=2 => 0,
        4 => 1,
        rank => (1..rank).min_by_key(|&a| shape[a]).unwrap_or(0),
    };
    let width = shape.get(axis).copied().unwrap_or(1).max(1);
    let inner = shape.iter().skip(axis + 1).product::<usize>().max(1);
    let mut sums = vec![[0.0; 2]; width];
    for (i, (x, y)) in x.iter().zip(&y).enumerate() {
        let [wrong, whole] = &mut sums[i / inner % width];
        *wrong += (x - y) * (x - y);
        *whole += x * x;
    }
    Ok(sums)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(shape: &[usize], values: &[f32]) -> [Tensor; 1] {
        [Tensor::new(shape.to_vec(), values.to_vec()).expect("as many elements as the shape holds")]
    }

    fn error(first: &[Tensor], second: &[Tensor]) -> f64 {
        let mut difference = OutputDifference::default();
        difference.add(first, second).unwrap();
        difference.error()
    }

    #[test]
    fn error_of_outputs_weighs_every_row_by_itself() {
        let first = output(&[1, 2, 3], &[300.0, 400.0, 0.0, 0.3, 0.4, 0.0]);
        let second = output(&[1, 2, 3], &[300.0, 400.0, 50.0, 0.3, 0.4, 0.35]);
        let expected = ((0.01f64 + 0.49) / 2.0).sqrt();
        assert!((error(&first, &second) - expected).abs() < 1e-6);
        assert_eq!(error(&first, &first), 0.0);
    }

    #[test]
    fn error_of_a_row_that_is_silent_on_one_image_counts_it_among_all() {
        let loud = output(&[1, 1, 2], &[3.0, 4.0]);
        let silent = output(&[1, 1, 2], &[0.0, 0.0]);
        let wrong = output(&[1, 1, 2], &[0.0, 1.0]);
        let mut both = OutputDifference::default();
        both.add(&loud, &loud).unwrap();
        both.add(&silent, &wrong).unwrap();
        assert!((both.error() - 0.2).abs() < 1e-9);
    }

    #[test]
    fn error_of_a_class_for_the_image_takes_it_as_a_whole() {
        let error = error(&output(&[1, 2], &[3.0, 4.0]), &output(&[1, 2], &[3.0, 9.0]));
        assert!((error - 1.0).abs() < 1e-9);
    }
}
