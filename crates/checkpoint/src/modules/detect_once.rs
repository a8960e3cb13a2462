//! The tail of end-to-end models (YOLOv10, arXiv:2405.14458, section 3.1): the best class scores of the best positions.
use crate::CheckpointError;
use crate::builder::Builder;
use crate::module::Module;
use ir::ops::{
    BinaryKind, Cast, Concat, Gather, Mod, Reduce, ReduceKind, Reshape, TopK, Transpose,
};
use ir::{DataType, Tensor, ValueId};

/// Detections of an image where the head does not tell.
const DEFAULT_MAX_DET: usize = 300;

/// From boxes `[1, 4, positions]` and scores `[1, classes, positions]` to the model's output `[1, max_det, 6]`.
pub(super) fn select(
    builder: &mut Builder<'_, '_>,
    module: &Module<'_>,
    boxes: ValueId,
    scores: ValueId,
) -> Result<(), CheckpointError> {
    let (classes, positions) = match *builder.shape(scores) {
        [_, classes, positions] => (classes, positions),
        _ => (0, 0),
    };
    let stated = module.attribute("max_det");
    let limit = stated.map_or(Ok(DEFAULT_MAX_DET), |_| module.count("max_det"))?;
    let k = limit.min(positions);
    let rows = || Transpose {
        perm: vec![0, 2, 1],
    };
    let boxes = builder.node(module, rows(), &[boxes])?;
    let scores = builder.node(module, rows(), &[scores])?;
    let best = Reduce {
        kind: ReduceKind::Max,
        axes: vec![2],
        keepdims: false,
    };
    let best = builder.node(module, best, &[scores])?;
    let positions = builder.nodes(module, first(k), &[best], 2)?[1];
    let boxes = gather(builder, module, boxes, positions)?;
    let scores = gather(builder, module, scores, positions)?;
    let shape = vec![1, k.saturating_mul(classes)];
    let flat = builder.node(module, Reshape { shape }, &[scores])?;
    let chosen = builder.nodes(module, first(k), &[flat], 2)?;
    let width = Tensor::scalar(i64::try_from(classes).unwrap_or(i64::MAX));
    let width = builder.constant(module, "classes", width)?;
    let row = builder.node(module, BinaryKind::Div, &[chosen[1], width])?;
    let class = builder.node(module, Mod { fmod: false }, &[chosen[1], width])?;
    let to = DataType::F32;
    let class = builder.node(module, Cast { to }, &[class])?;
    let boxes = gather(builder, module, boxes, row)?;
    let column = || Reshape {
        shape: vec![1, k, 1],
    };
    let score = builder.node(module, column(), &[chosen[0]])?;
    let class = builder.node(module, column(), &[class])?;
    builder.output(
        module,
        Concat { axis: 2 },
        &[boxes, score, class],
        "output0",
    )?;
    Ok(())
}

fn first(k: usize) -> TopK {
    TopK {
        k,
        axis: 1,
        largest: true,
        sorted: true,
    }
}

/// Rows of `[1, rows, n]` at the indices `[1, k]`.
fn gather(
    builder: &mut Builder<'_, '_>,
    module: &Module<'_>,
    x: ValueId,
    indices: ValueId,
) -> Result<ValueId, CheckpointError> {
    let shape = builder.shape(indices).iter().skip(1).copied().collect();
    let indices = builder.node(module, Reshape { shape }, &[indices])?;
    builder.node(module, Gather { axis: 1 }, &[x, indices])
}
