//! Heads that predict more than boxes: recognised, so that they are refused by name.
use super::Tail;
use ir::Graph;

/// What the model predicts, where its head is a detection head with a third branch at every scale, or anchors with more
/// than boxes.
pub(super) fn task(graph: &Graph, tail: &Tail) -> Option<&'static str> {
    let shapes: Vec<&[usize]> = graph
        .outputs()
        .iter()
        .map(|&v| graph.ty(v).map_or(&[][..], |t| &t.shape))
        .collect();
    match shapes[..] {
        // Coefficients of prototype masks beside each box, and the prototypes.
        [&[1, _, _], &[1, prototypes, h, w]] if h > 1 && w > 1 && prototypes > 1 => {
            Some("segmentation masks")
        }
        [&[1, rows, _]] => third_branch(tail, rows),
        // A class for the whole image.
        [&[1, classes]] if classes > 1 => Some("a class for the whole image"),
        _ => None,
    }
}

/// Boxes, classes and something of `extra` numbers make up a column of `rows`.
fn third_branch(tail: &Tail, rows: usize) -> Option<&'static str> {
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
    let angle = (0..3).any(|i| i != at && kinds[i] == 1);
    Some(if angle {
        "oriented boxes"
    } else {
        "keypoints beside its boxes"
    })
}
