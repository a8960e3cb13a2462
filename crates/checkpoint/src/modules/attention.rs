//! Position-sensitive attention (YOLOv10, arXiv:2405.14458, section 3.2): heads over positions, keys of half a head's width.
use super::cross_stage;
use super::scope::{Built, Scope};
use ir::ValueId;
use ir::ops::{MatMul, Reshape, Softmax, Split, Transpose};

/// One half of the channels passes the attention blocks.
pub(super) fn c2psa(s: &mut Scope<'_, '_>, x: ValueId) -> Built {
    let parts = cross_stage::halves(s, x)?;
    let attended = s.child("m", parts[1])?;
    let both = s.concat(&[parts[0], attended])?;
    s.child("cv2", both)
}

/// As C2PSA, with one block's attention and convolutions as its own.
pub(super) fn psa(s: &mut Scope<'_, '_>, x: ValueId) -> Built {
    let parts = cross_stage::halves(s, x)?;
    let mut x = parts[1];
    for name in ["attn", "ffn"] {
        let y = s.child(name, x)?;
        x = s.add(x, y)?;
    }
    let both = s.concat(&[parts[0], x])?;
    s.child("cv2", both)
}

/// Attention, then a feed-forward pair of convolutions, each beside a shortcut.
pub(super) fn block(s: &mut Scope<'_, '_>, mut x: ValueId) -> Built {
    for name in ["attn", "ffn"] {
        let y = s.child(name, x)?;
        x = s.shortcut(x, y)?;
    }
    Ok(x)
}

/// `proj(v · softmax(qᵀk · scale)ᵀ + pe(v))`, with q, k and v side by side in each head's channels.
pub(super) fn attention(s: &mut Scope<'_, '_>, x: ValueId) -> Built {
    let [c, h, w] = s.image(x)?;
    let (heads, key, head) =
        (s.module.count("num_heads")?, s.module.count("key_dim")?, s.module.count("head_dim")?);
    let qkv = s.child("qkv", x)?;
    let sizes = vec![key, key, head];
    let width = sizes.iter().fold(0usize, |n, &s| n.saturating_add(s));
    let positions = h * w;
    let shape = vec![1, heads, width, positions];
    let qkv = s.node(Reshape { shape }, &[qkv])?;
    let parts = s.nodes(Split { axis: 2, sizes }, &[qkv], 3)?;
    let (q, k, v) = (parts[0], parts[1], parts[2]);
    let scores = scores(s, q, k)?;
    let scale = s.module.number("scale")? as f32;
    let scale = s.scalar("scale", scale)?;
    let scores = s.mul(scores, scale)?;
    let mixed = weighted(s, v, scores)?;
    let image = || Reshape { shape: vec![1, c, h, w] };
    let mixed = s.node(image(), &[mixed])?;
    let v = s.node(image(), &[v])?;
    let position = s.child("pe", v)?;
    let y = s.add(mixed, position)?;
    s.child("proj", y)
}

/// `qᵀk` of each head: how much each position looks at each other.
pub(super) fn scores(s: &mut Scope<'_, '_>, q: ValueId, k: ValueId) -> Built {
    let q = transposed(s, q)?;
    s.node(MatMul::default(), &[q, k])
}

/// `v · softmax(scores)ᵀ`: the values of all positions, weighted by the scores.
pub(super) fn weighted(s: &mut Scope<'_, '_>, v: ValueId, scores: ValueId) -> Built {
    let softmax = Softmax { axis: 3, coerced: vec![] };
    let weights = s.node(softmax, &[scores])?;
    let weights = transposed(s, weights)?;
    s.node(MatMul::default(), &[v, weights])
}

/// The last two axes in turn.
fn transposed(s: &mut Scope<'_, '_>, x: ValueId) -> Built {
    let perm = vec![0, 1, 3, 2];
    s.node(Transpose { perm }, &[x])
}
