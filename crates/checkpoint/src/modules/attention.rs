//! Position-sensitive attention (YOLOv10, arXiv:2405.14458, section 3.2): heads over positions, keys of half a head's width.
use super::{build, build_child, cross_stage, single};
use crate::CheckpointError;
use crate::builder::Builder;
use crate::module::Module;
use ir::ops::{BinaryKind, Concat, MatMul, Reshape, Softmax, Split, Transpose};
use ir::{Tensor, ValueId};

/// One half of the channels passes the attention blocks.
pub(super) fn c2psa(
    builder: &mut Builder<'_, '_>,
    module: &Module<'_>,
    inputs: &[ValueId],
) -> Result<ValueId, CheckpointError> {
    let parts = cross_stage::halves(builder, module, single(module, inputs)?)?;
    let attended = build_child(builder, module, "m", parts[1])?;
    let both = builder.node(module, Concat { axis: 1 }, &[parts[0], attended])?;
    build_child(builder, module, "cv2", both)
}

/// As C2PSA, with one block's attention and convolutions as its own.
pub(super) fn psa(
    builder: &mut Builder<'_, '_>,
    module: &Module<'_>,
    inputs: &[ValueId],
) -> Result<ValueId, CheckpointError> {
    let parts = cross_stage::halves(builder, module, single(module, inputs)?)?;
    let mut x = parts[1];
    for name in ["attn", "ffn"] {
        let y = build_child(builder, module, name, x)?;
        x = builder.node(module, BinaryKind::Add, &[x, y])?;
    }
    let both = builder.node(module, Concat { axis: 1 }, &[parts[0], x])?;
    build_child(builder, module, "cv2", both)
}

/// Attention, then a feed-forward pair of convolutions, each beside a shortcut.
pub(super) fn block(
    builder: &mut Builder<'_, '_>,
    module: &Module<'_>,
    inputs: &[ValueId],
) -> Result<ValueId, CheckpointError> {
    let mut x = single(module, inputs)?;
    for name in ["attn", "ffn"] {
        let y = build(builder, &module.child(name)?, &[x])?;
        x = match module.flag("add") {
            true => builder.node(module, BinaryKind::Add, &[x, y])?,
            false => y,
        };
    }
    Ok(x)
}

/// `proj(v · softmax(qᵀk · scale)ᵀ + pe(v))`, with q, k and v side by side in each head's channels.
pub(super) fn attention(
    builder: &mut Builder<'_, '_>,
    module: &Module<'_>,
    inputs: &[ValueId],
) -> Result<ValueId, CheckpointError> {
    let x = single(module, inputs)?;
    let [c, h, w] = builder.image(x, module)?;
    let (heads, key, head) = (
        module.count("num_heads")?,
        module.count("key_dim")?,
        module.count("head_dim")?,
    );
    let qkv = build_child(builder, module, "qkv", x)?;
    let sizes = vec![key, key, head];
    let width = sizes.iter().fold(0usize, |n, &s| n.saturating_add(s));
    let positions = h * w;
    let shape = vec![1, heads, width, positions];
    let qkv = builder.node(module, Reshape { shape }, &[qkv])?;
    let parts = builder.nodes(module, Split { axis: 2, sizes }, &[qkv], 3)?;
    let (q, k, v) = (parts[0], parts[1], parts[2]);
    let swap = || Transpose {
        perm: vec![0, 1, 3, 2],
    };
    let q = builder.node(module, swap(), &[q])?;
    let scores = builder.node(module, MatMul::default(), &[q, k])?;
    let scale = Tensor::scalar(module.number("scale")? as f32);
    let scale = builder.constant(module, "scale", scale)?;
    let scores = builder.node(module, BinaryKind::Mul, &[scores, scale])?;
    let softmax = Softmax {
        axis: 3,
        coerced: vec![],
    };
    let weights = builder.node(module, softmax, &[scores])?;
    let weights = builder.node(module, swap(), &[weights])?;
    let mixed = builder.node(module, MatMul::default(), &[v, weights])?;
    let image = || Reshape {
        shape: vec![1, c, h, w],
    };
    let mixed = builder.node(module, image(), &[mixed])?;
    let v = builder.node(module, image(), &[v])?;
    let position = build_child(builder, module, "pe", v)?;
    let y = builder.node(module, BinaryKind::Add, &[mixed, position])?;
    build_child(builder, module, "proj", y)
}
