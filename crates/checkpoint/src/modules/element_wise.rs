//! Activations, and modules that change nothing when a model is not trained.
use super::scope::{Built, Scope};
use crate::CheckpointError;
use crate::module::Module;
use ir::ops::{Extremum, PRelu, Transcendental, TranscendentalKind, UnaryKind};
use ir::{Op, ValueId};

pub(super) fn identity(_: &mut Scope<'_, '_>, x: ValueId) -> Built {
    Ok(x)
}

pub(super) fn activation(s: &mut Scope<'_, '_>, x: ValueId) -> Built {
    let function = function(s.module)?;
    s.node(function, &[x])
}

/// The function of an activation.
pub(crate) fn function(m: &Module<'_>) -> Result<Op, CheckpointError> {
    let number = |name| m.number(name).map(|n| n as f32);
    let transcendental = |kind| Ok(Transcendental { kind }.into());
    let kind = match m.class {
        "SiLU" | "Swish" | "MemoryEfficientSwish" => UnaryKind::Silu,
        "ReLU" => UnaryKind::Relu,
        "ReLU6" => UnaryKind::Clip { min: 0.0, max: 6.0 },
        "Hardtanh" => UnaryKind::Clip {
            min: number("min_val")?,
            max: number("max_val")?,
        },
        "LeakyReLU" => UnaryKind::LeakyRelu {
            alpha: number("negative_slope")?,
        },
        "Hardswish" => UnaryKind::HardSwish,
        "Hardsigmoid" => UnaryKind::HardSigmoid {
            alpha: 1.0 / 6.0,
            beta: 0.5,
        },
        "Sigmoid" => UnaryKind::Sigmoid,
        "Tanh" => UnaryKind::Tanh,
        "Mish" | "MemoryEfficientMish" => return transcendental(TranscendentalKind::Mish),
        "GELU" => {
            let tanh = m.text("approximate") == Some("tanh");
            return transcendental(TranscendentalKind::Gelu { tanh });
        }
        "ELU" => {
            let alpha = number("alpha")?;
            return transcendental(TranscendentalKind::Elu { alpha });
        }
        "SELU" => {
            // Klambauer et al., arXiv:1706.02515.
            let (alpha, gamma) = (1.673_263_2, 1.050_701);
            return transcendental(TranscendentalKind::Selu { alpha, gamma });
        }
        "Softplus" if number("beta")? == 1.0 => {
            return transcendental(TranscendentalKind::Softplus);
        }
        "Softsign" => return transcendental(TranscendentalKind::Softsign),
        _ => return Err(m.unsupported("this form of the activation")),
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
