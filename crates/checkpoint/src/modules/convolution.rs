//! Convolution, batch normalisation (arXiv:1502.03167) and the blocks of both with an activation.
use super::scope::{Built, Scope};
use crate::CheckpointError;
use crate::module::Module;
use crate::tree::Value;
use ir::ValueId;
use ir::ops::{BatchNormalization, Conv, ConvTranspose};

pub(super) fn conv2d(s: &mut Scope<'_, '_>, x: ValueId) -> Built {
    let m = s.module;
    let (kernel_shape, dilations) = (m.pair("kernel_size")?, m.pair("dilation")?.map(|d| d.max(1)));
    let op = Conv {
        kernel_shape,
        strides: m.pair("stride")?.map(|s| s.max(1)),
        dilations,
        pads: pads(m, kernel_shape, dilations)?,
        group: m.count("groups")?.max(1),
    };
    let operands = operands(s, x)?;
    s.node(op, &operands)
}

pub(super) fn conv_transpose2d(s: &mut Scope<'_, '_>, x: ValueId) -> Built {
    let m = s.module;
    let [ph, pw] = m.pair("padding")?;
    let op = ConvTranspose {
        kernel_shape: m.pair("kernel_size")?.map(|k| k.max(1)),
        strides: m.pair("stride")?.map(|s| s.max(1)),
        dilations: m.pair("dilation")?.map(|d| d.max(1)),
        pads: [ph, pw, ph, pw],
        output_padding: m.pair("output_padding")?,
        group: m.count("groups")?.max(1),
    };
    let operands = operands(s, x)?;
    s.node(op, &operands)
}

/// Padding at top, left, bottom and right: counts, or the words for none and for an output of the input's size.
fn pads(
    m: &Module<'_>,
    kernel: [usize; 2],
    dilations: [usize; 2],
) -> Result<[usize; 4], CheckpointError> {
    if m.text("padding_mode").is_some_and(|mode| mode != "zeros") {
        return Err(m.unsupported("padding with other values than 0"));
    }
    match m.text("padding") {
        Some("valid") => Ok([0; 4]),
        Some("same") => {
            let total = |axis: usize| dilations[axis].saturating_mul(kernel[axis].max(1) - 1);
            let [h, w] = [total(0), total(1)];
            Ok([h / 2, w / 2, h - h / 2, w - w / 2])
        }
        Some(_) => Err(m.unsupported("this word for padding")),
        None => m.pair("padding").map(|[h, w]| [h, w, h, w]),
    }
}

/// The input, the weight and the bias where there is one.
fn operands(s: &mut Scope<'_, '_>, x: ValueId) -> Result<Vec<ValueId>, CheckpointError> {
    let mut operands = vec![x, s.weight("weight")?];
    if s.module.tensor("bias").is_some() {
        operands.push(s.weight("bias")?);
    }
    Ok(operands)
}

pub(super) fn batch_norm(s: &mut Scope<'_, '_>, x: ValueId) -> Built {
    let mut operands = vec![x];
    for (name, value) in [("weight", 1.0), ("bias", 0.0)] {
        operands.push(match s.module.tensor(name) {
            Some(_) => s.weight(name)?,
            // Without a scale and shift of its own (`affine=False`).
            None => {
                let [c, ..] = s.image(x)?;
                s.charge(c.saturating_mul(4))?;
                s.constant(name, &[c], vec![value; c])?
            }
        });
    }
    for name in ["running_mean", "running_var"] {
        operands.push(s.weight(name)?);
    }
    let epsilon = s.module.number("eps")? as f32;
    s.node(BatchNormalization { epsilon }, &operands)
}

/// Convolution, normalisation unless it is folded already, activation.
pub(super) fn block(s: &mut Scope<'_, '_>, x: ValueId) -> Built {
    let x = s.child("conv", x)?;
    finish(s, x)
}

/// As [`block`], with a transposed convolution.
pub(super) fn transposed_block(s: &mut Scope<'_, '_>, x: ValueId) -> Built {
    let x = s.child("conv_transpose", x)?;
    finish(s, x)
}

/// As [`block`], with a second convolution of one pixel beside the first until they are merged.
pub(super) fn parallel_block(s: &mut Scope<'_, '_>, x: ValueId) -> Built {
    let mut y = s.child("conv", x)?;
    if let Some(second) = s.module.find("cv2")? {
        let second = s.run(&second, x)?;
        y = s.add(y, second)?;
    }
    finish(s, y)
}

/// Normalisation and activation, where they are there.
fn finish(s: &mut Scope<'_, '_>, x: ValueId) -> Built {
    let y = s.optional_chain(&["bn", "act"], x)?;
    // An activation that is not a module is a function the pickle holds by name.
    match s.module.attribute("act").map(|a| s.module.tree.value(a)) {
        None | Some(Value::None) => Ok(y),
        Some(_) => Err(s.module.unsupported("an activation that is not a module")),
    }
}

/// A convolution of one pixel, then a depthwise one.
pub(super) fn light(s: &mut Scope<'_, '_>, x: ValueId) -> Built {
    s.chain(&["conv1", "conv2"], x)
}
