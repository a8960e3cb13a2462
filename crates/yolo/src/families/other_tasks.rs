//! Heads that predict more than boxes: recognised, so that they are refused by name.
use ir::{Graph, Op, Tail};

/// What the model predicts, where its head is a detection head with a third branch at every scale, or anchors with more
/// than boxes.
pub(super) fn task(graph: &Graph, tail: &Tail) -> Option<&'static str> {
    let shapes: Vec<&[usize]> =
        graph.outputs().iter().map(|&v| graph.ty(v).map_or(&[][..], |t| &t.shape)).collect();
    match shapes[..] {
        // Coefficients of prototype masks beside each box, and the prototypes.
        [&[1, _, _], &[1, prototypes, h, w]] if h > 1 && w > 1 && prototypes > 1 => {
            Some("segmentation masks")
        }
        // Rows that were picked inside the graph: corners, score, class, and more.
        [&[1, _, row]] if row > 6 && tail.picks(graph) => extra_of(tail, row - 6),
        [&[1, rows, _]] => third_branch(graph, tail, rows),
        // A class for the whole image.
        [&[1, classes]] if classes > 1 => Some("a class for the whole image"),
        _ => None,
    }
}

/// What `extra` numbers for each box are, where a branch of every scale has them.
fn extra_of(tail: &Tail, extra: usize) -> Option<&'static str> {
    let scales = tail.widths.iter().filter(|&&w| w == extra).count();
    let is_third = scales > 0 && scales * 3 == tail.widths.len();
    is_third.then_some(match extra {
        1 => "oriented boxes",
        _ => "keypoints beside its boxes",
    })
}

/// Boxes, classes and something of `extra` numbers make up a column of `rows`.
fn third_branch(graph: &Graph, tail: &Tail, rows: usize) -> Option<&'static str> {
    let boxes = 4 * tail.dfl_bins.unwrap_or(1);
    let scales = tail.widths.len() / 3;
    if scales == 0 || !tail.widths.len().is_multiple_of(3) {
        return None;
    }
    let mut kinds = tail.widths.clone();
    kinds.sort_unstable();
    let kinds: Vec<usize> = kinds.chunks(scales).map(|c| c[0]).collect();
    let whole = tail.widths.iter().all(|w| kinds.contains(w));
    let at = kinds.iter().position(|&k| k == boxes)?;
    let others: usize = kinds.iter().sum::<usize>() - kinds[at];
    if !whole || rows != 4 + others {
        return None;
    }
    // A branch of one number may be the angle, or the score of the only class beside keypoints, which are cut apart.
    let one = (0..3).any(|i| i != at && kinds[i] == 1);
    let points = tail.nodes.iter().any(|&id| match &graph.node(id).op {
        Op::Reshape(r) => match r.shape[..] {
            [_, points, numbers @ (2 | 3), _] => kinds.contains(&(points * numbers)),
            _ => false,
        },
        _ => false,
    });
    Some(if one && !points { "oriented boxes" } else { "keypoints beside its boxes" })
}
