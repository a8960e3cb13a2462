//! The sum over all pixels of all images, channel by channel: what the gradient of a bias is.
use super::{FastStep, Int8, Item, OfNode};
use crate::RuntimeError;
use crate::placement::Placement;
use crate::step::Kernel;
use crate::values::{Operand, Values};
use ir::ops::ReduceKind;
use ir::{Node, Op};

/// A sum over all axes of an image but its channels.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ChannelSum;

impl OfNode for ChannelSum {
    fn lower(node: &Node, _operands: &mut Vec<Operand>, values: &Values<'_>) -> Option<Self> {
        let Op::Reduce(reduce) = &node.op else {
            return None;
        };
        let is_sum = reduce.kind == ReduceKind::Sum && reduce.keepdims;
        let is_image = values.rank(Operand::f32(node.inputs[0])) == 4;
        (is_sum && is_image && reduce.axes == [0, 2, 3]).then_some(Self)
    }
}

impl FastStep for ChannelSum {
    fn int8(&self) -> Int8 {
        Int8::None
    }

    fn place(&self, item: &Item, placement: &mut Placement<'_>) -> Result<(), RuntimeError> {
        let x = placement.image(item.inputs[0], [0; 4])?;
        let y = placement.place(item.output())?;
        let kernel =
            Kernel::f32("ChannelSum", |ctx, at| Ok(kernels::channel_sum(ctx, at.x(), at.y())?));
        placement.emit_kernel(kernel, vec![x], y)
    }
}
