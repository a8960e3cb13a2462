//! YOLOv8 and v11: anchor-free, boxes as distributions over bins (DFL, arXiv:2006.04388), output `[1, 4 + classes, N]`.
use super::{Family, Preprocess, RawOutput, Tail, single_output};
use crate::{BoxXyxy, Detection, Placement};
use ir::Graph;

/// Each scale has two output convolutions: four distributions of a box, and the classes.
pub(super) const FAMILY: Family = Family {
    name: "v8",
    preprocess: Preprocess {
        placement: Placement::Centered,
        scale: 1.0 / 255.0,
        bgr: false,
    },
    classes,
    decode,
};

fn classes(graph: &Graph, tail: &Tail) -> Option<usize> {
    let [row, cells] = single_output(graph)?;
    let classes = row.checked_sub(4).filter(|&c| c > 0 && cells > row)?;
    let boxes = tail.widths.iter().filter(|&&w| w != classes).count();
    // Where 4 * reg_max equals the number of classes, both towers have one width.
    let towers = tail.widths.len() >= 2 && (boxes * 2 == tail.widths.len() || boxes == 0);
    (tail.has_dfl && towers).then_some(classes)
}

fn decode(raw: &RawOutput<'_>, conf: f32) -> Vec<Detection> {
    let [rows, n] = raw.shape;
    let at = |row: usize, i: usize| raw.data[row * n + i];
    let mut found = Vec::new();
    for class in 0..rows - 4 {
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
