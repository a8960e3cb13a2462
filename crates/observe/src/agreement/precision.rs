//! How well a changed detector ranks what the dense one finds: average precision with the dense detections as truth.

use std::collections::BTreeSet;

use yolo::{BoxXyxy, Detection};

/// Confidence from which a dense detection counts as true; of a detector that is never as sure, half its highest.
const TRUE_CONF: f32 = 0.4;
/// Overlaps at which a detection hits: those of the COCO protocol.
const OVERLAPS: [f64; 10] = [0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95];

/// Average precision, mean over the classes that the dense detector finds and over the overlaps; 1 where it finds
/// nothing.
///
/// As mAP it gives every class the same weight, and does not count what costs no mAP: scores that fall everywhere
/// alike, and doubtful detections of the dense model that come or go.
pub(super) fn average_precision(dense: &[Vec<Detection>], found: &[Vec<Detection>]) -> f64 {
    let highest = dense.iter().flatten().map(|d| d.score).fold(0.0, f32::max);
    let conf = if highest < TRUE_CONF { highest / 2.0 } else { TRUE_CONF };
    let confident = |image: &Vec<Detection>| -> Vec<Detection> {
        image.iter().filter(|d| d.score >= conf).copied().collect()
    };
    let truths: Vec<Vec<Detection>> = dense.iter().map(confident).collect();
    let classes: BTreeSet<usize> = truths.iter().flatten().map(|d| d.class).collect();
    if classes.is_empty() {
        return 1.0;
    }
    let precisions = classes.iter().map(|&c| class_precision(&truths, found, c));
    precisions.sum::<f64>() / classes.len() as f64
}

fn class_precision(truths: &[Vec<Detection>], found: &[Vec<Detection>], class: usize) -> f64 {
    let of_class = |image: &Vec<Detection>| -> Vec<Detection> {
        image.iter().filter(|d| d.class == class).copied().collect()
    };
    let truths: Vec<Vec<Detection>> = truths.iter().map(of_class).collect();
    let total = truths.iter().map(Vec::len).sum();
    let mut ranked: Vec<Ranked> = Vec::new();
    for (image, detections) in found.iter().enumerate() {
        let detections = of_class(detections).into_iter();
        ranked.extend(detections.map(|detection| Ranked { image, detection }));
    }
    ranked.sort_by(|a, b| b.detection.score.total_cmp(&a.detection.score));
    let areas =
        OVERLAPS.iter().map(|&least| area_under_precision(&hits(&truths, &ranked, least), total));
    areas.sum::<f64>() / OVERLAPS.len() as f64
}

/// A detection among those of all images.
struct Ranked {
    image: usize,
    detection: Detection,
}

/// Which of the ranked detections hit a truth that none before them hit.
fn hits(truths: &[Vec<Detection>], ranked: &[Ranked], least: f64) -> Vec<bool> {
    let mut free: Vec<Vec<bool>> = truths.iter().map(|t| vec![true; t.len()]).collect();
    let mut hit = |found: &Ranked| {
        let free = &mut free[found.image];
        let truths = truths[found.image].iter().enumerate();
        let best = truths
            .filter(|(i, _)| free[*i])
            .map(|(i, t)| (overlap(&t.bbox, &found.detection.bbox), i))
            .filter(|(o, _)| *o >= least)
            .max_by(|a, b| a.0.total_cmp(&b.0).then(b.1.cmp(&a.1)));
        if let Some((_, i)) = best {
            free[i] = false;
        }
        best.is_some()
    };
    ranked.iter().map(&mut hit).collect()
}

/// Area under precision over recall, where precision is the best of this recall and all greater ones.
fn area_under_precision(hits: &[bool], total: usize) -> f64 {
    let (mut true_count, mut precisions) = (0.0, Vec::new());
    for (i, _) in hits.iter().enumerate().filter(|(_, hit)| **hit) {
        true_count += 1.0;
        precisions.push(true_count / (i + 1) as f64);
    }
    let mut best = 0.0_f64;
    let mut sum = 0.0;
    for precision in precisions.into_iter().rev() {
        best = best.max(precision);
        sum += best;
    }
    sum / total as f64
}

fn overlap(a: &BoxXyxy, b: &BoxXyxy) -> f64 {
    let area = |b: &BoxXyxy| f64::from(b.right - b.left) * f64::from(b.bottom - b.top);
    let width = (a.right.min(b.right) - a.left.max(b.left)).max(0.0);
    let height = (a.bottom.min(b.bottom) - a.top.max(b.top)).max(0.0);
    let shared = f64::from(width) * f64::from(height);
    shared / (area(a) + area(b) - shared).max(1e-9)
}

#[cfg(test)]
mod tests {
    use super::*;
    use yolo::BoxXyxy;

    fn detection(left: f32, score: f32) -> Detection {
        let bbox = BoxXyxy { left, top: 0.0, right: left + 10.0, bottom: 10.0 };
        Detection { bbox, score, class: 0 }
    }

    fn image(detections: &[Detection]) -> [Vec<Detection>; 1] {
        [detections.to_vec()]
    }

    #[test]
    fn average_precision_of_scores_that_all_fell_is_whole() {
        let dense = image(&[detection(0.0, 0.9), detection(50.0, 0.5)]);
        let found = image(&[detection(0.0, 0.09), detection(50.0, 0.05)]);
        assert_eq!(average_precision(&dense, &found), 1.0);
    }

    #[test]
    fn average_precision_of_a_false_detection_before_the_true_ones_is_lower() {
        let dense = image(&[detection(0.0, 0.9), detection(50.0, 0.5)]);
        let found = image(&[detection(100.0, 0.8), detection(0.0, 0.7), detection(50.0, 0.5)]);
        let expected = 2.0 / 3.0;
        assert!((average_precision(&dense, &found) - expected).abs() < 1e-9);
        let missed = image(&[detection(0.0, 0.7)]);
        assert_eq!(average_precision(&dense, &missed), 0.5);
    }

    #[test]
    fn average_precision_of_a_box_beside_the_true_one_counts_by_overlap() {
        let dense = image(&[detection(0.0, 0.9)]);
        let found = image(&[detection(1.0, 0.9)]);
        assert!((average_precision(&dense, &found) - 0.7).abs() < 1e-9);
    }

    #[test]
    fn average_precision_of_a_rare_class_that_is_lost_weighs_as_much_as_a_common_one() {
        let rare = Detection { class: 1, ..detection(200.0, 0.9) };
        let common = [detection(0.0, 0.9), detection(50.0, 0.8), detection(100.0, 0.7)];
        let dense = image(&[common.as_slice(), &[rare]].concat());
        assert_eq!(average_precision(&dense, &image(&common)), 0.5);
    }

    #[test]
    fn average_precision_without_a_doubtful_dense_detection_is_whole() {
        let dense = image(&[detection(0.0, 0.9), detection(50.0, 0.3)]);
        assert_eq!(average_precision(&dense, &image(&[detection(0.0, 0.9)])), 1.0);
    }

    #[test]
    fn average_precision_of_a_detector_that_is_never_sure_still_counts_what_is_lost() {
        let dense = image(&[detection(0.0, 0.2), detection(50.0, 0.15)]);
        assert_eq!(average_precision(&dense, &image(&[detection(0.0, 0.2)])), 0.5);
    }
}
