//! AveragePool.
use super::{FastStep, Int8, Item};
use crate::RuntimeError;
use crate::placement::Placement;
use crate::step::{Kernel, KernelInfo, Operands, StepError};
use crate::values::{Operand, Values};
use ir::{Node, Op};
use kernels::{Context, Pool, View};

/// The mean of each window.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AveragePool(Pool);

impl FastStep for AveragePool {
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

    fn int8(&self) -> Int8 {
        Int8::None
    }

    fn place(&self, item: &Item, placement: &mut Placement<'_>) -> Result<(), RuntimeError> {
        let x = placement.image(item.inputs[0], [0; 4])?;
        let y = placement.place(item.output())?;
        placement.emit_kernel(*self, vec![x], y)
    }
}

impl Kernel for AveragePool {
    fn info(&self) -> KernelInfo {
        KernelInfo::f32("AveragePool")
    }

    fn run(&self, ctx: &mut Context<'_>, at: &Operands<View>) -> Result<(), StepError> {
        Ok(kernels::avg_pool(ctx, at.x(), at.y(), &self.0)?)
    }
}
