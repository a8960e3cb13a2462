//! Attention within areas of the image (YOLOv12, arXiv:2502.12524, section 3.2): runs of rows attend to themselves.
use super::scope::{Built, Scope};
use super::{attention, cross_stage};
use ir::ValueId;
use ir::ops::{Reshape, Split, Transpose};

/// Stages in a row, all of which go into the last convolution; a learned factor scales it where there is a shortcut.
pub(super) fn a2c2f(s: &mut Scope<'_, '_>, x: ValueId) -> Built {
    let mut parts = vec![s.child("cv1", x)?];
    cross_stage::stages(s, &mut parts)?;
    let all = s.concat(&parts)?;
    let y = s.child("cv2", all)?;
    if s.module.tensor("gamma").is_none() {
        return Ok(y);
    }
    let gamma = s.channel_weight("gamma")?;
    let y = s.mul(y, gamma)?;
    s.add(x, y)
}

/// Attention, then a pair of convolutions, each beside a shortcut.
pub(super) fn block(s: &mut Scope<'_, '_>, mut x: ValueId) -> Built {
    for name in ["attn", "mlp"] {
        let y = s.child(name, x)?;
        x = s.add(x, y)?;
    }
    Ok(x)
}

/// Every head's channels hold q, k and v of the same width; areas take the place of the batch.
pub(super) fn area_attention(s: &mut Scope<'_, '_>, x: ValueId) -> Built {
    let [_, h, w] = s.image(x)?;
    let (areas, heads, width) =
        (s.module.count("area")?.max(1), s.module.count("num_heads")?, s.module.count("head_dim")?);
    let qkv = s.child("qkv", x)?;
    let positions = h * w / areas;
    let shape = vec![heads, width.saturating_mul(3), areas, positions];
    let qkv = s.node(Reshape { shape }, &[qkv])?;
    let perm = vec![2, 0, 1, 3];
    let qkv = s.node(Transpose { perm }, &[qkv])?;
    let sizes = vec![width; 3];
    let parts = s.nodes(Split { axis: 2, sizes }, &[qkv], 3)?;
    let scale = s.scalar("scale", (width as f32).powf(-0.5))?;
    let q = s.mul(parts[0], scale)?;
    let scores = attention::scores(s, q, parts[1])?;
    let mixed = attention::weighted(s, parts[2], scores)?;
    let shape = vec![1, heads.saturating_mul(width), h, w];
    let mut images = Vec::with_capacity(2);
    for part in [mixed, parts[2]] {
        let perm = vec![1, 2, 0, 3];
        let part = s.node(Transpose { perm }, &[part])?;
        let shape = shape.clone();
        images.push(s.node(Reshape { shape }, &[part])?);
    }
    let position = s.child("pe", images[1])?;
    let y = s.add(images[0], position)?;
    s.child("proj", y)
}
