//! Softmax along one axis.
use super::{FastStep, Int8, Item};
use crate::RuntimeError;
use crate::placement::Placement;
use crate::step::{Kernel, KernelInfo, Operands, StepError};
use crate::values::{Operand, Values};
use ir::{Node, Op};
use kernels::{Context, View};

/// `exp(x)` by its sum along an axis.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Softmax {
    axis: usize,
    /// Whether the sum runs over that axis only, in the sense of every opset.
    is_plain: bool,
}

impl Softmax {
    /// Whether it is taken over channels.
    pub(crate) fn is_of_channels(self) -> bool {
        self.axis == 1 && self.is_plain
    }
}

impl FastStep for Softmax {
    fn lower(node: &Node, _operands: &mut Vec<Operand>, _values: &Values<'_>) -> Option<Self> {
        let Op::Softmax(softmax) = &node.op else {
            return None;
        };
        // Before opset 13 the sum runs over all axes from this one on: the same where those behind have length 1.
        let others = softmax.coerced.iter().skip(1);
        others.into_iter().all(|&d| d == 1).then_some(Self {
            axis: softmax.axis,
            is_plain: softmax.coerced.is_empty(),
        })
    }

    fn int8(&self) -> Int8 {
        Int8::None
    }

    fn place(&self, item: &Item, placement: &mut Placement<'_>) -> Result<(), RuntimeError> {
        let x = placement.read(item.inputs[0])?;
        let y = placement.place_like(item.output(), &x)?;
        placement.emit_kernel(*self, vec![x], y)
    }
}

impl Kernel for Softmax {
    fn info(&self) -> KernelInfo {
        KernelInfo::f32("Softmax")
    }

    fn run(&self, ctx: &mut Context<'_>, at: &Operands<View>) -> Result<(), StepError> {
        Ok(kernels::softmax(ctx, at.x(), at.y(), self.axis)?)
    }
}
