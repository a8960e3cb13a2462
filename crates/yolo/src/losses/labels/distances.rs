//! Heads without anchors and objectness: YOLOv8 and YOLO11, whose sides are distributions, and YOLO26, whose sides are numbers.
//!
//! Objects are assigned to the boxes that are best aligned with them, ten for each object, or one where nothing suppresses the
//! others. Classes are compared by cross-entropy with the alignment as the target; boxes by complete IoU and, where sides are
//! distributions, by the focal loss of distributions.
//! Source: Feng et al., "TOOD" (arXiv:2108.07755), section 3.2; Li et al., "Generalized Focal Loss" (arXiv:2006.04388), equation 6; Wang et al.,
//! "YOLOv10" (arXiv:2405.14458), section 3.1: the exponents, and one box for each object.

use super::claims::{Claim, Decoded, best, settled};
use super::{Match, Rule, Target};
use crate::heads::Kind;
use crate::losses::logits::{log_softmax, sigmoid};
use crate::losses::overlap::{Edges, complete_iou};
use crate::losses::predictions::{Place, Predictions, Terms};

/// Boxes that are to find each object, where others are suppressed afterwards.
const MOST: usize = 10;

/// Exponents of score and overlap in the alignment.
const SCORE: f64 = 0.5;
const OVERLAP: i32 = 6;

/// Weights of the terms, as Ultralytics documents them for YOLOv8 and its successors.
const CLASSES: f64 = 0.5;
const BOXES: f64 = 7.5;
const DISTRIBUTIONS: f64 = 1.5;

pub(super) const RULE: Rule =
    Rule { is_of: |kind| matches!(kind, Kind::Distances(_)), assign, compare };

/// One side of a box.
struct Side {
    /// From the centre of the cell, in strides.
    distance: f64,
    /// Logarithm of each bin's probability; empty where the distance is predicted as a number.
    bins: Vec<f64>,
}

fn assign(predictions: &Predictions<'_>, targets: &[Target]) -> Vec<Match> {
    let most = if predictions.head.is_one_to_one { 1 } else { MOST };
    let mut decoded = Decoded::new(|place| edges(predictions, place, &sides(predictions, place)));
    let mut claims = Vec::new();
    for (object, target) in targets.iter().enumerate() {
        let claim = |place: Place| {
            let iou = decoded.iou(place, target);
            let score = sigmoid(predictions.class_logit(place, target.class));
            Claim { place, object, iou, merit: score.powf(SCORE) * iou.powi(OVERLAP) }
        };
        let mut candidates: Vec<Claim> =
            candidates(predictions, target.edges).into_iter().map(claim).collect();
        candidates.retain(|c| c.merit > 0.0);
        claims.extend(best(candidates, most));
    }
    let claims = settled(claims, |claim| claim.iou);
    // The largest alignment and the largest overlap of each object.
    let mut largest = vec![[0.0_f64; 2]; targets.len()];
    for claim in &claims {
        let [merit, iou] = &mut largest[claim.object];
        (*merit, *iou) = (merit.max(claim.merit), iou.max(claim.iou));
    }
    let assigned = |claim: Claim| {
        let [merit, iou] = largest[claim.object];
        Match { place: claim.place, object: claim.object, score: claim.merit / merit * iou }
    };
    claims.into_iter().map(assigned).collect()
}

/// Places whose cells have their centre in a box. A box that is smaller than the finest cell counts as that large, so that
/// it has one.
fn candidates(predictions: &Predictions<'_>, edges: Edges) -> Vec<Place> {
    let finest = predictions.stride(Place { boxes: 0, cell: 0 });
    let mut within = edges;
    for axis in 0..2 {
        let missing = (finest[axis] - (edges[axis + 2] - edges[axis])).max(0.0);
        within[axis] -= missing / 2.0;
        within[axis + 2] += missing / 2.0;
    }
    let boxes = 0..predictions.head.form.boxes.len();
    boxes.flat_map(|boxes| predictions.places_within(boxes, within)).collect()
}

fn compare(terms: &mut Terms<'_>, targets: &[Target], matches: &[Match]) {
    let predictions = terms.predictions;
    let mut rest = matches.iter().peekable();
    for place in predictions.places() {
        let own = rest.next_if(|m| m.place == place);
        let class = own.map_or(0, |m| targets[m.object].class);
        terms.one_class(place, class, own.map_or(0.0, |m| m.score), CLASSES);
    }
    for found in matches {
        compare_box(terms, targets[found.object].edges, found);
    }
}

fn compare_box(terms: &mut Terms<'_>, expected: Edges, found: &Match) {
    let (predictions, place) = (terms.predictions, found.place);
    let sides = sides(&predictions, place);
    let overlap = complete_iou(edges(&predictions, place, &sides), expected);
    terms.add(found.score * BOXES * (1.0 - overlap.value));
    let (centre, stride) = (centre(&predictions, place), predictions.stride(place));
    for (at, side) in sides.iter().enumerate() {
        let axis = at % 2;
        // The left and the upper edge fall as their distance grows.
        let outwards = if at < 2 { -stride[axis] } else { stride[axis] };
        let slope = -found.score * BOXES * overlap.gradient[at] * outwards;
        if side.bins.is_empty() {
            terms.add_to_box(place, at, slope);
            continue;
        }
        let last = side.bins.len() - 1;
        let distance = ((expected[at] - centre[axis]) / outwards).clamp(0.0, last as f64);
        let near = (distance as usize).min(last.saturating_sub(1));
        let share = distance - near as f64;
        let weight = found.score * DISTRIBUTIONS / 4.0;
        for (bin, log) in side.bins.iter().enumerate() {
            let target = match bin {
                _ if bin == near => 1.0 - share,
                _ if bin == near + 1 => share,
                _ => 0.0,
            };
            terms.add(-weight * target * log);
            let of_distance = log.exp() * (bin as f64 - side.distance);
            let gradient = slope * of_distance + weight * (log.exp() - target);
            terms.add_to_box(place, at * side.bins.len() + bin, gradient);
        }
    }
}

/// The sides of a box: left, top, right, bottom.
fn sides(predictions: &Predictions<'_>, place: Place) -> [Side; 4] {
    let Kind::Distances(count) = predictions.head.form.kind else {
        unreachable!("the rule is of heads that predict distances");
    };
    [0, 1, 2, 3].map(|side| {
        if count == 1 {
            return Side { distance: predictions.box_number(place, side), bins: vec![] };
        }
        let logits: Vec<f64> =
            (0..count).map(|bin| predictions.box_number(place, side * count + bin)).collect();
        let bins = log_softmax(&logits);
        let distance = bins.iter().enumerate().map(|(bin, log)| bin as f64 * log.exp()).sum();
        Side { distance, bins }
    })
}

/// The centre of a place's cell, in pixels.
fn centre(predictions: &Predictions<'_>, place: Place) -> [f64; 2] {
    let ([x, y], [across, down]) = (predictions.corner(place), predictions.stride(place));
    [(x + 0.5) * across, (y + 0.5) * down]
}

fn edges(predictions: &Predictions<'_>, place: Place, sides: &[Side; 4]) -> Edges {
    let ([x, y], [across, down]) = (centre(predictions, place), predictions.stride(place));
    let [left, top, right, bottom] = [0, 1, 2, 3].map(|at| sides[at].distance);
    [x - left * across, y - top * down, x + right * across, y + bottom * down]
}
