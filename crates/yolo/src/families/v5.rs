//! YOLOv5 (v6.0 to v7.0), and YOLOv3 and v7 as its successors export them: anchors at each cell.
use crate::heads::{Family, Kind};
use crate::{LETTERBOX, Thresholds};

/// Each output convolution predicts, for each anchor of a cell, a box, an objectness and the classes.
pub(super) const FAMILY: Family = Family {
    name: "v5",
    preprocess: LETTERBOX,
    // Source: YOLOv5's detect.py.
    thresholds: Thresholds { conf: 0.25, iou: 0.45 },
    fits: |head| matches!(head.kind, Kind::Anchors(_)) && !head.is_picked,
    picks: false,
    kind: Kind::Anchors(1),
    gives: "[1, N, 5 + classes], or a map of anchors x (5 + classes) channels at every scale",
    network: None,
};
