//! How well a changed detector ranks what the dense one finds: average precision with the dense detections as truth.

use std::collections::BTreeSet;

use yolo::{BoxXyxy, Detection};

use crate::seen::Seen;

/// Confidence from which a dense detection counts as true; of a detector that is never as sure, half its highest.
const TRUE_CONF: f32 = 0.4;
/// Overlaps at which a detection hits: those of the COCO protocol.
const OVERLAPS: [f64; 10] = [0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95];

/// Average precision, mean over the classes that the dense detector finds and over the overlaps; 1 where it finds
/// nothing.
///
/// As mAP it gives every class the same weight, and does not count what costs no mAP: scores that fall everywhere
/// alike, and doubtful detections of the dense model that come or go.
pub(crate) fn average_precision(dense: &[Seen], found: &[Seen]) -> f64 {
    let all = || dense.iter().flat_map(|s| &s.candidates);
    let surest = all().map(|d| d.score).fold(0.0, f32::max);
    let conf = if surest < TRUE_CONF {
        surest / 2.0
    } else {
        TRUE_CONF
    };
    let sure = all().filter(|d| d.score >= conf);
    let classes: BTreeSet<usize> = sure.map(|d| d.class).collect();
    if classes.is_empty() {
        return 1.0;
    }
    let of = |&class: &usize| class_precision(dense, found, (class, conf));
    classes.iter().map(of).sum::<f64>() / classes.len() as f64
}

fn class_precision(dense: &[Seen], found: &[Seen], (class, conf): (usize, f32)) -> f64 {
    let sure = |seen: &Seen| -> Vec<Detection> {
        let sure = |d: &&Detection| d.class == class && d.score >= conf;
        seen.candidates.iter().filter(sure).copied().collect()
    };
    let truths: Vec<Vec<Detection>> = dense.iter().map(sure).collect();
    let total = truths.iter().map(Vec::len).sum();
    let mut ranked: Vec<(usize, &Detection)> = Vec::new();
    for (image, seen) in found.iter().enumerate() {
        let of_class = seen.candidates.iter().filter(|d| d.class == class);
        ranked.extend(of_class.map(|d| (image, d)));
    }
    ranked.sort_by(|a, b| b.1.score.total_cmp(&a.1.score));
    let at = |least: &f64| area(&hits(&truths, &ranked, *least), total);
    OVERLAPS.iter().map(at).sum::<f64>() / OVERLAPS.len() as f64
}

/// Which of the ranked detections hit a truth that none before them hit.
fn hits(truths: &[Vec<Detection>], ranked: &[(usize, &Detection)], least: f64) -> Vec<bool> {
    let mut free: Vec<Vec<bool>> = truths.iter().map(|t| vec![true; t.len()]).collect();
    let mut hit = |&(image, found): &(usize, &Detection)| {
        let free = &mut free[image];
        let truths = truths[image].iter().enumerate();
        let best = truths
            .filter(|(i, _)| free[*i])
            .map(|(i, t)| (overlap(&t.bbox, &found.bbox), i))
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
fn area(hits: &[bool], total: usize) -> f64 {
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

    fn at(left: f32, score: f32) -> Detection {
        let bbox = BoxXyxy {
            left,
            top: 0.0,
            right: left + 10.0,
            bottom: 10.0,
        };
        Detection {
            bbox,
            score,
            class: 0,
        }
    }

    fn seen(candidates: &[Detection]) -> [Seen; 1] {
        [Seen {
            candidates: candidates.to_vec(),
            ..Seen::default()
        }]
    }

    #[test]
    fn average_precision_of_scores_that_all_fell_is_whole() {
        let dense = seen(&[at(0.0, 0.9), at(50.0, 0.5)]);
        let found = seen(&[at(0.0, 0.09), at(50.0, 0.05)]);
        assert_eq!(average_precision(&dense, &found), 1.0);
    }

    #[test]
    fn average_precision_of_a_false_detection_before_the_true_ones_is_lower() {
        let dense = seen(&[at(0.0, 0.9), at(50.0, 0.5)]);
        let found = seen(&[at(100.0, 0.8), at(0.0, 0.7), at(50.0, 0.5)]);
        let expected = 2.0 / 3.0;
        assert!((average_precision(&dense, &found) - expected).abs() < 1e-9);
        let missed = seen(&[at(0.0, 0.7)]);
        assert_eq!(average_precision(&dense, &missed), 0.5);
    }

    #[test]
    fn average_precision_of_a_box_beside_the_true_one_counts_by_overlap() {
        let dense = seen(&[at(0.0, 0.9)]);
        let found = seen(&[at(1.0, 0.9)]);
        assert!((average_precision(&dense, &found) - 0.7).abs() < 1e-9);
    }

    #[test]
    fn average_precision_of_a_rare_class_that_is_lost_weighs_as_much_as_a_common_one() {
        let rare = Detection {
            class: 1,
            ..at(200.0, 0.9)
        };
        let common = [at(0.0, 0.9), at(50.0, 0.8), at(100.0, 0.7)];
        let dense = seen(&[common.as_slice(), &[rare]].concat());
        assert_eq!(average_precision(&dense, &seen(&common)), 0.5);
    }

    #[test]
    fn average_precision_without_a_doubtful_dense_detection_is_whole() {
        let dense = seen(&[at(0.0, 0.9), at(50.0, 0.3)]);
        assert_eq!(average_precision(&dense, &seen(&[at(0.0, 0.9)])), 1.0);
    }

    #[test]
    fn average_precision_of_a_detector_that_is_never_sure_still_counts_what_is_lost() {
        let dense = seen(&[at(0.0, 0.2), at(50.0, 0.15)]);
        assert_eq!(average_precision(&dense, &seen(&[at(0.0, 0.2)])), 0.5);
    }
}
