//! MaxPool: of quantized values as of f32, since their order is the same.
use super::{FastStep, Int8, Item};
use crate::RuntimeError;
use crate::placement::Placement;
use crate::step::{Kernel, KernelInfo, Operands, StepError};
use crate::values::{Form, Operand, Values};
use ir::{Node, Op};
use kernels::{Context, Pool, View};

/// The largest element of each window.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MaxPool(Pool);

impl FastStep for MaxPool {
    fn lower(node: &Node, _operands: &mut Vec<Operand>, _values: &Values<'_>) -> Option<Self> {
        let Op::MaxPool(pool) = &node.op else {
            return None;
        };
        Some(Self(Pool {
            kernel: pool.kernel_shape,
            strides: pool.strides,
            dilations: pool.dilations,
            pads: pool.pads,
            count_include_pad: false,
        }))
    }

    fn int8(&self) -> Int8 {
        Int8::Moves
    }

    fn place(&self, item: &Item, placement: &mut Placement<'_>) -> Result<(), RuntimeError> {
        let x = placement.image(item.inputs[0], [0; 4])?;
        let y = placement.place(item.output())?;
        match item.inputs[0].form {
            Form::F32 => placement.emit_kernel(*self, vec![x], y),
            Form::U8 => placement.emit_kernel(MaxPoolU8(self.0), vec![x], y),
        }
    }
}

impl Kernel for MaxPool {
    fn info(&self) -> KernelInfo {
        KernelInfo::f32("MaxPool")
    }

    fn run(&self, ctx: &mut Context<'_>, at: &Operands<View>) -> Result<(), StepError> {
        Ok(kernels::max_pool(ctx, at.x(), at.y(), &self.0)?)
    }
}

#[derive(Clone, Copy, Debug)]
struct MaxPoolU8(Pool);

impl Kernel for MaxPoolU8 {
    fn info(&self) -> KernelInfo {
        KernelInfo::int8("QMaxPool")
    }

    fn run(&self, ctx: &mut Context<'_>, at: &Operands<View>) -> Result<(), StepError> {
        Ok(kernels::q_max_pool(ctx, at.x(), at.y(), &self.0)?)
    }
}
