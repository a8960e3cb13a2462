//! Which detections of one model another model finds again.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use yolo::CocoResult;
use yolo::iou;

/// Confidence from which a detection is shown to a user.
pub const SHOWN_CONF: f64 = 0.25;

/// Overlap from which two boxes are the same object.
pub(super) const SAME_IOU: f64 = 0.5;

/// Detections of two models on the same images, from [`SHOWN_CONF`] on.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct DetectionAgreement {
    /// Found by both: same class, IoU of at least 0.5.
    pub matched: usize,
    /// Found by the first alone.
    pub only_first: usize,
    /// Found by the second alone.
    pub only_second: usize,
    /// Mean overlap of those found by both; 0 where there are none.
    pub mean_iou: f64,
    /// Mean absolute difference of their confidences.
    pub mean_score_difference: f64,
    /// Images by the number of detections that only one of the two has, the worst first.
    pub images: Vec<ImageAgreement>,
}

/// Detections on one image.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct ImageAgreement {
    /// Its id in the results.
    pub image_id: u64,
    /// Found by both.
    pub matched: usize,
    /// Found by one alone.
    pub unmatched: usize,
}

/// Pairs the detections of two models greedily, the best overlap of the most confident first.
pub fn detection_agreement(first: &[CocoResult], second: &[CocoResult]) -> DetectionAgreement {
    let mut images: BTreeMap<u64, [Vec<&CocoResult>; 2]> = BTreeMap::new();
    for (model, results) in [first, second].into_iter().enumerate() {
        for r in results.iter().filter(|r| r.score >= SHOWN_CONF) {
            images.entry(r.image_id).or_default()[model].push(r);
        }
    }
    let mut all = DetectionAgreement::default();
    let (mut overlap, mut difference) = (0.0, 0.0);
    for (image_id, [mut first, mut second]) in images {
        first.sort_by(|a, b| b.score.total_cmp(&a.score));
        let mut matched = 0;
        for d in &first {
            let candidates = second.iter().enumerate();
            let same_class = candidates.filter(|(_, o)| o.category_id == d.category_id);
            let best = same_class
                .map(|(i, o)| (i, iou(&d.bbox, &o.bbox)))
                .filter(|(_, iou)| *iou >= SAME_IOU)
                .max_by(|a, b| a.1.total_cmp(&b.1));
            if let Some((i, iou)) = best {
                let other = second.remove(i);
                matched += 1;
                overlap += iou;
                difference += (d.score - other.score).abs();
            }
        }
        let only_first = first.len() - matched;
        all.matched += matched;
        all.only_first += only_first;
        all.only_second += second.len();
        all.images.push(ImageAgreement { image_id, matched, unmatched: only_first + second.len() });
    }
    let pairs = all.matched.max(1) as f64;
    all.mean_iou = overlap / pairs;
    all.mean_score_difference = difference / pairs;
    all.images.sort_by_key(|i| (std::cmp::Reverse(i.unmatched), i.image_id));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(image_id: u64, category_id: u64, left: f64, score: f64) -> CocoResult {
        CocoResult { image_id, category_id, bbox: [left, 0.0, 10.0, 10.0], score }
    }

    #[test]
    fn agreement_of_moved_lost_and_new_objects_counts_each_once() {
        let first = [
            result(0, 0, 0.0, 0.9),
            result(0, 0, 50.0, 0.8),
            result(1, 1, 0.0, 0.5),
            result(1, 1, 0.0, 0.1),
        ];
        let second = [result(0, 0, 2.0, 0.7), result(0, 1, 50.0, 0.8), result(1, 1, 0.0, 0.5)];
        let found = detection_agreement(&first, &second);
        assert_eq!((found.matched, found.only_first, found.only_second), (2, 1, 1));
        assert!((found.mean_iou - (80.0 / 120.0 + 1.0) / 2.0).abs() < 1e-12);
        assert!((found.mean_score_difference - 0.1).abs() < 1e-12);
        assert_eq!((found.images[0].image_id, found.images[0].unmatched), (0, 2));
    }
}
