//! What a model makes of an image, in the form in which two models are compared.

use std::collections::BTreeMap;

use ir::Tensor;
use yolo::{Detection, YoloError};

use crate::Observation;

/// What a model makes of one image.
#[derive(Default)]
pub(crate) struct Seen {
    /// Candidates above a confidence, before suppression.
    pub(crate) candidates: Vec<Detection>,
    /// The outputs by their position; of a model that is decoded, until all are there.
    pub(crate) outputs: BTreeMap<usize, Tensor>,
}

impl Seen {
    /// Takes the output at a position.
    ///
    /// # Errors
    /// As [`Decoder::decode`](yolo::families::Decoder::decode).
    pub(crate) fn add(
        &mut self,
        (at, output): (usize, Tensor),
        observation: &Observation<'_>,
        conf: f32,
    ) -> Result<(), YoloError> {
        self.outputs.insert(at, output);
        let Some(decoder) = observation.decoder else {
            return Ok(());
        };
        if self.outputs.len() == observation.graph.outputs().len() {
            let outputs: Vec<Tensor> = std::mem::take(&mut self.outputs).into_values().collect();
            self.candidates = decoder.decode(&outputs, conf)?;
        }
        Ok(())
    }

    /// How far the outputs of another model are from these.
    ///
    /// # Errors
    /// `Output` for an output that holds no numbers.
    pub(crate) fn differences(&self, other: &Self) -> Result<Difference, YoloError> {
        let mut all = Difference::default();
        for (x, y) in self.outputs.values().zip(other.outputs.values()) {
            all.channels.extend(channels(x, y)?);
        }
        Ok(all)
    }
}

/// How far two models are apart, over any number of images.
#[derive(Clone, Debug, Default)]
pub(crate) struct Difference {
    /// Confidence of detections that are not shared, and all confidence.
    pub(crate) detections: [f64; 2],
    /// Squared difference, and squared values of the first model, of each channel of the outputs.
    channels: Vec<[f64; 2]>,
}

impl Difference {
    /// That of more images.
    pub(crate) fn merge(mut self, other: Self) -> Self {
        let sum = |mine: &mut [f64; 2], theirs: [f64; 2]| {
            mine.iter_mut().zip(theirs).for_each(|(m, t)| *m += t);
        };
        sum(&mut self.detections, other.detections);
        let channels = other.channels.len().max(self.channels.len());
        self.channels.resize(channels, [0.0; 2]);
        for (mine, theirs) in self.channels.iter_mut().zip(other.channels) {
            sum(mine, theirs);
        }
        self
    }

    /// Share of confidence that is not shared; of outputs that nothing decodes the root mean square of the channels'
    /// relative errors, so that rows of boxes in pixels do not drown those of scores. 0 when there is no difference.
    pub(crate) fn error(&self) -> f64 {
        let [unshared, all] = self.detections;
        if self.channels.is_empty() {
            return if all > 0.0 { unshared / all } else { 0.0 };
        }
        let square = |[wrong, whole]: &[f64; 2]| wrong / whole.max(1e-30);
        let squares: f64 = self.channels.iter().map(square).sum();
        (squares / self.channels.len() as f64).sqrt()
    }
}

/// An output's channels are the indices of its shortest axis but the batch.
fn channels(x: &Tensor, y: &Tensor) -> Result<Vec<[f64; 2]>, YoloError> {
    let (x, y, shape) = (x.to_f64()?, y.to_f64()?, x.shape());
    // What is one row for each image is a channel as a whole.
    let axis = match shape.len() {
        0..=2 => 0,
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

    fn seen(shape: &[usize], values: &[f32]) -> Seen {
        let output = Tensor::new(shape.to_vec(), values.to_vec());
        let output = output.expect("as many elements as the shape holds");
        Seen {
            outputs: BTreeMap::from([(0, output)]),
            ..Seen::default()
        }
    }

    fn error(first: &Seen, second: &Seen) -> f64 {
        first.differences(second).unwrap().error()
    }

    #[test]
    fn error_of_outputs_weighs_every_row_by_itself() {
        let first = seen(&[1, 2, 3], &[300.0, 400.0, 0.0, 0.3, 0.4, 0.0]);
        let second = seen(&[1, 2, 3], &[300.0, 400.0, 50.0, 0.3, 0.4, 0.35]);
        let expected = ((0.01f64 + 0.49) / 2.0).sqrt();
        assert!((error(&first, &second) - expected).abs() < 1e-6);
        assert_eq!(error(&first, &first), 0.0);
    }

    #[test]
    fn error_of_a_row_that_is_silent_on_one_image_counts_it_among_all() {
        let loud = seen(&[1, 1, 2], &[3.0, 4.0]);
        let silent = seen(&[1, 1, 2], &[0.0, 0.0]);
        let wrong = seen(&[1, 1, 2], &[0.0, 1.0]);
        let both = loud.differences(&loud).unwrap();
        let both = both.merge(silent.differences(&wrong).unwrap());
        assert!((both.error() - 0.2).abs() < 1e-9);
    }

    #[test]
    fn error_of_a_class_for_the_image_takes_it_as_a_whole() {
        let error = error(&seen(&[1, 2], &[3.0, 4.0]), &seen(&[1, 2], &[3.0, 9.0]));
        assert!((error - 1.0).abs() < 1e-9);
    }
}
