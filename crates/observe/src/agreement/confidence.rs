//! How sure a changed model is of what the model finds that it was made from, and from which confidence on it shows as much.

use std::collections::BTreeMap;

use ir::Graph;
use serde::{Deserialize, Serialize};
use yolo::{CocoResult, Detection, iou};

use super::detections::SAME_IOU;
use super::reference::Reference;
use crate::{Engine, ImageSet, Model, ObserveError};

/// Fewest detections of the float model from which a threshold is recommended: of fewer one more or less decides.
const FEWEST: usize = 30;

/// Confidences of a changed model beside those of the model that it was made from, on the same images.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct ConfidenceShift {
    /// Confidence from which the first model's detections count.
    pub conf: f64,
    /// Its detections from there on.
    pub detections: usize,
    /// Those that the changed model finds too, however sure it is: same class, IoU of at least 0.5.
    pub matched: usize,
    /// Mean of the changed model's confidence less the first one's, over what both find; `None` where there is none.
    pub mean_difference: Option<f64>,
    /// Median of the same.
    pub median_difference: Option<f64>,
    /// What the changed model shows from the same confidence on.
    pub unchanged: Shown,
    /// The confidence from which it shows as many detections as the first model does from `conf` on, and so trades precision for
    /// recall as that one does; `None` where those are fewer than thirty.
    pub recommended: Option<Shown>,
}

/// What a changed model shows from a confidence on, beside what the model shows that it was made from.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub struct Shown {
    /// The confidence.
    pub conf: f64,
    /// Detections from there on.
    pub detections: usize,
    /// Share of the first model's detections that are among them.
    pub found_again: f64,
    /// Share of them that are the first model's.
    pub in_both: f64,
}

/// A detection of the first model and the changed model's confidence in the same.
struct Pair {
    first: f64,
    changed: f64,
}

impl ConfidenceShift {
    /// Runs both models on images, all of them readable; `changed` is the model's graph with other weights, or fewer, under the
    /// same ids. `None` for a model that nothing decodes.
    ///
    /// # Errors
    /// As [`Reference::new`].
    pub fn measure(
        model: Model<'_>,
        changed: &Graph,
        images: ImageSet,
        engine: Engine,
        conf: f64,
    ) -> Result<Option<Self>, ObserveError> {
        let mut reference = Reference::new(model, images, engine)?;
        let Some(changed) = reference.detections(changed)? else {
            return Ok(None);
        };
        let first = reference.own_detections().map(results);
        Ok(first.map(|first| Self::new(&first, &results(&changed), conf)))
    }

    /// From the detections of both, of as low confidences as there are.
    pub fn new(first: &[CocoResult], changed: &[CocoResult], conf: f64) -> Self {
        let shown = |results: &[CocoResult], conf: f64| -> Vec<CocoResult> {
            results.iter().filter(|r| r.score >= conf).cloned().collect()
        };
        let own = shown(first, conf);
        let at = |conf: f64| {
            let found = shown(changed, conf);
            let both = pairs(&own, &found).len();
            let share = |of: usize| both as f64 / of.max(1) as f64;
            Shown {
                conf,
                detections: found.len(),
                found_again: share(own.len()),
                in_both: share(found.len()),
            }
        };
        let pairs = pairs(&own, changed);
        let mut differences: Vec<f64> = pairs.iter().map(|p| p.changed - p.first).collect();
        differences.sort_by(f64::total_cmp);
        let any = (!differences.is_empty()).then_some(&differences);
        Self {
            conf,
            detections: own.len(),
            matched: pairs.len(),
            mean_difference: any.map(|all| all.iter().sum::<f64>() / all.len() as f64),
            median_difference: any.map(|all| all[all.len() / 2]),
            unchanged: at(conf),
            recommended: equal_count(changed, own.len()).map(at),
        }
    }
}

/// The confidence from which there are so many detections, to three digits; `None` where that says little.
fn equal_count(results: &[CocoResult], count: usize) -> Option<f64> {
    let mut scores: Vec<f64> = results.iter().map(|r| r.score).collect();
    scores.sort_by(|a, b| b.total_cmp(a));
    if count < FEWEST {
        return None;
    }
    let last = scores.get(count - 1)?;
    // In the middle of the gap behind the last one; where none is left out, at the last.
    let conf = scores.get(count).map_or(*last, |next| (last + next) / 2.0);
    Some((1e3 * conf).round() / 1e3)
}

