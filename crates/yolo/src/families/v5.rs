//! YOLOv5 (v6.0 to v7.0): three anchors a cell, boxes decoded inside the graph, output `[1, N, 5 + classes]`.
use super::{Family, LETTERBOX, RawOutput, Tail, single_output};
use crate::{BoxXyxy, Detection};
use ir::Graph;

/// Each output convolution predicts, for each anchor of a cell, a box, an objectness and the classes.
pub(super) const FAMILY: Family = Family {
    name: "v5",
    preprocess: LETTERBOX,
    classes,
    forced: |graph, _| row_classes(graph),
    decode: |raw, conf| decode(raw, conf, |_, b| b),
    nms: true,
};

/// What `[1, N, 5 + classes]` says of the classes.
pub(super) fn row_classes(graph: &Graph) -> Option<usize> {
    let [_, row] = single_output(graph)?;
    row.checked_sub(5).filter(|&c| c > 0)
}

fn classes(graph: &Graph, tail: &Tail) -> Option<usize> {
    let classes = row_classes(graph)?;
    let per_anchor = |w: &usize| w.is_multiple_of(classes + 5);
    let fits = !tail.widths.is_empty() && tail.widths.iter().all(per_anchor);
    (fits && tail.dfl_bins.is_none()).then_some(classes)
}

/// Rows of centre, size, objectness and class scores; `place` turns a row's raw box into pixels.
pub(super) fn decode(
    raw: &RawOutput<'_>,
    conf: f32,
    place: impl Fn(usize, [f32; 4]) -> [f32; 4],
) -> Vec<Detection> {
    let mut found = Vec::new();
    for (i, row) in raw.data.chunks_exact(raw.shape[1].max(5)).enumerate() {
        let (bbox, objectness, scores) = (&row[..4], row[4], &row[5..]);
        if objectness <= conf {
            continue;
        }
        let [x, y, w, h] = place(i, [bbox[0], bbox[1], bbox[2], bbox[3]]);
        let bbox = BoxXyxy::from_center(x, y, w, h);
        let above = scores
            .iter()
            .enumerate()
            .map(|(class, s)| (class, s * objectness))
            .filter(|(_, s)| *s > conf);
        found.extend(above.map(|(class, score)| Detection { bbox, score, class }));
    }
    found
}
