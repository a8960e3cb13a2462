//! Greedy non-maximum suppression, class by class.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use crate::Detection;
use crate::iou::Corners;

/// Highest scoring candidates looked at; the rest are dropped unseen.
const MAX_CANDIDATES: usize = 30_000;

/// Keeps the best box of every cluster of overlapping boxes of one class.
///
/// `candidates` may name the same box once for each class it scores in (multi-label). Candidates are
/// visited by falling score, ties by position, at most 30,000 of them; one is kept if its
/// IoU with every box kept before it in its class is at most `iou_threshold`; visiting ends when
/// `max_det` are kept. The result is in visiting order. Candidates whose score is NaN or
/// whose box is not finite are dropped.
pub fn nms(candidates: &[Detection], iou_threshold: f32, max_det: usize) -> Vec<Detection> {
    let mut kept_of_class: BTreeMap<usize, Vec<Corners>> = BTreeMap::new();
    let mut kept = Vec::new();
    for index in visiting_order(candidates) {
        if kept.len() == max_det {
            break;
        }
        let candidate = &candidates[index];
        let corners = Corners::from(&candidate.bbox);
        let rivals = kept_of_class.entry(candidate.class).or_default();
        if rivals.iter().all(|rival| corners.iou_opencv(rival) <= iou_threshold) {
            rivals.push(corners);
            kept.push(*candidate);
        }
    }
    kept
}

fn visiting_order(candidates: &[Detection]) -> Vec<usize> {
    let by_score = |a: &usize, b: &usize| -> Ordering {
        candidates[*b].score.total_cmp(&candidates[*a].score).then(a.cmp(b))
    };
    let mut order: Vec<usize> = (0..candidates.len())
        .filter(|&index| !candidates[index].score.is_nan() && candidates[index].bbox.is_finite())
        .collect();
    if order.len() > MAX_CANDIDATES {
        order.select_nth_unstable_by(MAX_CANDIDATES, by_score);
        order.truncate(MAX_CANDIDATES);
    }
    order.sort_unstable_by(by_score);
    order
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::BoxXyxy;

    fn detection(left: f32, top: f32, side: f32, score: f32, class: usize) -> Detection {
        let bbox = BoxXyxy { left, top, right: left + side, bottom: top + side };
        Detection { bbox, score, class }
    }

    #[test]
    fn nms_overlap_of_one_class_keeps_the_best() {
        let candidates = [
            detection(0.0, 0.0, 10.0, 0.5, 0),
            detection(1.0, 0.0, 10.0, 0.9, 0),
            detection(1.0, 0.0, 10.0, 0.8, 1),
            detection(50.0, 0.0, 10.0, 0.1, 0),
        ];
        let kept = nms(&candidates, 0.7, 300);
        assert_eq!(kept, [candidates[1], candidates[2], candidates[3]]);
    }

    #[test]
    fn nms_iou_equal_to_threshold_keeps_both() {
        let candidates = [detection(0.0, 0.0, 2.0, 0.9, 0), {
            let bbox = BoxXyxy { left: 0.0, top: 0.0, right: 2.0, bottom: 1.0 };
            Detection { bbox, score: 0.8, class: 0 }
        }];
        assert_eq!(nms(&candidates, 0.5, 300).len(), 2);
        assert_eq!(nms(&candidates, 0.49, 300).len(), 1);
    }

    #[test]
    fn nms_equal_scores_visit_by_position() {
        let candidates: Vec<_> =
            (0..10).map(|i| detection(i as f32 * 20.0, 0.0, 10.0, 0.5, 0)).collect();
        assert_eq!(nms(&candidates, 0.7, 3), candidates[..3]);
    }

    #[test]
    fn nms_nan_score_is_dropped() {
        let candidates = [detection(0.0, 0.0, 2.0, f32::NAN, 0), detection(0.0, 0.0, 2.0, 0.1, 0)];
        assert_eq!(nms(&candidates, 0.7, 300), candidates[1..]);
        assert!(nms(&[], 0.7, 300).is_empty());
    }

    #[test]
    fn nms_too_many_candidates_looks_at_the_best() {
        let candidates: Vec<_> = (0..MAX_CANDIDATES + 5)
            .map(|i| detection((i % 200) as f32 * 4.0, (i / 200) as f32 * 4.0, 3.0, i as f32, 0))
            .collect();
        let kept = nms(&candidates, 0.7, usize::MAX);
        assert_eq!(kept.len(), MAX_CANDIDATES);
        assert_eq!(kept[MAX_CANDIDATES - 1].score, 5.0);
    }

    proptest! {
        #[test]
        fn nms_kept_boxes_never_overlap_and_dropped_ones_always_do(
            raw in prop::collection::vec((0f32..30.0, 0f32..30.0, 1f32..20.0, 0u8..8, 0usize..3), 0..60)
        ) {
            let candidates: Vec<_> = raw
                .iter()
                .map(|&(x, y, side, score, class)| detection(x, y, side, f32::from(score) / 8.0, class))
                .collect();
            let kept = nms(&candidates, 0.4, usize::MAX);
            let overlap = |a: &Detection, b: &Detection| {
                a.class == b.class && Corners::from(&a.bbox).iou_opencv(&Corners::from(&b.bbox)) > 0.4
            };
            for (i, a) in kept.iter().enumerate() {
                prop_assert!(kept[..i].iter().all(|b| !overlap(a, b)));
            }
            for candidate in &candidates {
                let covered = kept.iter().any(|k| k.score >= candidate.score && overlap(candidate, k));
                prop_assert!(kept.contains(candidate) || covered);
            }
        }
    }
}
