//! MaxPool: of quantized values as of f32, since their order is the same.
use super::{FastStep, Int8, Item, OfNode};
use crate::RuntimeError;
use crate::placement::Placement;
use crate::step::Kernel;
use crate::values::{Form, Operand, Values};
use ir::{Node, Op, ops};
use kernels::Pool;

/// The largest element of each window.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MaxPool(Pool);

impl OfNode for MaxPool {
    fn lower(node: &Node, _operands: &mut Vec<Operand>, _values: &Values<'_>) -> Option<Self> {
        let Op::MaxPool(pool) = &node.op else {
            return None;
        };
        Some(Self(window(pool)))
    }
}

impl FastStep for MaxPool {
    fn int8(&self) -> Int8 {
        Int8::Moves
    }

    fn place(&self, item: &Item, placement: &mut Placement<'_>) -> Result<(), RuntimeError> {
        let pool = self.0;
        let kernel = match item.inputs[0].form {
            Form::F32 => Kernel::f32("MaxPool", move |ctx, at| {
                Ok(kernels::max_pool(ctx, at.x(), at.y(), &pool)?)
            }),
            Form::U8 => Kernel::int8("QMaxPool", move |ctx, at| {
                Ok(kernels::q_max_pool(ctx, at.x(), at.y(), &pool)?)
            }),
        };
        let x = placement.image(item.inputs[0], [0; 4])?;
        let y = placement.place(item.output())?;
        placement.emit_kernel(kernel, vec![x], y)
    }
}

/// The windows of a MaxPool.
pub(super) fn window(pool: &ops::MaxPool) -> Pool {
    Pool {
        kernel: pool.kernel_shape,
        strides: pool.strides,
        dilations: pool.dilations,
        pads: pool.pads,
        count_include_pad: false,
    }
}
