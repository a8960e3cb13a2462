//! Activations, and modules that change nothing when a model is not trained.
use super::scope::{Built, Scope};
use crate::CheckpointError;
use crate::module::Module;
use ir::ops::{Extremum, PRelu, UnaryKind};
use ir::{Op, ValueId};

pub(super) fn identity(_: &mut Scope<'_, '_>, x: ValueId) -> Built {
    Ok(x)
}

pub(super) fn activation(s: &mut Scope<'_, '_>, x: ValueId) -> Built {
    let function = function(s.module)?;
    s.node(function, &[x])
}

/// The function of an activation. Where PyTorch and ONNX call it and its parameters alike, nothing needs to be said.
pub(crate) fn function(m: &Module<'_>) -> Result<Op, CheckpointError> {
    let number = |name| m.number(name).map(|n| n as f32);
    let kind = match m.class {
        "SiLU" | "Swish" | "MemoryEfficientSwish" => UnaryKind::Silu,
        "ReLU6" => UnaryKind::Clip { min: 0.0, max: 6.0 },
        "Hardtanh" => UnaryKind::Clip { min: number("min_val")?, max: number("max_val")? },
        "LeakyReLU" => UnaryKind::LeakyRelu { alpha: number("negative_slope")? },
        "Hardsigmoid" => UnaryKind::HardSigmoid { alpha: 1.0 / 6.0, beta: 0.5 },
        "MemoryEfficientMish" => UnaryKind::Mish,
        "GELU" if m.text("approximate") == Some("tanh") => UnaryKind::GeluTanh,
        "Softplus" if number("beta")? != 1.0 => {
            return Err(m.unsupported("this form of the activation"));
        }
        // Its numbers are constants in PyTorch, the same as ONNX's defaults.
        "SELU" => UnaryKind::Selu { alpha: 1.673_263_2, gamma: 1.050_701 },
        class => match UnaryKind::named(class, |name| number(name).map(Some))? {
            Some(kind) => kind,
            None => return Err(m.unsupported("this form of the activation")),
        },
    };
    Ok(kind.into())
}

/// `x` where it is not negative, otherwise `x` times a learned slope: one for all channels, or one for each.
pub(super) fn p_relu(s: &mut Scope<'_, '_>, x: ValueId) -> Built {
    let slopes = s.tensor("weight")?;
    let slopes = slopes.as_slice::<f32>().map_err(|e| s.operator(e))?;
    if let &[alpha] = slopes {
        return s.node(UnaryKind::LeakyRelu { alpha }, &[x]);
    }
    let slope = s.constant("weight", &[slopes.len(), 1, 1], slopes.to_vec())?;
    s.node(PRelu, &[x, slope])
}

/// The larger of `x` and what a depthwise convolution makes of it (arXiv:2007.11824).
pub(super) fn funnel(s: &mut Scope<'_, '_>, x: ValueId) -> Built {
    let y = s.chain(&["conv", "bn"], x)?;
    s.node(Extremum { largest: true }, &[x, y])
}
