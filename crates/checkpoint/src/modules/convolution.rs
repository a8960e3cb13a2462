//! Convolution, batch normalisation (arXiv:1502.03167) and the block of both with an activation.
use super::{build, single};
use crate::CheckpointError;
use crate::builder::Builder;
use crate::module::Module;
use crate::tree::Value;
use ir::ValueId;
use ir::ops::{BatchNormalization, Conv, ConvTranspose};

pub(super) fn conv2d(
    builder: &mut Builder<'_, '_>,
    module: &Module<'_>,
    inputs: &[ValueId],
) -> Result<ValueId, CheckpointError> {
    let [ph, pw] = padding(module)?;
    let op = Conv {
        kernel_shape: module.pair("kernel_size")?,
        strides: module.pair("stride")?.map(|s| s.max(1)),
        dilations: module.pair("dilation")?.map(|d| d.max(1)),
        pads: [ph, pw, ph, pw],
        group: module.count("groups")?.max(1),
    };
    let operands = operands(builder, module, single(module, inputs)?)?;
    builder.node(module, op, &operands)
}

pub(super) fn conv_transpose2d(
    builder: &mut Builder<'_, '_>,
    module: &Module<'_>,
    inputs: &[ValueId],
) -> Result<ValueId, CheckpointError> {
    let [ph, pw] = padding(module)?;
    let op = ConvTranspose {
        kernel_shape: module.pair("kernel_size")?.map(|k| k.max(1)),
        strides: module.pair("stride")?.map(|s| s.max(1)),
        dilations: module.pair("dilation")?.map(|d| d.max(1)),
        pads: [ph, pw, ph, pw],
        output_padding: module.pair("output_padding")?,
        group: module.count("groups")?.max(1),
    };
    let operands = operands(builder, module, single(module, inputs)?)?;
    builder.node(module, op, &operands)
}

fn padding(module: &Module<'_>) -> Result<[usize; 2], CheckpointError> {
    if module
        .text("padding_mode")
        .is_some_and(|mode| mode != "zeros")
    {
        return Err(module.unsupported("padding with other values than 0"));
    }
    module.pair("padding")
}

/// The input, the weight and the bias where there is one.
fn operands(
    builder: &mut Builder<'_, '_>,
    module: &Module<'_>,
    x: ValueId,
) -> Result<Vec<ValueId>, CheckpointError> {
    let weight = module.required_tensor("weight")?;
    let mut operands = vec![x, builder.weight(module, "weight", weight)?];
    if let Some(bias) = module.tensor("bias") {
        operands.push(builder.weight(module, "bias", bias)?);
    }
    Ok(operands)
}

pub(super) fn batch_norm(
    builder: &mut Builder<'_, '_>,
    module: &Module<'_>,
    inputs: &[ValueId],
) -> Result<ValueId, CheckpointError> {
    let mut operands = vec![single(module, inputs)?];
    for name in ["weight", "bias", "running_mean", "running_var"] {
        let id = module.required_tensor(name)?;
        operands.push(builder.weight(module, name, id)?);
    }
    let epsilon = module.number("eps")? as f32;
    builder.node(module, BatchNormalization { epsilon }, &operands)
}

/// Convolution, normalisation unless it is folded already, activation.
pub(super) fn block(
    builder: &mut Builder<'_, '_>,
    module: &Module<'_>,
    inputs: &[ValueId],
) -> Result<ValueId, CheckpointError> {
    let mut x = super::build_child(builder, module, "conv", single(module, inputs)?)?;
    for name in ["bn", "act"] {
        if let Some(child) = module.find(name)? {
            x = build(builder, &child, &[x])?;
        }
    }
    // An activation that is not a module is a function the pickle holds by name.
    match module.attribute("act").map(|a| module.tree.value(a)) {
        None | Some(Value::None) => Ok(x),
        Some(_) => Err(module.unsupported("an activation that is not a module")),
    }
}
