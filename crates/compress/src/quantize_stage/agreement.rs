//! How far a quantized model's detections, or its outputs, are from the float one's, on images held out.

use std::collections::BTreeMap;
use std::path::PathBuf;

use ir::Graph;
use yolo::{BadInput, BoxXyxy, Detection, nms};

use crate::seen::{Difference, Seen};
use crate::{CompressError, Observation};

/// Confidence of detections that must be found again.
const CONF: f32 = 0.1;
/// Confidence of candidates that may be what is found again.
const CANDIDATE_CONF: f32 = 0.02;
const IOU: f32 = 0.65;
const MAX_DET: usize = 100;

/// Images held out, with what the float model makes of them.
pub(super) struct HoldOut<'a> {
    observation: &'a Observation<'a>,
    images: Vec<PathBuf>,
    float: ByImage,
    /// Images that could not be read.
    pub(super) bad_images: Vec<BadInput>,
}

/// What a model makes of each image, by its index.
type ByImage = BTreeMap<usize, Seen>;

impl<'a> HoldOut<'a> {
    /// Runs the float model on the images.
    pub(super) fn new(
        observation: &'a Observation<'a>,
        images: Vec<PathBuf>,
    ) -> Result<Self, CompressError> {
        let (float, bad_images) = see(observation, observation.graph, &images)?;
        Ok(Self {
            observation,
            images,
            float,
            bad_images,
        })
    }

    /// Share of the detections, by confidence, that the graph loses or changes: 0 when it detects what the float
    /// model does, 1 when nothing is found again. Without a decoder the relative error of the outputs.
    pub(super) fn error(&self, graph: &Graph) -> Result<f64, CompressError> {
        let (found, _) = see(self.observation, graph, &self.images)?;
        let mut all = Difference::default();
        for (image, float) in &self.float {
            let none = Seen::default();
            let found = found.get(image).unwrap_or(&none);
            let mut difference = float.differences(found)?;
            let (float, found) = (&float.candidates, &found.candidates);
            for (these, those) in [(float, found), (found, float)] {
                let (agreed, total) = found_again(these, those);
                difference.detections[0] += total - agreed;
                difference.detections[1] += total;
            }
            all = all.merge(difference);
        }
        Ok(all.error())
    }
}

fn see(
    observation: &Observation<'_>,
    graph: &Graph,
    images: &[PathBuf],
) -> Result<(ByImage, Vec<BadInput>), CompressError> {
    let pass = Observation {
        graph,
        images,
        progress: &|_| (),
        ..*observation
    };
    let outputs = graph.outputs();
    let watcher = || (ByImage::new(), Ok(()));
    let (watchers, bad_images) = pass.watch(outputs, watcher, |w, image, value, observed| {
        let output = observed.to_tensor()?;
        let (seen, all_decoded) = w;
        let at = outputs.iter().position(|v| *v == value).unwrap_or(0);
        let of_image = seen.entry(image).or_default();
        if let Err(error) = of_image.add((at, output), &pass, CANDIDATE_CONF) {
            *all_decoded = Err(error);
        }
        Ok(())
    })?;
    let mut all = ByImage::new();
    for (seen, all_decoded) in watchers {
        all_decoded?;
        all.extend(seen);
    }
    Ok((all, bad_images))
}

/// Confidence of `these` that is among `those` in the same place, and all of their confidence.
fn found_again(these: &[Detection], those: &[Detection]) -> (f64, f64) {
    let confident: Vec<Detection> = these.iter().copied().filter(|d| d.score >= CONF).collect();
    let (mut agreed, mut total) = (0.0, 0.0);
    for d in nms(&confident, IOU, MAX_DET) {
        let likeness = |o: &Detection| {
            let score = f64::from(o.score.min(d.score)) / f64::from(o.score.max(d.score));
            score * overlap(&o.bbox, &d.bbox)
        };
        let same_class = those.iter().filter(|o| o.class == d.class);
        agreed += f64::from(d.score) * same_class.map(likeness).fold(0.0, f64::max);
        total += f64::from(d.score);
    }
    (agreed, total)
}

/// Intersection over union.
fn overlap(a: &BoxXyxy, b: &BoxXyxy) -> f64 {
    let area = |b: &BoxXyxy| f64::from(b.right - b.left) * f64::from(b.bottom - b.top);
    let width = f64::from(a.right.min(b.right) - a.left.max(b.left)).max(0.0);
    let height = f64::from(a.bottom.min(b.bottom) - a.top.max(b.top)).max(0.0);
    let both = width * height;
    let either = area(a) + area(b) - both;
    if either > 0.0 { both / either } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn detection(left: f32, score: f32, class: usize) -> Detection {
        let bbox = BoxXyxy {
            left,
            top: 0.0,
            right: left + 10.0,
            bottom: 10.0,
        };
        Detection { bbox, score, class }
    }

    #[test]
    fn found_again_of_detections_weighs_place_score_and_class() {
        let d = detection(0.0, 0.8, 1);
        for (other, expected) in [
            (d, 1.0),
            (detection(0.0, 0.4, 1), 0.5),
            (detection(5.0, 0.8, 1), 1.0 / 3.0),
            (detection(0.0, 0.8, 2), 0.0),
            (detection(50.0, 0.8, 1), 0.0),
        ] {
            let (agreed, total) = found_again(&[d], &[other]);
            assert!((agreed / total - expected).abs() < 1e-6, "{other:?}");
        }
        assert_eq!(found_again(&[], &[d]), (0.0, 0.0));
    }
}
