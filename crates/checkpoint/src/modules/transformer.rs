//! Attention between all positions as `torch.nn.MultiheadAttention` computes it (arXiv:1706.03762), and the blocks around it.
//! Positions stay an image, so that every linear layer is a convolution of one pixel.
use super::attention;
use super::scope::{Built, Scope};
use ir::ops::{BinaryKind, Conv, Reduce, ReduceKind, Reshape, UnaryKind};
use ir::{Tensor, ValueId};

/// An optional convolution, a learned position, then layers.
pub(super) fn block(s: &mut Scope<'_, '_>, x: ValueId) -> Built {
    let x = s.optional_chain(&["conv"], x)?;
    let position = s.child("linear", x)?;
    let x = s.add(x, position)?;
    s.child("tr", x)
}

/// Attention, then two linear layers, each beside a shortcut.
pub(super) fn layer(s: &mut Scope<'_, '_>, x: ValueId) -> Built {
    let mut operands = [x; 3];
    for (operand, name) in operands.iter_mut().zip(["q", "k", "v"]) {
        *operand = s.child(name, x)?;
    }
    let y = attend(s, operands)?;
    let x = s.add(y, x)?;
    let y = s.chain(&["fc1", "fc2"], x)?;
    s.add(y, x)
}

/// RT-DETR's encoder (arXiv:2304.08069, section 4.2): positions as sines, a normalisation behind each sum or before each part.
pub(super) fn encoder(s: &mut Scope<'_, '_>, x: ValueId) -> Built {
    let positions = sines(s, x)?;
    if s.module.flag("normalize_before") {
        let y = s.child("norm1", x)?;
        let q = s.add(y, positions)?;
        let y = attend(s, [q, q, y])?;
        let x = s.add(x, y)?;
        let y = s.chain(&["norm2", "fc1", "act", "fc2"], x)?;
        return s.add(x, y);
    }
    let q = s.add(x, positions)?;
    let y = attend(s, [q, q, x])?;
    let y = s.add(x, y)?;
    let x = s.child("norm1", y)?;
    let y = s.chain(&["fc1", "act", "fc2"], x)?;
    let y = s.add(x, y)?;
    s.child("norm2", y)
}

/// Sines and cosines of the column and of the row at ever longer waves. As the encoder states them, the positions run down
/// the columns, whereas those of the image run along its rows; for square images both number the same grid.
fn sines(s: &mut Scope<'_, '_>, x: ValueId) -> Built {
    let [c, h, w] = s.image(x)?;
    let waves = c / 4;
    if waves * 4 != c {
        return Err(s.module.unsupported("positions in channels that are not a multiple of 4"));
    }
    let bytes = c.saturating_mul(h).saturating_mul(w).saturating_mul(4);
    s.charge(bytes)?;
    let mut values = Vec::with_capacity(c * h * w);
    for channel in 0..c {
        let wave = 10000f64.powf(-((channel % waves) as f64) / waves as f64);
        for position in 0..h * w {
            let place = if channel < 2 * waves { position / h } else { position % h };
            let angle = place as f64 * wave;
            let is_sine = channel / waves % 2 == 0;
            values.push(if is_sine { angle.sin() } else { angle.cos() } as f32);
        }
    }
    s.constant("positions", &[1, c, h, w], values)
}

/// `ma`: linear layers for queries, keys and values in one tensor, attention in heads, a linear layer behind it.
fn attend(s: &mut Scope<'_, '_>, operands: [ValueId; 3]) -> Built {
    let inner = s.module.child("ma")?;
    let mut s = s.within(&inner);
    let [c, h, w] = s.image(operands[2])?;
    let heads = s.module.count("num_heads")?.max(1);
    let width = c / heads;
    let projected = project(&mut s, operands, c)?;
    let shape = vec![1, heads, width, h * w];
    let mut parts = [operands[0]; 3];
    for (part, value) in parts.iter_mut().zip(projected) {
        let shape = shape.clone();
        *part = s.node(Reshape { shape }, &[value])?;
    }
    let [q, k, v] = parts;
    let scale = s.scalar("scale", (width as f32).powf(-0.5))?;
    let q = s.mul(q, scale)?;
    let scores = attention::scores(&mut s, q, k)?;
    let mixed = attention::weighted(&mut s, v, scores)?;
    let shape = vec![1, c, h, w];
    let mixed = s.node(Reshape { shape }, &[mixed])?;
    s.child("out_proj", mixed)
}

