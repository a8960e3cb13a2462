//! End-to-end heads (YOLOv10, arXiv:2405.14458; YOLO26): each object once, output `[1, K, 6]` of corners, score and class.
use super::v8;
use crate::LETTERBOX;
use crate::heads::{Family, Kind};

/// The best class scores of the best positions are picked inside the graph; nothing is left to suppress.
pub(super) const FAMILY: Family = Family {
    name: "end2end",
    preprocess: LETTERBOX,
    thresholds: v8::THRESHOLDS,
    fits: |head| head.is_picked,
    picks: true,
    kind: Kind::Distances(1),
    gives: "[1, K, 6] of corners, score and class",
    network: None,
};
