//! AveragePool.
use super::{FastStep, Int8, Item, OfNode};
use crate::RuntimeError;
use crate::placement::Placement;
use crate::step::Kernel;
use crate::values::{Operand, Values};
use ir::{Node, Op};
use kernels::Pool;

/// The mean of each window.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AveragePool(Pool);

impl OfNode for AveragePool {
    fn lower(node: &Node, _operands: &mut Vec<Operand>, _values: &Values<'_>) -> Option<Self> {
        let Op::AveragePool(pool) = &node.op else {
            return None;
        };
        Some(Self(Pool {
            kernel: pool.kernel_shape,
            strides: pool.strides,
            dilations: pool.dilations,
            pads: pool.pads,
            count_include_pad: pool.count_include_pad,
        }))
    }
}

impl FastStep for AveragePool {
    fn int8(&self) -> Int8 {
        Int8::None
    }

    fn place(&self, item: &Item, placement: &mut Placement<'_>) -> Result<(), RuntimeError> {
        let pool = self.0;
        let kernel = Kernel::f32("AveragePool", move |ctx, at| {
            Ok(kernels::avg_pool(ctx, at.x(), at.y(), &pool)?)
        });
        let x = placement.image(item.inputs[0], [0; 4])?;
        let y = placement.place(item.output())?;
        placement.emit_kernel(kernel, vec![x], y)
    }
}
