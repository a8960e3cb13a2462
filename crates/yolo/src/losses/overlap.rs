//! How far a predicted box overlaps a labelled one, with the gradient by the predicted box's edges.

use std::f64::consts::PI;

/// Left, top, right and bottom edge.
pub(super) type Edges = [f64; 4];

/// The edges of a box, from its centre and size.
pub(super) fn around([x, y, width, height]: [f64; 4]) -> Edges {
    [x - width / 2.0, y - height / 2.0, x + width / 2.0, y + height / 2.0]
}

/// A gradient by a box's edges as one by its centre and size.
pub(super) fn by_centre([left, top, right, bottom]: Edges) -> [f64; 4] {
    [left + right, top + bottom, (right - left) / 2.0, (bottom - top) / 2.0]
}

/// Width and height below which a predicted box counts as this wide or high, in pixels: a head may predict boxes inside out.
const SMALLEST: f64 = 1e-3;

/// An overlap and its gradient by the edges of the predicted box.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Overlap {
    pub(super) value: f64,
    pub(super) gradient: Edges,
}

/// Intersection over union, from 0 to 1, of a predicted box and one that has an area.
pub(super) fn iou(found: Edges, expected: Edges) -> Overlap {
    let size = |edges: Edges, axis: usize| edges[axis + 2] - edges[axis];
    let (mut sides, mut slopes) = ([0.0; 2], [[0.0; 2]; 2]);
    for axis in 0..2 {
        let near = found[axis].max(expected[axis]);
        let far = found[axis + 2].min(expected[axis + 2]);
        sides[axis] = far - near;
        slopes[axis] = [
            if found[axis] > expected[axis] { -1.0 } else { 0.0 },
            if found[axis + 2] < expected[axis + 2] { 1.0 } else { 0.0 },
        ];
    }
    if sides.iter().any(|&side| side <= 0.0) {
        return Overlap { value: 0.0, gradient: [0.0; 4] };
    }
    let own = [size(found, 0), size(found, 1)];
    let shared = sides[0] * sides[1];
    let union = own[0] * own[1] + size(expected, 0) * size(expected, 1) - shared;
    let mut gradient = [0.0; 4];
    for axis in 0..2 {
        let other = 1 - axis;
        for end in 0..2 {
            let of_shared = slopes[axis][end] * sides[other];
            let of_own = if end == 0 { -own[other] } else { own[other] };
            let of_union = of_own - of_shared;
            gradient[axis + 2 * end] = (of_shared * union - shared * of_union) / (union * union);
        }
    }
    Overlap { value: shared / union, gradient }
}

/// Complete IoU, from -1.5 to 1: intersection over union, less the distance of the centres relative to the box around both,
/// less how far the ratios of width to height differ. The weight of the latter is a constant in the gradient.
///
/// Source: Zheng et al., "Distance-IoU Loss" (arXiv:1911.08287), equations 8 to 11.
pub(super) fn complete_iou(found: Edges, expected: Edges) -> Overlap {
    let iou = iou(found, expected);
    let (mut value, mut gradient) = (iou.value, iou.gradient);
    // The squared distance of the centres, and the squared diagonal of the box around both.
    let (mut distance, mut diagonal) = (0.0, 0.0);
    let (mut of_distance, mut of_diagonal) = ([0.0; 4], [0.0; 4]);
    for axis in 0..2 {
        let [near, far] = [axis, axis + 2];
        let apart = (found[near] + found[far] - expected[near] - expected[far]) / 2.0;
        let around = found[far].max(expected[far]) - found[near].min(expected[near]);
        distance += apart * apart;
        diagonal += around * around;
        (of_distance[near], of_distance[far]) = (apart, apart);
        of_diagonal[near] = if found[near] < expected[near] { -2.0 * around } else { 0.0 };
        of_diagonal[far] = if found[far] > expected[far] { 2.0 * around } else { 0.0 };
    }
    value -= distance / diagonal;
    for edge in 0..4 {
        gradient[edge] -=
            (of_distance[edge] * diagonal - distance * of_diagonal[edge]) / (diagonal * diagonal);
    }
    let side = |edges: Edges, axis: usize| (edges[axis + 2] - edges[axis]).max(SMALLEST);
    let [width, height] = [side(found, 0), side(found, 1)];
    let angle = |width: f64, height: f64| (width / height).atan();
    let apart = angle(side(expected, 0), side(expected, 1)) - angle(width, height);
    let difference = 4.0 / (PI * PI) * apart * apart;
    if difference == 0.0 {
        return Overlap { value, gradient };
    }
    let weight = difference / (1.0 - iou.value + difference);
    value -= weight * difference;
    let squares = width * width + height * height;
    let slope = 8.0 / (PI * PI) * apart * weight;
    let of_sides = [slope * height / squares, -slope * width / squares];
    for axis in 0..2 {
        // A side that was widened to the smallest one does not depend on the edges.
        if found[axis + 2] - found[axis] > SMALLEST {
            gradient[axis] -= of_sides[axis];
            gradient[axis + 2] += of_sides[axis];
        }
    }
    Overlap { value, gradient }
}

