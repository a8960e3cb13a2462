//! Heads with anchors: YOLOv5, and YOLOv3 and v7 as its successors export them.
//!
//! An object is assigned to the anchors that are like it in size, at the cell that holds its centre and at the nearest neighbours
//! of that along x and along y. An object of which no anchor is like is not learned. Boxes are compared by complete IoU,
//! objectness by cross-entropy with the IoU as the target, classes by cross-entropy.
//! Source: Jocher et al., YOLOv5 (doi:10.5281/zenodo.3908559), as its documentation of the architecture describes it.

use super::claims::{Claim, Decoded, settled};
use super::{Match, Rule, Target};
use crate::heads::Kind;
use crate::losses::logits::sigmoid;
use crate::losses::overlap::{Edges, around, by_centre, complete_iou};
use crate::losses::predictions::{Place, Predictions, Terms};

/// How many times an object's width and height may be its anchor's, or the anchor's the object's.
const LARGEST_RATIO: f64 = 4.0;

/// Weights of the terms beside the objectness, whose boxes weigh 1 on average.
const BOXES: f64 = 5.0;
const CLASSES: f64 = 1.0;

/// What the mean objectness of each scale counts, the finest first: coarse scales have few boxes, and learn faster.
/// Any further scale counts a quarter of the one before.
const BALANCE: [f64; 3] = [4.0, 1.0, 0.4];

pub(super) const RULE: Rule =
    Rule { is_of: |kind| matches!(kind, Kind::Anchors(_)), assign, compare };

/// What the four raw numbers of a box give, and the slope of each.
struct Parts {
    /// Centre and size, in pixels.
    numbers: [f64; 4],
    slopes: [f64; 4],
}

fn assign(predictions: &Predictions<'_>, targets: &[Target]) -> Vec<Match> {
    let mut decoded = Decoded::new(|place| around(parts(predictions, place).numbers));
    let mut claims = Vec::new();
    for (object, target) in targets.iter().enumerate() {
        for place in places(predictions, target.edges) {
            let iou = decoded.iou(place, target);
            claims.push(Claim { place, object, iou, merit: iou });
        }
    }
    let claims = settled(claims, |claim| claim.iou);
    let assigned = |c: Claim| Match { place: c.place, object: c.object, score: c.iou };
    claims.into_iter().map(assigned).collect()
}

/// The places that are to find a box.
fn places(predictions: &Predictions<'_>, [left, top, right, bottom]: Edges) -> Vec<Place> {
    let (size, centre) =
        ([right - left, bottom - top], [(left + right) / 2.0, (top + bottom) / 2.0]);
    let mut places = Vec::new();
    for (boxes, of) in predictions.head.form.boxes.iter().enumerate() {
        let anchor = predictions.head.anchors_px[boxes].map(f64::from);
        let ratios = [size[0] / anchor[0], size[1] / anchor[1]];
        if !ratios.iter().all(|&r| r.max(1.0 / r) < LARGEST_RATIO) {
            continue;
        }
        let stride = predictions.head.form.stride(of);
        let columns = of.columns.max(1) as isize;
        let rows = of.cells as isize / columns;
        let [x, y] = [centre[0] / stride[0], centre[1] / stride[1]];
        let (column, row) = (x.floor() as isize, y.floor() as isize);
        let nearest = |at: f64| if at.fract() < 0.5 { -1 } else { 1 };
        let cells = [[column, row], [column + nearest(x), row], [column, row + nearest(y)]];
        for [column, row] in cells {
            if (0..columns).contains(&column) && (0..rows).contains(&row) {
                places.push(Place { boxes, cell: (row * columns + column) as usize });
            }
        }
    }
    places
}

fn compare(terms: &mut Terms<'_>, targets: &[Target], matches: &[Match]) {
    let predictions = terms.predictions;
    let weights = weights(&predictions);
    let mut rest = matches.iter().peekable();
    for place in predictions.places() {
        let own = rest.next_if(|m| m.place == place);
        terms.objectness(place, own.map_or(0.0, |m| m.score), weights[place.boxes]);
    }
    for found in matches {
        let target = &targets[found.object];
        terms.one_class(found.place, target.class, 1.0, CLASSES);
        let Parts { numbers, slopes } = parts(&predictions, found.place);
        let overlap = complete_iou(around(numbers), target.edges);
        terms.add(BOXES * (1.0 - overlap.value));
        let by_number = by_centre(overlap.gradient);
        for channel in 0..4 {
            let gradient = -BOXES * by_number[channel] * slopes[channel];
            terms.add_to_box(found.place, channel, gradient);
        }
    }
}

/// What the objectness of each of the form's boxes weighs.
fn weights(predictions: &Predictions<'_>) -> Vec<f64> {
    let boxes = &predictions.head.form.boxes;
    let levels = boxes.iter().map(|of| of.level + 1).max().unwrap_or(0);
    let balance = |level: usize| match BALANCE.get(level) {
        Some(&balance) => balance,
        None => BALANCE[2] * 0.25_f64.powi((level - 2) as i32),
    };
    let of_level = |level: usize| boxes.iter().filter(move |of| of.level == level);
    let count = |level: usize| of_level(level).map(|of| of.cells).sum::<usize>() as f64;
    let all: f64 = (0..levels).map(count).sum();
    let whole: f64 = (0..levels).map(balance).sum();
    boxes.iter().map(|of| balance(of.level) / whole * all / count(of.level)).collect()
}

fn parts(predictions: &Predictions<'_>, place: Place) -> Parts {
    let (corner, stride) = (predictions.corner(place), predictions.stride(place));
    let anchor = predictions.head.anchors_px[place.boxes].map(f64::from);
    let (mut numbers, mut slopes) = ([0.0; 4], [0.0; 4]);
    for axis in 0..2 {
        let share = sigmoid(predictions.box_number(place, axis));
        numbers[axis] = (2.0 * share - 0.5 + corner[axis]) * stride[axis];
        slopes[axis] = 2.0 * share * (1.0 - share) * stride[axis];
        let share = sigmoid(predictions.box_number(place, axis + 2));
        numbers[axis + 2] = 4.0 * share * share * anchor[axis];
        slopes[axis + 2] = 8.0 * share * share * (1.0 - share) * anchor[axis];
    }
    Parts { numbers, slopes }
}
