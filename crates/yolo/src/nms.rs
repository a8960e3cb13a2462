//! Greedy non-maximum suppression, class by class.

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
    let mut places = places(candidates);
    let (mut unsorted, mut together) = (places.as_mut_slice(), FIRST_SORTED);
    while !unsorted.is_empty() {
        let (next, later) = split_first(unsorted, together);
        for place in next {
            if kept.len() == max_det {
                return kept;
            }
            let candidate = &candidates[place.index()];
            let corners = Corners::from(&candidate.bbox);
            let rivals = kept_of_class.entry(candidate.class).or_default();
            if rivals.iter().all(|rival| corners.iou_opencv(rival) <= iou_threshold) {
                rivals.push(corners);
                kept.push(*candidate);
            }
        }
        (unsorted, together) = (later, 2 * together);
    }
    kept
}

/// As many are sorted at first as are mostly visited; then twice as many, and so on.
const FIRST_SORTED: usize = 1024;

/// When a candidate is visited: by falling score, then by its index, as one number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place(u64);

impl Place {
    fn new(score: f32, index: usize) -> Self {
        let bits = score.to_bits();
        // Rising as `f32::total_cmp` has it: of negative numbers all bits are turned round, of others the sign.
        let rising = if score.is_sign_negative() { !bits } else { bits | 1 << 31 };
        Self(u64::from(!rising) << 32 | index as u64 & u64::from(u32::MAX))
    }

    fn index(self) -> usize {
        (self.0 & u64::from(u32::MAX)) as usize
    }
}

/// The places of the candidates that are visited, in no order.
fn places(candidates: &[Detection]) -> Vec<Place> {
    let is_visited = |(_, d): &(usize, &Detection)| !d.score.is_nan() && d.bbox.is_finite();
    // More than an index of 32 bits holds do not fit into memory.
    let visited = candidates.iter().enumerate().filter(is_visited);
    let mut places: Vec<Place> = visited.map(|(i, d)| Place::new(d.score, i)).collect();
    if places.len() > MAX_CANDIDATES {
        places.select_nth_unstable(MAX_CANDIDATES);
        places.truncate(MAX_CANDIDATES);
    }
    places
}

/// The first `count` in order, and the others in none.
fn split_first(places: &mut [Place], count: usize) -> (&[Place], &mut [Place]) {
    if count < places.len() {
        places.select_nth_unstable(count);
    }
    let (first, later) = places.split_at_mut(count.min(places.len()));
    first.sort_unstable();
    (first, later)
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

    #[test]
    fn places_are_ordered_by_falling_score_then_by_index() {
        let scores = [0.5, -0.0, 0.0, f32::INFINITY, -1.5, 0.5, 1e-40, f32::NEG_INFINITY, -1e-40];
        let mut places: Vec<Place> =
            scores.iter().enumerate().map(|(i, &score)| Place::new(score, i)).collect();
        places.sort_unstable();
        let mut expected: Vec<usize> = (0..scores.len()).collect();
        expected.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]).then(a.cmp(&b)));
        assert_eq!(places.into_iter().map(Place::index).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn nms_of_more_than_are_sorted_at_first_visits_all_in_order() {
        let many = 5 * FIRST_SORTED;
        let candidates: Vec<_> = (0..many)
            .map(|i| detection(i as f32 * 4.0, 0.0, 3.0, (i * 7919 % many / 3) as f32, 0))
            .collect();
        let kept = nms(&candidates, 0.7, usize::MAX);
        let mut expected = candidates;
        expected.sort_by(|a, b| b.score.total_cmp(&a.score));
        assert_eq!(kept, expected);
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
