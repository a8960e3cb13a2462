//! Attention within areas of the image (YOLOv12, arXiv:2502.12524, section 3.2): runs of rows attend to themselves.
use super::{build, build_child, single};
use crate::CheckpointError;
use crate::builder::Builder;
use crate::module::Module;
use ir::ops::{BinaryKind, Concat, MatMul, Reshape, Softmax, Split, Transpose};
use ir::{Tensor, ValueId};

/// Stages in a row, all of which go into the last convolution; a learned factor scales it where there is a shortcut.
pub(super) fn a2c2f(
    builder: &mut Builder<'_, '_>,
    module: &Module<'_>,
    inputs: &[ValueId],
) -> Result<ValueId, CheckpointError> {
    let x = single(module, inputs)?;
    let mut parts = vec![build_child(builder, module, "cv1", x)?];
    for stage in module.child("m")?.children()? {
        let last = parts[parts.len() - 1];
        parts.push(build(builder, &stage, &[last])?);
    }
    let all = builder.node(module, Concat { axis: 1 }, &parts)?;
    let y = build_child(builder, module, "cv2", all)?;
    let Some(gamma) = module.tensor("gamma") else {
        return Ok(y);
    };
    let gamma = builder.tensor(module, "gamma", gamma)?;
    let shape = [1, gamma.len(), 1, 1];
    let gamma = gamma
        .reshaped(shape)
        .map_err(|source| CheckpointError::Operator {
            at: module.path.clone(),
            source,
        })?;
    let gamma = builder.constant(module, "gamma", gamma)?;
    let y = builder.node(module, BinaryKind::Mul, &[y, gamma])?;
    builder.node(module, BinaryKind::Add, &[x, y])
}

/// Attention, then a pair of convolutions, each beside a shortcut.
pub(super) fn block(
    builder: &mut Builder<'_, '_>,
    module: &Module<'_>,
    inputs: &[ValueId],
) -> Result<ValueId, CheckpointError> {
    let mut x = single(module, inputs)?;
    for name in ["attn", "mlp"] {
        let y = build(builder, &module.child(name)?, &[x])?;
        x = builder.node(module, BinaryKind::Add, &[x, y])?;
    }
    Ok(x)
}

/// Every head's channels hold q, k and v of the same width; areas take the place of the batch.
pub(super) fn attention(
    builder: &mut Builder<'_, '_>,
    module: &Module<'_>,
    inputs: &[ValueId],
) -> Result<ValueId, CheckpointError> {
    let x = single(module, inputs)?;
    let [_, h, w] = builder.image(x, module)?;
    let (areas, heads, width) = (
        module.count("area")?.max(1),
        module.count("num_heads")?,
        module.count("head_dim")?,
    );
    let qkv = build_child(builder, module, "qkv", x)?;
    let positions = h * w / areas;
    let shape = vec![heads, width.saturating_mul(3), areas, positions];
    let qkv = builder.node(module, Reshape { shape }, &[qkv])?;
    let perm = vec![2, 0, 1, 3];
    let qkv = builder.node(module, Transpose { perm }, &[qkv])?;
    let sizes = vec![width; 3];
    let parts = builder.nodes(module, Split { axis: 2, sizes }, &[qkv], 3)?;
    let swap = || Transpose {
        perm: vec![0, 1, 3, 2],
    };
    let scale = Tensor::scalar((width as f32).powf(-0.5));
    let scale = builder.constant(module, "scale", scale)?;
    let q = builder.node(module, BinaryKind::Mul, &[parts[0], scale])?;
    let q = builder.node(module, swap(), &[q])?;
    let scores = builder.node(module, MatMul::default(), &[q, parts[1]])?;
    let softmax = Softmax {
        axis: 3,
        coerced: vec![],
    };
    let weights = builder.node(module, softmax, &[scores])?;
    let weights = builder.node(module, swap(), &[weights])?;
    let mixed = builder.node(module, MatMul::default(), &[parts[2], weights])?;
    let shape = vec![1, heads.saturating_mul(width), h, w];
    let mut images = Vec::with_capacity(2);
    for part in [mixed, parts[2]] {
        let perm = vec![1, 2, 0, 3];
        let part = builder.node(module, Transpose { perm }, &[part])?;
        let shape = shape.clone();
        images.push(builder.node(module, Reshape { shape }, &[part])?);
    }
    let position = build_child(builder, module, "pe", images[1])?;
    let y = builder.node(module, BinaryKind::Add, &[images[0], position])?;
    build_child(builder, module, "proj", y)
}
