//! The gradient of MaxPool.
use super::max_pool::window;
use super::{FastStep, Int8, Item, OfNode};
use crate::RuntimeError;
use crate::placement::Placement;
use crate::step::Kernel;
use crate::values::{Operand, Values};
use ir::{Node, Op};
use kernels::Pool;

/// The gradient of each window goes to the first of its largest elements.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MaxPoolGradient(Pool);

impl OfNode for MaxPoolGradient {
    fn lower(node: &Node, _operands: &mut Vec<Operand>, _values: &Values<'_>) -> Option<Self> {
        match &node.op {
            Op::MaxPoolGradient(gradient) => Some(Self(window(&gradient.pool))),
            _ => None,
        }
    }
}

impl FastStep for MaxPoolGradient {
    fn int8(&self) -> Int8 {
        Int8::None
    }

    fn place(&self, item: &Item, placement: &mut Placement<'_>) -> Result<(), RuntimeError> {
        let x = placement.image(item.inputs[0], [0; 4])?;
        let dy = placement.image(item.inputs[1], [0; 4])?;
        let dx = placement.place(item.output())?;
        let pool = self.0;
        let kernel = Kernel::f32("MaxPoolGradient", move |ctx, at| {
            let [x, dy] = [&at.inputs[0], &at.inputs[1]];
            Ok(kernels::max_pool_gradient(ctx, x, dy, at.y(), &pool)?)
        });
        placement.emit_kernel(kernel, vec![x, dy], dx)
    }
}
