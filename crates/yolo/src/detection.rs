//! Boxes and detections.

use serde::{Deserialize, Serialize};

/// A box by its corners.
///
/// # Units
/// Pixels, of the network's input or of the original image as the place says.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct BoxXyxy {
    /// Left edge.
    pub left: f32,
    /// Top edge.
    pub top: f32,
    /// Right edge.
    pub right: f32,
    /// Bottom edge.
    pub bottom: f32,
}

impl BoxXyxy {
    /// A box from its left, top, right and bottom edges.
    pub fn from_corners([left, top, right, bottom]: [f32; 4]) -> Self {
        Self { left, top, right, bottom }
    }

    /// Whether all four edges are numbers, none of them infinite.
    pub fn is_finite(&self) -> bool {
        let edges = [self.left, self.top, self.right, self.bottom];
        edges.iter().all(|e| e.is_finite())
    }

    /// A box from its centre and size, as YOLO heads give it.
    pub fn from_center(x: f32, y: f32, width: f32, height: f32) -> Self {
        Self {
            left: x - width / 2.0,
            top: y - height / 2.0,
            right: x + width / 2.0,
            bottom: y + height / 2.0,
        }
    }

    /// The box, moved by so much to the right and down.
    pub fn shifted(self, x: f32, y: f32) -> Self {
        let Self { left, top, right, bottom } = self;
        Self { left: left + x, top: top + y, right: right + x, bottom: bottom + y }
    }

    /// Left, top, width and height, as COCO writes boxes.
    pub fn xywh(&self) -> [f64; 4] {
        let (left, top) = (f64::from(self.left), f64::from(self.top));
        [left, top, f64::from(self.right) - left, f64::from(self.bottom) - top]
    }
}

/// One object found by a detector.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Detection {
    /// Where.
    pub bbox: BoxXyxy,
    /// Confidence in 0..1.
    pub score: f32,
    /// Class index of the detector.
    pub class: usize,
}

/// What counts as a detection.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Thresholds {
    /// Lowest confidence.
    pub conf: f32,
    /// Highest overlap of two boxes of one class.
    pub iou: f32,
}
