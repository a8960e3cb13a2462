//! mAP as Ultralytics' `val` prints it, so that figures can be laid beside a training log.
//!
//! It differs from the COCO protocol in the matching (pairs by IoU instead of detections by score), in
//! the area under the curve (trapezoids over an interpolated envelope) and in knowing no crowds, no area
//! ranges and no limit of 100 detections. It usually reads a little higher.
//!
//! The curve is closed by a straight line to recall 1, precision 0, as most releases do it; those of
//! 2026 (8.4) let precision fall where detections end, and read up to about 0.001 lower.
//!
//! Source: the description of the metrics in Ultralytics' documentation; own formulation.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{GroundTruth, GroundTruthObject, THRESHOLDS, iou_thresholds};
use crate::iou::iou_eps;
use crate::{CocoResult, YoloError};

const RECALL_POINTS: usize = 101;
const CONFIDENCE_POINTS: usize = 1000;

/// Accuracy by Ultralytics' definition, as fractions; 0 where nothing was labelled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct UltralyticsMetrics {
    /// Mean over labelled classes and IoU thresholds .50:.05:.95.
    pub ultralytics_map_50_95: f64,
    /// At IoU 0.50.
    pub ultralytics_map_50: f64,
    /// Mean precision over labelled classes at the confidence of the best mean F1.
    pub ultralytics_precision: f64,
    /// Mean recall at that confidence.
    pub ultralytics_recall: f64,
}

pub(super) fn evaluate(
    ground_truth: &GroundTruth,
    detections: &[CocoResult],
) -> Result<UltralyticsMetrics, YoloError> {
    let classes = ground_truth.categories().len();
    let mut labelled = vec![0usize; classes];
    let mut found: Vec<Vec<Scored>> = vec![Vec::new(); classes];
    for (image, detections) in ground_truth.grouped(detections)?.into_iter().enumerate() {
        let mut objects: BTreeMap<usize, Vec<&GroundTruthObject>> = BTreeMap::new();
        for object in ground_truth.objects(image).iter().filter(|object| !object.crowd) {
            labelled[object.class] += 1;
            objects.entry(object.class).or_default().push(object);
        }
        for (class, detections) in detections {
            let objects = objects.get(&class).map_or(&[][..], Vec::as_slice);
            found[class].extend(match_pairs(detections, objects));
        }
    }
    let curves: Vec<ClassCurves> = (0..classes)
        .filter(|&class| labelled[class] > 0)
        .map(|class| ClassCurves::new(std::mem::take(&mut found[class]), labelled[class]))
        .collect();
    Ok(summarise(&curves))
}

#[derive(Clone, Copy)]
struct Scored {
    score: f64,
    /// One bit a threshold.
    correct: u16,
}

/// Pairs detections and objects of one class on one image, the highest IoU first.
///
/// Each detection keeps its best object; each object then keeps the best scoring of its detections.
fn match_pairs(mut detections: Vec<&CocoResult>, objects: &[&GroundTruthObject]) -> Vec<Scored> {
    detections.sort_by(|a, b| b.score.total_cmp(&a.score));
    let best_object = |detection: &CocoResult| -> Option<(usize, f64)> {
        let overlaps = objects.iter().map(|object| iou_eps(&detection.bbox, &object.bbox));
        overlaps.enumerate().reduce(|best, other| if other.1 > best.1 { other } else { best })
    };
    let best: Vec<Option<(usize, f64)>> = detections.iter().map(|d| best_object(d)).collect();
    let mut scored: Vec<Scored> =
        detections.iter().map(|d| Scored { score: d.score, correct: 0 }).collect();
    for (threshold, least_iou) in iou_thresholds().into_iter().enumerate() {
        let mut taken = vec![false; objects.len()];
        for (scored, best) in scored.iter_mut().zip(&best) {
            if let Some((object, overlap)) = *best
                && overlap >= least_iou
                && !taken[object]
            {
                taken[object] = true;
                scored.correct |= 1 << threshold;
            }
        }
    }
    scored
}

struct ClassCurves {
    average_precision: [f64; THRESHOLDS],
    /// At IoU 0.50 over falling confidence; empty if nothing was detected.
    precision: Vec<f64>,
    recall: Vec<f64>,
    scores: Vec<f64>,
}

