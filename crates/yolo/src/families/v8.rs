//! YOLOv8, YOLO11 and YOLO26 without end-to-end tail: anchor-free, output `[1, 4 + classes, N]`. Boxes are distributions
//! over bins (DFL, arXiv:2006.04388), in YOLO26 plain distances.
use super::{Family, LETTERBOX, RawOutput, Tail, dfl_classes, single_output};
use crate::{BoxXyxy, Detection};
use ir::{Graph, Op};

/// Each scale has two output convolutions: four distributions of a box, and the classes.
pub(super) const FAMILY: Family = Family {
    name: "v8",
    preprocess: LETTERBOX,
    classes: |graph, tail| classes(graph, tail, tail.dfl_bins?),
    forced: |graph, _| single_output(graph).and_then(|s| (s[1] > s[0]).then(|| columns(graph))?),
    decode,
    nms: true,
};

/// YOLO11: as v8, the classes come from depthwise convolutions.
pub(super) const V11: Family = Family {
    name: "v11",
    classes: |graph, tail| {
        let classes = classes(graph, tail, tail.dfl_bins?)?;
        has_depthwise_tower(graph, tail).then_some(classes)
    },
    ..FAMILY
};

/// YOLO26 with its tail of one detection for each position: a distance for each side instead of a distribution.
pub(super) const V26: Family = Family {
    name: "v26",
    classes: |graph, tail| match tail.dfl_bins {
        None => classes(graph, tail, 1),
        Some(_) => None,
    },
    ..FAMILY
};

/// What `[1, 4 + classes, N]` says of the classes.
fn columns(graph: &Graph) -> Option<usize> {
    let [row, cells] = single_output(graph)?;
    row.checked_sub(4).filter(|&c| c > 0 && cells > 0)
}

fn classes(graph: &Graph, tail: &Tail, bins: usize) -> Option<usize> {
    let classes = columns(graph)?;
    (dfl_classes(tail, bins) == Some(classes)).then_some(classes)
}

/// Whether a depthwise convolution stands before the last but one pointwise step of an output convolution.
fn has_depthwise_tower(graph: &Graph, tail: &Tail) -> bool {
    const REACH: usize = 8;
    let is_depthwise = |id| match &graph.node(id).op {
        Op::Conv(conv) => conv.group > 1,
        _ => false,
    };
    tail.output_convs.iter().any(|&id| {
        let mut at = Some(id);
        (0..REACH).any(|_| {
            at = at.and_then(|id| graph.producer(graph.node(id).inputs[0]));
            at.is_some_and(is_depthwise)
        })
    })
}

fn decode(raw: &RawOutput<'_>, conf: f32) -> Vec<Detection> {
    let [rows, n] = raw.shape;
    let at = |row: usize, i: usize| raw.data[row * n + i];
    let mut found = Vec::new();
    for class in 0..rows.saturating_sub(4) {
        let scores = &raw.data[(4 + class) * n..(5 + class) * n];
        for (i, &score) in scores.iter().enumerate().filter(|(_, s)| **s > conf) {
            found.push((
                i,
                Detection {
                    bbox: BoxXyxy::from_center(at(0, i), at(1, i), at(2, i), at(3, i)),
                    score,
                    class,
                },
            ));
        }
    }
    // Cell by cell, so that equal scores keep the order of the cells.
    found.sort_by_key(|(i, d)| (*i, d.class));
    found.into_iter().map(|(_, d)| d).collect()
}
