//! Which detection finds which object, on one image and for one class.

use std::ops::RangeInclusive;

use super::{AREAS, GroundTruthObject, MAX_DETECTIONS, THRESHOLDS, iou_thresholds};
use crate::CocoResult;
use crate::iou::{iou, iou_crowd};

/// Outcomes of one class on one image.
pub(super) struct ImageClass {
    /// Scores of the detections looked at, best first.
    pub(super) scores: Vec<f64>,
    /// One for each entry of `AREAS`.
    pub(super) areas: [Outcomes; AREAS.len()],
}

/// Outcomes in one area range.
pub(super) struct Outcomes {
    /// Objects to find.
    pub(super) objects: u32,
    /// The detections looked at, best first.
    pub(super) detections: Vec<Outcome>,
}

/// What became of one detection; one bit a threshold.
#[derive(Clone, Copy, Default)]
pub(super) struct Outcome {
    /// It found an object.
    pub(super) matched: u16,
    /// It counts neither way.
    pub(super) ignored: u16,
}

/// Matches greedily, best score first, separately for each threshold and area range.
pub(super) fn match_image(
    detections: &[&CocoResult],
    objects: &[&GroundTruthObject],
) -> ImageClass {
    let mut ranked = detections.to_vec();
    ranked.sort_by(|a, b| b.score.total_cmp(&a.score));
    ranked.truncate(MAX_DETECTIONS);
    let overlaps: Vec<Vec<f64>> =
        ranked.iter().map(|d| objects.iter().map(|o| overlap(d, o)).collect()).collect();
    ImageClass {
        scores: ranked.iter().map(|detection| detection.score).collect(),
        areas: AREAS.map(|range| match_in_range(&ranked, objects, &overlaps, &range)),
    }
}

fn overlap(detection: &CocoResult, object: &GroundTruthObject) -> f64 {
    if object.crowd {
        iou_crowd(&detection.bbox, &object.bbox)
    } else {
        iou(&detection.bbox, &object.bbox)
    }
}

fn match_in_range(
    ranked: &[&CocoResult],
    objects: &[&GroundTruthObject],
    overlaps: &[Vec<f64>],
    areas: &RangeInclusive<f64>,
) -> Outcomes {
    let outside = |area: f64| !areas.contains(&area);
    let ignored: Vec<bool> = objects.iter().map(|o| o.crowd || outside(o.area)).collect();
    let mut order: Vec<usize> = (0..objects.len()).collect();
    order.sort_by_key(|&object| ignored[object]);

    let mut outcomes = vec![Outcome::default(); ranked.len()];
    for (threshold, least_iou) in iou_thresholds().into_iter().enumerate() {
        let bit = 1 << threshold;
        let mut taken = vec![false; objects.len()];
        for ((detection, overlaps), outcome) in ranked.iter().zip(overlaps).zip(&mut outcomes) {
            let free = |object: &usize| !taken[*object] || objects[*object].crowd;
            let candidates = order.iter().copied().filter(free);
            match best_object(candidates, overlaps, &ignored, least_iou) {
                Some(object) => {
                    taken[object] = true;
                    outcome.matched |= bit;
                    outcome.ignored |= if ignored[object] { bit } else { 0 };
                }
                None if outside(detection.bbox[2] * detection.bbox[3]) => outcome.ignored |= bit,
                None => {}
            }
        }
    }
    let objects = ignored.iter().filter(|&&ignored| !ignored).count() as u32;
    Outcomes { objects, detections: outcomes }
}

/// The object of highest overlap, the last one of equals; an ignored one only if no other is in reach.
fn best_object(
    candidates: impl Iterator<Item = usize>,
    overlaps: &[f64],
    ignored: &[bool],
    least_iou: f64,
) -> Option<usize> {
    let mut reached = least_iou.min(1.0 - 1e-10);
    let mut best: Option<usize> = None;
    for object in candidates {
        // Ignored objects come last in the order.
        if best.is_some_and(|found| !ignored[found]) && ignored[object] {
            break;
        }
        if overlaps[object] >= reached {
            reached = overlaps[object];
            best = Some(object);
        }
    }
    best
}

const _: () = assert!(THRESHOLDS <= u16::BITS as usize);