/// Queries, keys and values, each by its third of the rows of `in_proj_weight`.
fn project(
    s: &mut Scope<'_, '_>,
    operands: [ValueId; 3],
    c: usize,
) -> Result<[ValueId; 3], crate::CheckpointError> {
    if ["bias_k", "bias_v"].iter().any(|n| s.module.tensor(n).is_some()) {
        return Err(s.module.unsupported("biases of keys and values"));
    }
    let third = |t: &Tensor, i: usize, shape: &[usize]| -> Result<Tensor, ir::OpError> {
        let all = t.as_slice::<f32>()?;
        let len: usize = shape.iter().product();
        let expected = len.saturating_mul(3);
        if all.len() != expected {
            return Err(ir::OpError::ElementCount {
                shape: t.shape().to_vec(),
                expected,
                found: all.len(),
            });
        }
        Tensor::new(shape, all[i * len..][..len].to_vec())
    };
    let weight = s.tensor("in_proj_weight")?;
    let bias = match s.module.tensor("in_proj_bias") {
        Some(_) => Some(s.tensor("in_proj_bias")?),
        None => None,
    };
    let mut projected = operands;
    for (i, (value, name)) in projected.iter_mut().zip(["q", "k", "v"]).enumerate() {
        let part = third(&weight, i, &[c, c, 1, 1]).map_err(|e| s.operator(e))?;
        let mut inputs = vec![*value, s.tensor_constant(&format!("{name}.weight"), part)?];
        if let Some(bias) = &bias {
            let part = third(bias, i, &[c]).map_err(|e| s.operator(e))?;
            inputs.push(s.tensor_constant(&format!("{name}.bias"), part)?);
        }
        *value = s.node(one_pixel(), &inputs)?;
    }
    Ok(projected)
}

fn one_pixel() -> Conv {
    Conv { kernel_shape: [1, 1], strides: [1, 1], dilations: [1, 1], pads: [0; 4], group: 1 }
}

/// A linear layer over channels, as a convolution of one pixel.
pub(super) fn linear(s: &mut Scope<'_, '_>, x: ValueId) -> Built {
    let weight = s.tensor("weight")?;
    let mut shape = weight.shape().to_vec();
    shape.extend([1, 1]);
    let weight = weight.reshaped(shape).map_err(|e| s.operator(e))?;
    let mut inputs = vec![x, s.tensor_constant("weight", weight)?];
    if s.module.tensor("bias").is_some() {
        inputs.push(s.weight("bias")?);
    }
    s.node(one_pixel(), &inputs)
}

/// Normalisation of each position over its channels (arXiv:1607.06450).
pub(super) fn layer_norm(s: &mut Scope<'_, '_>, x: ValueId) -> Built {
    let mean = || Reduce { kind: ReduceKind::Mean, axes: vec![1], keepdims: true };
    let centre = s.node(mean(), &[x])?;
    let x = s.node(BinaryKind::Sub, &[x, centre])?;
    let square = s.mul(x, x)?;
    let variance = s.node(mean(), &[square])?;
    let epsilon = s.module.number("eps")? as f32;
    let epsilon = s.scalar("eps", epsilon)?;
    let variance = s.add(variance, epsilon)?;
    let deviation = s.node(UnaryKind::Sqrt, &[variance])?;
    let mut y = s.node(BinaryKind::Div, &[x, deviation])?;
    for (name, kind) in [("weight", BinaryKind::Mul), ("bias", BinaryKind::Add)] {
        if s.module.tensor(name).is_some() {
            let values = s.channel_weight(name)?;
            y = s.node(kind, &[y, values])?;
        }
    }
    Ok(y)
}
