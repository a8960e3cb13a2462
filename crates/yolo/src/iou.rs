//! How far two boxes overlap, by each tool whose figures are reproduced: they differ where boxes are crowds, or have no area.
//!
//! # Units
//! Boxes `[left, top, width, height]` in any one unit, unless said otherwise.
use crate::BoxXyxy;

/// Intersection over union; 0 where neither box has an area. Source: pycocotools' `maskApi.c`, `bbIou`.
pub fn iou(a: &[f64; 4], b: &[f64; 4]) -> f64 {
    let shared = intersection(a, b);
    let all = a[2] * a[3] + b[2] * b[3] - shared;
    if all > 0.0 { shared / all } else { 0.0 }
}

/// Overlap with a crowd: the share of the detection that lies in it. Source: as [`iou`].
pub(crate) fn iou_crowd(detection: &[f64; 4], crowd: &[f64; 4]) -> f64 {
    let shared = intersection(detection, crowd);
    if shared == 0.0 {
        return 0.0;
    }
    shared / (detection[2] * detection[3])
}

/// Intersection over a union that is never 0. Source: Ultralytics' `box_iou`.
pub(crate) fn iou_eps(a: &[f64; 4], b: &[f64; 4]) -> f64 {
    let shared = intersection(a, b);
    shared / (a[2] * a[3] + b[2] * b[3] - shared + 1e-7)
}

/// Area shared by two boxes.
fn intersection(a: &[f64; 4], b: &[f64; 4]) -> f64 {
    let width = (a[0] + a[2]).min(b[0] + b[2]) - a[0].max(b[0]);
    let height = (a[1] + a[3]).min(b[1] + b[3]) - a[1].max(b[1]);
    if width <= 0.0 || height <= 0.0 { 0.0 } else { width * height }
}

/// A box by its corners, with its area, for [`Corners::iou_opencv`] with many others.
#[derive(Clone, Copy)]
pub(crate) struct Corners {
    left: f64,
    top: f64,
    right: f64,
    bottom: f64,
    area: f64,
}

impl From<&BoxXyxy> for Corners {
    fn from(bbox: &BoxXyxy) -> Self {
        let (left, top) = (f64::from(bbox.left), f64::from(bbox.top));
        let (right, bottom) = (f64::from(bbox.right), f64::from(bbox.bottom));
        Self { left, top, right, bottom, area: (right - left) * (bottom - top) }
    }
}

impl Corners {
    /// IoU rounded the way OpenCV's `NMSBoxes` rounds it (as one minus a distance in f32), so that
    /// boxes on the very threshold fall on the same side; two boxes without area overlap fully.
    pub(crate) fn iou_opencv(&self, other: &Self) -> f32 {
        let areas = self.area + other.area;
        if areas <= f64::EPSILON {
            return 1.0;
        }
        let width = self.right.min(other.right) - self.left.max(other.left);
        let height = self.bottom.min(other.bottom) - self.top.max(other.top);
        let shared = if width > 0.0 && height > 0.0 { width * height } else { 0.0 };
        1.0 - (1.0 - shared / (areas - shared)) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlaps_of_a_quarter_are_one_seventh_and_a_quarter_of_the_detection() {
        let (a, b) = ([0.0, 0.0, 2.0, 2.0], [1.0, 1.0, 2.0, 2.0]);
        assert_eq!(iou(&a, &b), 1.0 / 7.0);
        assert_eq!(iou_crowd(&a, &b), 0.25);
        assert!((iou_eps(&a, &b) - 1.0 / 7.0).abs() < 1e-7);
        let corners = |[left, top, width, height]: [f32; 4]| {
            let edges = [left, top, left + width, top + height];
            Corners::from(&BoxXyxy::from_corners(edges))
        };
        let [a, b] = [[0.0, 0.0, 2.0, 2.0], [1.0, 1.0, 2.0, 2.0]].map(corners);
        assert!((a.iou_opencv(&b) - 1.0 / 7.0).abs() < 1e-6);
    }

    #[test]
    fn overlaps_of_boxes_without_area_are_numbers() {
        let point = [1.0, 1.0, 0.0, 0.0];
        for overlap in [iou, iou_crowd, iou_eps] {
            assert_eq!(overlap(&point, &point), 0.0);
        }
    }
}