#[cfg(test)]
mod tests {
    use super::*;
    use numerics::Rng;

    fn random(rng: &mut Rng) -> Edges {
        let [x, y, w, h] = [(); 4].map(|()| f64::from(rng.signed()) * 10.0);
        [x, y, x + w.abs() + 1.0, y + h.abs() + 1.0]
    }

    #[test]
    fn overlaps_of_equal_boxes_are_one_without_a_slope_of_the_centre() {
        let square = [1.0, 2.0, 5.0, 6.0];
        assert_eq!(iou(square, square).value, 1.0);
        assert_eq!(complete_iou(square, square).value, 1.0);
    }

    #[test]
    fn complete_iou_of_boxes_apart_is_negative_and_pulls_the_box_near() {
        let overlap = complete_iou([0.0, 0.0, 2.0, 2.0], [4.0, 0.0, 6.0, 2.0]);
        // Centres 4 apart in a box of 6 by 2.
        assert!((overlap.value + 16.0 / 40.0).abs() < 1e-12);
        assert!(overlap.gradient[0] + overlap.gradient[2] > 0.0);
    }

    #[test]
    fn overlaps_of_boxes_inside_out_are_numbers() {
        for found in [[3.0, 3.0, 1.0, 1.0], [2.0; 4], [5.0, 0.0, -5.0, 1.0]] {
            let overlap = complete_iou(found, [0.0, 0.0, 4.0, 4.0]);
            let all = overlap.gradient.into_iter().chain([overlap.value]);
            assert!(all.into_iter().all(f64::is_finite), "{found:?}");
        }
    }

    #[test]
    fn gradients_of_overlaps_equal_finite_differences() {
        let mut rng = Rng::new(5);
        for _ in 0..200 {
            let (found, expected) = (random(&mut rng), random(&mut rng));
            // The weight of the ratios is a constant in the gradient, so it is taken from the unmoved boxes.
            let constant = |moved: Edges| {
                let of = |edges: Edges| {
                    let angle = |e: Edges| ((e[2] - e[0]) / (e[3] - e[1])).atan();
                    4.0 / (PI * PI) * (angle(expected) - angle(edges)).powi(2)
                };
                let own = |edges: Edges| of(edges) / (1.0 - iou(edges, expected).value + of(edges));
                complete_iou(moved, expected).value + (own(moved) - own(found)) * of(moved)
            };
            let plain = |moved: Edges| iou(moved, expected).value;
            let checks: [(&dyn Fn(Edges) -> f64, Overlap); 2] =
                [(&plain, iou(found, expected)), (&constant, complete_iou(found, expected))];
            for (function, overlap) in checks {
                for edge in 0..4 {
                    let moved = |by: f64| {
                        let mut moved = found;
                        moved[edge] += by;
                        function(moved)
                    };
                    let slope = (moved(1e-6) - moved(-1e-6)) / 2e-6;
                    let error = (slope - overlap.gradient[edge]).abs();
                    assert!(error < 1e-6, "{found:?} {expected:?}: {slope} {overlap:?}");
                }
            }
        }
    }
}
