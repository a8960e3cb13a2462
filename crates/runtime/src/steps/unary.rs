//! Functions of one value, element by element: activations and the like.
use super::{FastStep, Int8, Item, OfNode};
use crate::RuntimeError;
use crate::placement::Placement;
use crate::step::Kernel;
use crate::values::{Operand, Values};
use ir::ops::UnaryKind;
use ir::{Node, Op};
use kernels::{Activation, UnaryOp};

/// One function applied to every element.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Unary(UnaryKind);

impl Unary {
    /// The step of a function.
    pub(super) fn new(kind: UnaryKind) -> Self {
        Self(kind)
    }

    /// The function, if convolutions can apply it to their sums.
    pub(crate) fn activation(&self) -> Option<Activation> {
        match self.vectorized()? {
            UnaryOp::Activation(activation) => Some(activation),
            _ => None,
        }
    }

    /// The kernel that computes whole vectors; `None` where the function is evaluated number by number.
    pub(crate) fn vectorized(&self) -> Option<UnaryOp> {
        let activation = match self.0 {
            UnaryKind::Sigmoid => Activation::Sigmoid,
            UnaryKind::Silu => Activation::Silu,
            UnaryKind::Relu => Activation::Relu,
            UnaryKind::LeakyRelu { alpha } => Activation::LeakyRelu { alpha },
            UnaryKind::HardSigmoid { alpha, beta } => Activation::HardSigmoid { alpha, beta },
            UnaryKind::HardSwish => Activation::HardSwish,
            UnaryKind::Tanh => Activation::Tanh,
            UnaryKind::Clip { min, max } => Activation::Clip { min, max },
            UnaryKind::Exp => return Some(UnaryOp::Exp),
            UnaryKind::Log => return Some(UnaryOp::Log),
            UnaryKind::Sqrt => return Some(UnaryOp::Sqrt),
            UnaryKind::Neg => return Some(UnaryOp::Neg),
            UnaryKind::Abs => return Some(UnaryOp::Abs),
            UnaryKind::Floor => return Some(UnaryOp::Floor),
            UnaryKind::Ceil => return Some(UnaryOp::Ceil),
            UnaryKind::Round => return Some(UnaryOp::Round),
            UnaryKind::Reciprocal => return Some(UnaryOp::Reciprocal),
            UnaryKind::Erf => return Some(UnaryOp::Erf),
            UnaryKind::Softplus => return Some(UnaryOp::Softplus),
            UnaryKind::Mish => return Some(UnaryOp::Mish),
            UnaryKind::Gelu => return Some(UnaryOp::Gelu),
            UnaryKind::GeluTanh => return Some(UnaryOp::GeluTanh),
            UnaryKind::Elu { alpha } => return Some(UnaryOp::Elu { alpha }),
            _ => return None,
        };
        Some(UnaryOp::Activation(activation))
    }
}

impl Unary {
    fn kernel(self) -> Kernel {
        if let Some(op) = self.vectorized() {
            return Kernel::f32("Unary", move |ctx, at| {
                Ok(kernels::unary(ctx, op, at.x(), at.y())?)
            });
        }
        Kernel::f32("Unary", move |ctx, at| {
            let function = |x: f32| self.0.eval(f64::from(x)) as f32;
            Ok(kernels::map_elements(ctx, &function, at.x(), at.y())?)
        })
    }
}

impl OfNode for Unary {
    fn lower(node: &Node, _operands: &mut Vec<Operand>, _values: &Values<'_>) -> Option<Self> {
        match &node.op {
            Op::Unary(unary) => Some(Self(unary.kind)),
            _ => None,
        }
    }
}

impl FastStep for Unary {
    fn int8(&self) -> Int8 {
        Int8::ElementWise(Box::new(self.kernel()))
    }

    fn place(&self, item: &Item, placement: &mut Placement<'_>) -> Result<(), RuntimeError> {
        placement.emit_unary(self.kernel(), item.inputs[0], item.output())
    }
}