impl ClassCurves {
    fn new(mut found: Vec<Scored>, labelled: usize) -> Self {
        found.sort_by(|a, b| b.score.total_cmp(&a.score));
        let curve_at = |threshold: usize| -> (Vec<f64>, Vec<f64>) {
            let mut right = 0.0;
            let step = |(index, scored): (usize, &Scored)| {
                right += f64::from((scored.correct >> threshold) & 1);
                (right / (index + 1) as f64, right / labelled as f64)
            };
            found.iter().enumerate().map(step).unzip()
        };
        let average_precision = std::array::from_fn(|threshold| {
            let (precision, recall) = curve_at(threshold);
            if found.is_empty() { 0.0 } else { area_under(&precision, &recall) }
        });
        let (precision, recall) = curve_at(0);
        let scores = found.iter().map(|scored| scored.score).collect();
        Self { average_precision, precision, recall, scores }
    }

    /// Precision and recall over a grid of confidences 0..1.
    fn over_confidence(&self) -> (Vec<f64>, Vec<f64>) {
        let falling: Vec<f64> = self.scores.iter().map(|score| -score).collect();
        let grid = (0..CONFIDENCE_POINTS).map(|i| i as f64 / (CONFIDENCE_POINTS - 1) as f64);
        if falling.is_empty() {
            return (vec![0.0; CONFIDENCE_POINTS], vec![0.0; CONFIDENCE_POINTS]);
        }
        grid.map(|confidence| {
            // Above the best score nothing is detected, and nothing is wrong.
            if -confidence < falling[0] {
                return (1.0, 0.0);
            }
            let at_confidence = |values: &[f64]| interpolate(-confidence, &falling, values);
            (at_confidence(&self.precision), at_confidence(&self.recall))
        })
        .unzip()
    }
}

/// Area under the precision envelope by trapezoids between 101 recall points.
///
/// The curve starts at recall 0 with precision 1 and ends at recall 1 with precision 0.
fn area_under(precision: &[f64], recall: &[f64]) -> f64 {
    let recall: Vec<f64> = [&[0.0], recall, &[1.0]].concat();
    let mut envelope: Vec<f64> = [&[1.0], precision, &[0.0]].concat();
    for index in (1..envelope.len()).rev() {
        envelope[index - 1] = envelope[index - 1].max(envelope[index]);
    }
    let heights: Vec<f64> = (0..RECALL_POINTS)
        .map(|i| interpolate(i as f64 / (RECALL_POINTS - 1) as f64, &recall, &envelope))
        .collect();
    let width = 1.0 / (RECALL_POINTS - 1) as f64;
    heights.windows(2).map(|pair| (pair[0] + pair[1]) / 2.0 * width).sum()
}

/// Piecewise linear function through `(xs, ys)` at `x`; of equal `xs` the last counts; flat outside.
fn interpolate(x: f64, xs: &[f64], ys: &[f64]) -> f64 {
    let after = xs.partition_point(|&known| known <= x);
    if after == 0 || after == xs.len() {
        return ys[after.saturating_sub(1)];
    }
    let slope = (ys[after] - ys[after - 1]) / (xs[after] - xs[after - 1]);
    slope * (x - xs[after - 1]) + ys[after - 1]
}

fn summarise(curves: &[ClassCurves]) -> UltralyticsMetrics {
    if curves.is_empty() {
        return UltralyticsMetrics::default();
    }
    let classes = curves.len() as f64;
    let mean =
        |figure: &dyn Fn(&ClassCurves) -> f64| curves.iter().map(figure).sum::<f64>() / classes;
    let mut precision = vec![0.0; CONFIDENCE_POINTS];
    let mut recall = vec![0.0; CONFIDENCE_POINTS];
    let mut f1 = vec![0.0; CONFIDENCE_POINTS];
    for (p, r) in curves.iter().map(ClassCurves::over_confidence) {
        for i in 0..CONFIDENCE_POINTS {
            precision[i] += p[i] / classes;
            recall[i] += r[i] / classes;
            f1[i] += 2.0 * p[i] * r[i] / (p[i] + r[i] + 1e-16) / classes;
        }
    }
    let best = first_highest(&smoothed(&f1));
    UltralyticsMetrics {
        ultralytics_map_50_95: mean(&|c| {
            c.average_precision.iter().sum::<f64>() / THRESHOLDS as f64
        }),
        ultralytics_map_50: mean(&|c| c.average_precision[0]),
        ultralytics_precision: precision[best],
        ultralytics_recall: recall[best],
    }
}

