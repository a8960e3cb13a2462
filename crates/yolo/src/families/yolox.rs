//! YOLOX (arXiv:2107.08430): anchor-free, decoupled head.
use crate::heads::{Family, Kind};
use crate::{Placement, Preprocess, Thresholds};

/// Each scale has three output convolutions: classes, box, objectness.
pub(super) const FAMILY: Family = Family {
    name: "yolox",
    preprocess: Preprocess { placement: Placement::TopLeft, scale: 1.0, bgr: true },
    // Source: YOLOX's demo for ONNX Runtime.
    thresholds: Thresholds { conf: 0.3, iou: 0.45 },
    fits: |head| head.kind == Kind::Offsets && !head.is_picked,
    picks: false,
    kind: Kind::Offsets,
    gives: "[1, N, 5 + classes] with a row for each cell of strides 8, 16 and 32, or maps of box, objectness and classes at every scale",
    network: None,
};
