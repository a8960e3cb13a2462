//! The kernels' names for the graph's operations.
use ir::ops::BinaryKind;
use kernels::{Activation, BinaryOp, QActivation};

/// An element-wise operation of two values.
pub(crate) fn binary_op(kind: BinaryKind) -> BinaryOp {
    match kind {
        BinaryKind::Add => BinaryOp::Add,
        BinaryKind::Sub => BinaryOp::Sub,
        BinaryKind::Mul => BinaryOp::Mul,
        BinaryKind::Div => BinaryOp::Div,
        BinaryKind::Pow => BinaryOp::Pow,
    }
}

/// The integer epilogue's activation; `None` where it has none.
pub(crate) fn q_activation(activation: Activation) -> Option<QActivation> {
    Some(match activation {
        Activation::Identity => QActivation::Identity,
        Activation::Relu => QActivation::Relu,
        Activation::LeakyRelu { alpha } => QActivation::LeakyRelu { alpha },
        Activation::Clip { min, max } => QActivation::Clip { min, max },
        Activation::HardSwish => QActivation::HardSwish,
        Activation::Silu => QActivation::Silu,
        Activation::Sigmoid => QActivation::Sigmoid,
        Activation::HardSigmoid { .. } | Activation::Tanh => return None,
    })
}
