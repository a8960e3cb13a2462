//! Functions of one value, element by element: activations and the like.
use super::{FastStep, Int8, Item};
use crate::RuntimeError;
use crate::placement::Placement;
use crate::step::{Kernel, KernelInfo, Operands, StepError};
use crate::values::{Operand, Values};
use ir::ops::{TranscendentalKind, UnaryKind};
use ir::{Node, Op};
use kernels::{Activation, Context, UnaryOp, View};

/// One function applied to every element.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Unary(pub(crate) UnaryOp);

impl Unary {
    /// The function, if convolutions can apply it to their sums.
    pub(crate) fn activation(&self) -> Option<Activation> {
        match self.0 {
            UnaryOp::Activation(activation) => Some(activation),
            _ => None,
        }
    }
}

impl FastStep for Unary {
    fn lower(node: &Node, _operands: &mut Vec<Operand>, _values: &Values<'_>) -> Option<Self> {
        match &node.op {
            Op::Unary(unary) => Some(Self(unary_op(unary.kind))),
            Op::Transcendental(t) => transcendental_op(t.kind).map(Self),
            _ => None,
        }
    }

    fn int8(&self) -> Int8 {
        Int8::ElementWise(Box::new(*self))
    }

    fn place(&self, item: &Item, placement: &mut Placement<'_>) -> Result<(), RuntimeError> {
        let x = placement.read(item.inputs[0])?;
        let y = placement.place(item.output())?;
        placement.emit_kernel(*self, vec![x], y)
    }
}

impl Kernel for Unary {
    fn info(&self) -> KernelInfo {
        KernelInfo::f32("Unary")
    }

    fn run(&self, ctx: &mut Context<'_>, at: &Operands<View>) -> Result<(), StepError> {
        Ok(kernels::unary(ctx, self.0, at.x(), at.y())?)
    }
}

fn unary_op(kind: UnaryKind) -> UnaryOp {
    UnaryOp::Activation(match kind {
        UnaryKind::Sigmoid => Activation::Sigmoid,
        UnaryKind::Silu => Activation::Silu,
        UnaryKind::Relu => Activation::Relu,
        UnaryKind::LeakyRelu { alpha } => Activation::LeakyRelu { alpha },
        UnaryKind::HardSigmoid { alpha, beta } => Activation::HardSigmoid { alpha, beta },
        UnaryKind::HardSwish => Activation::HardSwish,
        UnaryKind::Tanh => Activation::Tanh,
        UnaryKind::Clip { min, max } => Activation::Clip { min, max },
        UnaryKind::Exp => return UnaryOp::Exp,
        UnaryKind::Log => return UnaryOp::Log,
        UnaryKind::Sqrt => return UnaryOp::Sqrt,
        UnaryKind::Neg => return UnaryOp::Neg,
        UnaryKind::Abs => return UnaryOp::Abs,
        UnaryKind::Floor => return UnaryOp::Floor,
        UnaryKind::Ceil => return UnaryOp::Ceil,
        UnaryKind::Round => return UnaryOp::Round,
        UnaryKind::Reciprocal => return UnaryOp::Reciprocal,
    })
}
/// The kernel of a rarer function; `None` where the reference computes it.
fn transcendental_op(kind: TranscendentalKind) -> Option<UnaryOp> {
    Some(match kind {
        TranscendentalKind::Erf => UnaryOp::Erf,
        TranscendentalKind::Softplus => UnaryOp::Softplus,
        TranscendentalKind::Mish => UnaryOp::Mish,
        TranscendentalKind::Gelu { tanh: false } => UnaryOp::Gelu,
        TranscendentalKind::Gelu { tanh: true } => UnaryOp::GeluTanh,
        TranscendentalKind::Elu { alpha } => UnaryOp::Elu { alpha },
        TranscendentalKind::Selu { .. }
        | TranscendentalKind::Softsign
        | TranscendentalKind::Sign
        | TranscendentalKind::Sin
        | TranscendentalKind::Cos => return None,
    })
}
