//! Heads without anchors, with an objectness: YOLOX.
//!
//! Objects are assigned by SimOTA: each takes the boxes that cost least, as many as the boxes that overlap it most overlap it in
//! sum. Boxes are compared by the square of the IoU, objectness by cross-entropy, classes by cross-entropy with the IoU as the
//! target.
//! Source: Ge et al., "YOLOX" (arXiv:2107.08430), section 2.1, equation 1; Ge et al., "OTA" (arXiv:2103.14259), section 3.3, dynamic k.

use super::claims::{Claim, Decoded, best, settled};
use super::{Match, Rule, Target};
use crate::heads::Kind;
use crate::losses::logits::sigmoid;
use crate::losses::overlap::{Edges, around, by_centre, iou};
use crate::losses::predictions::{Place, Predictions, Terms};

/// How far from an object's centre the centres of cells may lie, in strides.
const RADIUS: f64 = 2.5;

/// Boxes whose overlaps are summed up.
const OVERLAPS: usize = 10;

/// What the overlap costs beside the classes, and what a cell costs that is not both within the box and near its centre.
const OVERLAP_COST: f64 = 3.0;
const OUTSIDE_COST: f64 = 1e5;

/// Weight of the boxes beside classes and objectness.
const BOXES: f64 = 5.0;

/// Below this, probabilities and overlaps are not told apart.
const LEAST: f64 = 1e-8;

pub(super) const RULE: Rule = Rule { is_of: |kind| kind == Kind::Offsets, assign, compare };

fn assign(predictions: &Predictions<'_>, targets: &[Target]) -> Vec<Match> {
    let mut decoded = Decoded::new(|place| around(numbers(predictions, place)));
    let mut claims = Vec::new();
    for (object, target) in targets.iter().enumerate() {
        let claim = |place: Place| {
            let iou = decoded.iou(place, target);
            let mut cost = class_cost(predictions, place, target.class);
            cost -= OVERLAP_COST * (iou + LEAST).ln();
            if !is_inside(predictions, place, target) {
                cost += OUTSIDE_COST;
            }
            Claim { place, object, iou, merit: -cost }
        };
        let candidates: Vec<Claim> =
            candidates(predictions, target).into_iter().map(claim).collect();
        let mut overlaps: Vec<f64> = candidates.iter().map(|c| c.iou).collect();
        overlaps.sort_by(|a, b| b.total_cmp(a));
        let sum: f64 = overlaps.iter().take(OVERLAPS).sum();
        claims.extend(best(candidates, (sum as usize).max(1)));
    }
    let claims = settled(claims, |claim| claim.merit);
    let assigned = |c: Claim| Match { place: c.place, object: c.object, score: c.iou };
    claims.into_iter().map(assigned).collect()
}

/// Places whose cells have their centre within a box or near its centre.
fn candidates(predictions: &Predictions<'_>, target: &Target) -> Vec<Place> {
    let mut places = Vec::new();
    for boxes in 0..predictions.head.form.boxes.len() {
        let near = near(predictions, Place { boxes, cell: 0 }, target);
        places.extend(predictions.places_within(boxes, target.edges));
        places.extend(predictions.places_within(boxes, near));
    }
    places.sort_unstable();
    places.dedup();
    places
}

/// The square around a target's centre that is near, at the scale of a place.
fn near(predictions: &Predictions<'_>, place: Place, target: &Target) -> Edges {
    let [left, top, right, bottom] = target.edges;
    let [across, down] = predictions.stride(place).map(|stride| 2.0 * RADIUS * stride);
    around([(left + right) / 2.0, (top + bottom) / 2.0, across, down])
}

/// Whether the centre of a place's cell lies both within a box and near its centre.
fn is_inside(predictions: &Predictions<'_>, place: Place, target: &Target) -> bool {
    let ([x, y], [across, down]) = (predictions.corner(place), predictions.stride(place));
    let centre = [(x + 0.5) * across, (y + 0.5) * down];
    let within =
        |edges: Edges| (0..2).all(|axis| (edges[axis]..=edges[axis + 2]).contains(&centre[axis]));
    within(target.edges) && within(near(predictions, place, target))
}

/// Cross-entropies of the scores, geometric means of class and objectness, with a class that is there.
fn class_cost(predictions: &Predictions<'_>, place: Place, present: usize) -> f64 {
    let objectness = predictions.objectness_logit(place).map_or(1.0, sigmoid);
    let costs = (0..predictions.classes()).map(|class| {
        let score = (sigmoid(predictions.class_logit(place, class)) * objectness).sqrt();
        let probability = if class == present { score } else { 1.0 - score };
        -probability.max(LEAST).ln()
    });
    costs.sum()
}

fn compare(terms: &mut Terms<'_>, targets: &[Target], matches: &[Match]) {
    let predictions = terms.predictions;
    let mut rest = matches.iter().peekable();
    for place in predictions.places() {
        let is_object = rest.next_if(|m| m.place == place).is_some();
        terms.objectness(place, f64::from(u8::from(is_object)), 1.0);
    }
    for found in matches {
        let (place, target) = (found.place, &targets[found.object]);
        terms.one_class(place, target.class, found.score, 1.0);
        let numbers = numbers(&predictions, place);
        let overlap = iou(around(numbers), target.edges);
        terms.add(BOXES * (1.0 - overlap.value * overlap.value));
        let by_number = by_centre(overlap.gradient);
        let [across, down] = predictions.stride(place);
        // A size is the exponential of its raw number, which is its own slope.
        let slopes = [across, down, numbers[2], numbers[3]];
        for channel in 0..4 {
            let slope = -2.0 * BOXES * overlap.value * by_number[channel];
            terms.add_to_box(place, channel, slope * slopes[channel]);
        }
    }
}

/// Centre and size of a place's box, in pixels.
fn numbers(predictions: &Predictions<'_>, place: Place) -> [f64; 4] {
    let ([x, y], [across, down]) = (predictions.corner(place), predictions.stride(place));
    let raw = |channel: usize| predictions.box_number(place, channel);
    [(raw(0) + x) * across, (raw(1) + y) * down, raw(2).exp() * across, raw(3).exp() * down]
}
