//! The tail of end-to-end models (YOLOv10, arXiv:2405.14458, section 3.1): the best class scores of the best positions.
use crate::CheckpointError;
use crate::modules::{Built, Scope};
use ir::ops::{
    BinaryKind, Cast, Concat, Gather, Mod, Reduce, ReduceKind, Reshape, TopK, Transpose,
};
use ir::{DataType, Tensor, ValueId};

/// Detections per image where the head does not state how many.
const DEFAULT_MAX_DET: usize = 300;

/// From boxes `[1, 4, positions]` and scores `[1, classes, positions]` to the model's output `[1, max_det, 6]`.
pub(super) fn select(
    s: &mut Scope<'_, '_>,
    boxes: ValueId,
    scores: ValueId,
) -> Result<(), CheckpointError> {
    let (classes, positions) = match *s.shape(scores) {
        [_, classes, positions] => (classes, positions),
        _ => (0, 0),
    };
    let stated = s.module.attribute("max_det");
    let limit = stated.map_or(Ok(DEFAULT_MAX_DET), |_| s.module.count("max_det"))?;
    let k = limit.min(positions);
    let rows = || Transpose { perm: vec![0, 2, 1] };
    let boxes = s.node(rows(), &[boxes])?;
    let scores = s.node(rows(), &[scores])?;
    let best = Reduce { kind: ReduceKind::Max, axes: vec![2], keepdims: false };
    let best = s.node(best, &[scores])?;
    let positions = s.nodes(first(k), &[best], 2)?[1];
    let boxes = gather(s, boxes, positions)?;
    let scores = gather(s, scores, positions)?;
    let shape = vec![1, k.saturating_mul(classes)];
    let flat = s.node(Reshape { shape }, &[scores])?;
    let chosen = s.nodes(first(k), &[flat], 2)?;
    let width = Tensor::scalar(i64::try_from(classes).unwrap_or(i64::MAX));
    let width = s.tensor_constant("classes", width)?;
    let row = s.node(BinaryKind::Div, &[chosen[1], width])?;
    let class = s.node(Mod { fmod: false }, &[chosen[1], width])?;
    let to = DataType::F32;
    let class = s.node(Cast { to }, &[class])?;
    let boxes = gather(s, boxes, row)?;
    let column = || Reshape { shape: vec![1, k, 1] };
    let score = s.node(column(), &[chosen[0]])?;
    let class = s.node(column(), &[class])?;
    s.output(Concat { axis: 2 }, &[boxes, score, class], "output0")?;
    Ok(())
}

fn first(k: usize) -> TopK {
    TopK { k, axis: 1, largest: true, sorted: true }
}

/// Rows of `[1, rows, n]` at the indices `[1, k]`.
fn gather(s: &mut Scope<'_, '_>, x: ValueId, indices: ValueId) -> Built {
    let shape = s.shape(indices).iter().skip(1).copied().collect();
    let indices = s.node(Reshape { shape }, &[indices])?;
    s.node(Gather { axis: 1 }, &[x, indices])
}