/// Pairs what is the same object, the most confident first.
fn pairs(first: &[CocoResult], changed: &[CocoResult]) -> Vec<Pair> {
    let mut images: BTreeMap<(u64, u64), Vec<&CocoResult>> = BTreeMap::new();
    for r in changed {
        images.entry((r.image_id, r.category_id)).or_default().push(r);
    }
    let mut first: Vec<&CocoResult> = first.iter().collect();
    first.sort_by(|a, b| b.score.total_cmp(&a.score));
    let pair = |d: &CocoResult| {
        let free = images.get_mut(&(d.image_id, d.category_id))?;
        let overlaps = free.iter().map(|o| iou(&d.bbox, &o.bbox)).enumerate();
        let (best, _) =
            overlaps.filter(|(_, iou)| *iou >= SAME_IOU).max_by(|a, b| a.1.total_cmp(&b.1))?;
        Some(Pair { first: d.score, changed: free.remove(best).score })
    };
    first.into_iter().filter_map(pair).collect()
}

/// Detections image by image, in the form of results; boxes in pixels of the network's input.
fn results(detections: &[Vec<Detection>]) -> Vec<CocoResult> {
    let result = |image: usize, d: &Detection| {
        let [left, top, right, bottom] =
            [d.bbox.left, d.bbox.top, d.bbox.right, d.bbox.bottom].map(f64::from);
        CocoResult {
            image_id: image as u64,
            category_id: d.class as u64,
            bbox: [left, top, right - left, bottom - top],
            score: f64::from(d.score),
        }
    };
    let images = detections.iter().enumerate();
    images.flat_map(|(i, all)| all.iter().map(move |d| result(i, d))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(place: usize, score: f64) -> CocoResult {
        let bbox = [20.0 * place as f64, 0.0, 10.0, 10.0];
        CocoResult { image_id: 0, category_id: 0, bbox, score }
    }

    /// Forty objects with confidences of 0.9 down to 0.12, each changed by `change`.
    fn objects(change: impl Fn(f64) -> f64) -> Vec<CocoResult> {
        (0..40).map(|i| result(i, change(0.9 - 0.02 * i as f64))).collect()
    }

    fn near(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-6
    }

    #[test]
    fn confidences_that_all_fell_are_recommended_a_lower_threshold() {
        let shift = ConfidenceShift::new(&objects(|c| c), &objects(|c| c - 0.1), 0.25);
        assert_eq!((shift.detections, shift.matched), (33, 33));
        assert!(shift.mean_difference.is_some_and(|d| near(d, -0.1)));
        assert!(shift.median_difference.is_some_and(|d| near(d, -0.1)));
        assert_eq!((shift.unchanged.detections, shift.unchanged.in_both), (28, 1.0));
        assert!(near(shift.unchanged.found_again, 28.0 / 33.0));
        let recommended = shift.recommended.expect("enough");
        assert!(near(recommended.conf, 0.15), "{recommended:?}");
        assert_eq!((recommended.found_again, recommended.in_both), (1.0, 1.0));
    }

    #[test]
    fn model_that_is_as_sure_is_recommended_the_same_threshold() {
        let same = objects(|c| c);
        let shift = ConfidenceShift::new(&same, &same, 0.25);
        assert_eq!(shift.mean_difference, Some(0.0));
        assert!(shift.recommended.is_some_and(|r| near(r.conf, 0.25)), "{shift:?}");
    }

    #[test]
    fn few_detections_recommend_nothing() {
        let few = objects(|c| c)[..20].to_vec();
        let shift = ConfidenceShift::new(&few, &few, 0.25);
        assert_eq!((shift.matched, shift.recommended), (20, None));
        let none = ConfidenceShift::new(&[], &[], 0.25);
        assert_eq!((none.detections, none.mean_difference), (0, None));
    }

    #[test]
    fn model_that_finds_too_little_at_any_confidence_is_recommended_nothing() {
        let shift = ConfidenceShift::new(&objects(|c| c), &objects(|c| c)[..25], 0.25);
        assert_eq!((shift.matched, shift.recommended), (25, None));
    }

    #[test]
    fn objects_of_another_class_are_not_the_same() {
        let other: Vec<CocoResult> =
            objects(|c| c).into_iter().map(|r| CocoResult { category_id: 1, ..r }).collect();
        let shift = ConfidenceShift::new(&objects(|c| c), &other, 0.25);
        assert_eq!((shift.matched, shift.unchanged.found_again), (0, 0.0));
    }
}
