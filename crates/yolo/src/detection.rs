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
    /// A box from its centre and size, as YOLO heads give it.
    pub fn from_center(x: f32, y: f32, width: f32, height: f32) -> Self {
        Self {
            left: x - width / 2.0,
            top: y - height / 2.0,
            right: x + width / 2.0,
            bottom: y + height / 2.0,
        }
    }

    /// Left, top, width and height, as COCO writes boxes.
    pub fn xywh(&self) -> [f64; 4] {
        let (left, top) = (f64::from(self.left), f64::from(self.top));
        [
            left,
            top,
            f64::from(self.right) - left,
            f64::from(self.bottom) - top,
        ]
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
