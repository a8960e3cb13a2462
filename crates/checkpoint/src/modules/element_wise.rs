//! Activations.
use super::single;
use crate::CheckpointError;
use crate::builder::Builder;
use crate::module::Module;
use ir::ValueId;
use ir::ops::UnaryKind;

pub(super) fn identity(
    _: &mut Builder<'_, '_>,
    module: &Module<'_>,
    inputs: &[ValueId],
) -> Result<ValueId, CheckpointError> {
    single(module, inputs)
}

pub(super) fn activation(
    builder: &mut Builder<'_, '_>,
    module: &Module<'_>,
    inputs: &[ValueId],
) -> Result<ValueId, CheckpointError> {
    builder.node(module, kind(module)?, &[single(module, inputs)?])
}

/// The function of an activation.
pub(super) fn kind(module: &Module<'_>) -> Result<UnaryKind, CheckpointError> {
    Ok(match module.class {
        "SiLU" => UnaryKind::Silu,
        "ReLU" => UnaryKind::Relu,
        "ReLU6" => UnaryKind::Clip { min: 0.0, max: 6.0 },
        "LeakyReLU" => UnaryKind::LeakyRelu {
            alpha: module.number("negative_slope")? as f32,
        },
        "Hardswish" => UnaryKind::HardSwish,
        "Hardsigmoid" => UnaryKind::HardSigmoid {
            alpha: 1.0 / 6.0,
            beta: 0.5,
        },
        "Sigmoid" => UnaryKind::Sigmoid,
        "Tanh" => UnaryKind::Tanh,
        _ => return Err(module.unsupported("this activation")),
    })
}
