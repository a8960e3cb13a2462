//! YOLOv8, YOLO11 and YOLO26 without end-to-end tail, and others without anchors (YOLOv6, v9, v12): each scale has two
//! output convolutions, boxes and classes. Boxes are distributions over bins (DFL, arXiv:2006.04388), in YOLO26 plain distances.
use crate::heads::{Evidence, Family, Kind};
use crate::{LETTERBOX, Thresholds};
use ir::Op;

mod network;

/// Source: Ultralytics' `predict`.
pub(super) const THRESHOLDS: Thresholds = Thresholds { conf: 0.25, iou: 0.7 };

/// Each scale has two output convolutions: four distributions of a box, and the classes.
pub(super) const FAMILY: Family = Family {
    name: "v8",
    preprocess: LETTERBOX,
    thresholds: THRESHOLDS,
    fits: |head| fits(head, |bins| bins > 1),
    picks: false,
    kind: Kind::Distances(1),
    gives: "[1, 4 + classes, N], boxes and scores apart, or maps of boxes and of classes at every scale",
    network: Some(network::build),
};

/// YOLO11: as v8, the classes come from depthwise convolutions.
pub(super) const V11: Family = Family {
    name: "v11",
    fits: |head| fits(head, |bins| bins > 1) && (head.is_forced || has_depthwise_tower(head)),
    network: None,
    ..FAMILY
};

/// YOLO26 with its tail of one detection for each position: a distance for each side instead of a distribution.
pub(super) const V26: Family =
    Family { name: "v26", fits: |head| fits(head, |bins| bins == 1), network: None, ..FAMILY };

fn fits(head: &Evidence<'_>, bins: fn(usize) -> bool) -> bool {
    match head.kind {
        Kind::Distances(found) => !head.is_picked && (head.is_forced || bins(found)),
        _ => false,
    }
}

/// Whether a depthwise convolution stands before the last but one pointwise step of an output convolution.
fn has_depthwise_tower(head: &Evidence<'_>) -> bool {
    const REACH: usize = 8;
    let graph = head.graph;
    let is_depthwise = |id| match &graph.node(id).op {
        Op::Conv(conv) => conv.group > 1,
        _ => false,
    };
    head.tail.output_convs.iter().any(|&id| {
        let mut at = Some(id);
        (0..REACH).any(|_| {
            at = at.and_then(|id| graph.producer(graph.node(id).inputs[0]));
            at.is_some_and(is_depthwise)
        })
    })
}
