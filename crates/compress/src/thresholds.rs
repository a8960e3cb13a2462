//! By what detections are counted.
use yolo::Thresholds;

/// Confidence and overlap at which accuracy is measured.
pub const THRESHOLDS: Thresholds = Thresholds { conf: 0.001, iou: 0.7 };
