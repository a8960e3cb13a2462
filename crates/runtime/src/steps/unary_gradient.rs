//! The gradient of activations.
use super::{FastStep, Int8, Item, OfNode, Unary};
use crate::RuntimeError;
use crate::placement::Placement;
use crate::step::Kernel;
use crate::values::{Operand, Values};
use ir::{Node, Op};
use kernels::Activation;

/// The gradient of an activation's result times the slope at its input.
#[derive(Clone, Copy, Debug)]
pub(crate) struct UnaryGradient(pub(crate) Activation);

impl OfNode for UnaryGradient {
    fn lower(node: &Node, _operands: &mut Vec<Operand>, _values: &Values<'_>) -> Option<Self> {
        let Op::UnaryGradient(gradient) = &node.op else {
            return None;
        };
        Unary::new(gradient.kind).activation().map(Self)
    }
}

impl FastStep for UnaryGradient {
    fn int8(&self) -> Int8 {
        Int8::None
    }

    fn place(&self, item: &Item, placement: &mut Placement<'_>) -> Result<(), RuntimeError> {
        let inputs = placement.read_all(&item.inputs)?;
        let dx = placement.place(item.output())?;
        let activation = self.0;
        let kernel = Kernel::f32("UnaryGradient", move |ctx, at| {
            let [x, dy] = [&at.inputs[0], &at.inputs[1]];
            Ok(kernels::activation_gradient(ctx, activation, x, dy, at.y())?)
        });
        placement.emit_kernel(kernel, inputs, dx)
    }
}
