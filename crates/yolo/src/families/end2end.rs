//! End-to-end heads (YOLOv10, arXiv:2405.14458; YOLO26): each object once, output `[1, K, 6]` of corners, score and class.
use super::{Family, LETTERBOX, RawOutput, Tail, dfl_classes, single_output};
use crate::{BoxXyxy, Detection};
use ir::{Graph, Op};

/// The best class scores of the best positions are picked inside the graph; nothing is left to suppress.
pub(super) const FAMILY: Family = Family {
    name: "end2end",
    preprocess: LETTERBOX,
    classes,
    forced: |graph, tail| single_output(graph).and_then(|s| (s[1] == 6).then(|| towers(tail))?),
    decode,
    nms: false,
};

fn classes(graph: &Graph, tail: &Tail) -> Option<usize> {
    let [_, row] = single_output(graph)?;
    let picks = |id| matches!(graph.node(id).op, Op::TopK(_));
    (row == 6 && tail.nodes.iter().any(|&id| picks(id)))
        .then(|| towers(tail))
        .flatten()
}

/// The class branch is as wide as there are classes; the box branch as the bins of its four sides.
fn towers(tail: &Tail) -> Option<usize> {
    dfl_classes(tail, tail.dfl_bins.unwrap_or(1))
}

fn decode(raw: &RawOutput<'_>, conf: f32) -> Vec<Detection> {
    let rows = raw.data.chunks_exact(raw.shape[1].max(6));
    let found = rows.filter(|row| row[4] > conf && row[5] >= 0.0);
    let detection = |row: &[f32]| Detection {
        bbox: BoxXyxy {
            left: row[0],
            top: row[1],
            right: row[2],
            bottom: row[3],
        },
        score: row[4],
        class: row[5] as usize,
    };
    found.map(detection).collect()
}
