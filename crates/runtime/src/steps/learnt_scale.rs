//! FakeQuantize whose scale is computed or learnt.
use super::{FakeQuantize, FastStep, Int8, Item, OfNode};
use crate::RuntimeError;
use crate::placement::Placement;
use crate::step::{Kernel, StepError};
use crate::values::{Operand, Values};
use ir::{Node, Op};
use kernels::{Context, UnaryOp, View};

/// The quantization; the item's second input is its scale.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LearntScale(kernels::FakeQuantize);

impl LearntScale {
    /// With a scale that is read when it runs.
    pub(super) fn new(quantize: kernels::FakeQuantize) -> Self {
        Self(quantize)
    }

    /// The quantization with the scale that is there now.
    pub(super) fn now(
        self,
        ctx: &Context<'_>,
        scale: &View,
    ) -> Result<kernels::FakeQuantize, StepError> {
        let mut now = [0.0];
        ctx.f32_arena.read_into(scale, &mut now)?;
        Ok(kernels::FakeQuantize { scale: now[0], ..self.0 })
    }
}

impl OfNode for LearntScale {
    fn lower(node: &Node, _operands: &mut Vec<Operand>, _values: &Values<'_>) -> Option<Self> {
        let Op::FakeQuantize(op) = &node.op else {
            return None;
        };
        (node.inputs.len() == 2).then(|| Self(FakeQuantize::of(op, op.params.scale()[0])))
    }
}

impl FastStep for LearntScale {
    fn int8(&self) -> Int8 {
        Int8::None
    }

    fn place(&self, item: &Item, placement: &mut Placement<'_>) -> Result<(), RuntimeError> {
        let inputs = placement.read_all(&item.inputs)?;
        let y = placement.place(item.output())?;
        let this = *self;
        let kernel = Kernel::f32("FakeQuantize", move |ctx, at| {
            let op = UnaryOp::FakeQuantize(this.now(ctx, &at.inputs[1])?);
            Ok(kernels::unary(ctx, op, at.x(), at.y())?)
        });
        placement.emit_kernel(kernel, inputs, y)
    }
}