/// Moving average over a tenth of the values, which extend flat beyond the ends.
fn smoothed(values: &[f64]) -> Vec<f64> {
    let half = values.len() / 20;
    let last = values.len() - 1;
    let value_at = |index: usize| values[index.saturating_sub(half).min(last)];
    let width = 2 * half + 1;
    (0..values.len()).map(|i| (i..i + width).map(value_at).sum::<f64>() / width as f64).collect()
}

fn first_highest(values: &[f64]) -> usize {
    let better = |best: usize, i: usize| if values[i] > values[best] { i } else { best };
    (0..values.len()).fold(0, better)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Category;

    fn truth(boxes: &[[f64; 4]]) -> GroundTruth {
        let categories = ["a", "b"].iter().enumerate();
        let categories =
            categories.map(|(id, name)| Category { id: id as u64, name: (*name).into() });
        let mut truth = GroundTruth::new(categories.collect());
        let object = |&bbox: &[f64; 4]| {
            let area = bbox[2] * bbox[3];
            GroundTruthObject { class: 0, bbox, area, crowd: false }
        };
        truth.push(0, boxes.iter().map(object).collect());
        truth
    }

    fn found(bbox: [f64; 4], score: f64) -> CocoResult {
        CocoResult { image_id: 0, category_id: 0, bbox, score }
    }

    const A: [f64; 4] = [0.0, 0.0, 10.0, 10.0];
    const B: [f64; 4] = [50.0, 0.0, 10.0, 10.0];

    #[test]
    fn ultralytics_every_object_found_is_nearly_one() {
        let metrics = evaluate(&truth(&[A, B]), &[found(A, 0.9), found(B, 0.8)]).expect("known");
        // The last trapezoid falls from 1 to the closing 0.
        assert!((metrics.ultralytics_map_50_95 - 0.995).abs() < 1e-9, "{metrics:?}");
        assert!((metrics.ultralytics_recall - 1.0).abs() < 1e-9, "{metrics:?}");
        assert!((metrics.ultralytics_precision - 1.0).abs() < 1e-9, "{metrics:?}");
    }

    #[test]
    fn ultralytics_half_of_the_objects_interpolates_to_zero() {
        let metrics = evaluate(&truth(&[A, B]), &[found(A, 0.9)]).expect("known");
        // 1 up to recall 0.5, then a straight line to 0 at recall 1.
        assert!((metrics.ultralytics_map_50 - 0.75).abs() < 1e-9, "{metrics:?}");
    }

    #[test]
    fn ultralytics_detection_keeps_only_its_best_object() {
        let near = [1.0, 0.0, 10.0, 10.0];
        // Both detections overlap A most: the second one is wrong although its neighbour is free.
        let metrics = evaluate(&truth(&[A, near]), &[found(A, 0.9), found(A, 0.8)]).expect("known");
        // 1 below recall 0.5, then a straight line from 0.5 at 0.5 to 0 at 1.
        assert!((metrics.ultralytics_map_50 - 0.6225).abs() < 1e-9, "{metrics:?}");
    }

    #[test]
    fn ultralytics_classes_without_labels_do_not_count() {
        let mut other = found(A, 0.99);
        other.category_id = 1;
        let metrics = evaluate(&truth(&[A]), &[found(A, 0.9), other]).expect("known");
        assert!((metrics.ultralytics_map_50_95 - 0.995).abs() < 1e-9, "{metrics:?}");
        let nothing = evaluate(&truth(&[]), &[found(A, 0.9)]).expect("known");
        assert_eq!(nothing, UltralyticsMetrics::default());
    }

    #[test]
    fn interpolate_equal_positions_take_the_last() {
        let (xs, ys) = ([0.0, 0.5, 0.5, 1.0], [1.0, 1.0, 0.5, 0.0]);
        assert_eq!(interpolate(0.5, &xs, &ys), 0.5);
        assert_eq!(interpolate(0.75, &xs, &ys), 0.25);
        assert_eq!(interpolate(2.0, &xs, &ys), 0.0);
        assert_eq!(interpolate(-1.0, &xs, &ys), 1.0);
    }
}
