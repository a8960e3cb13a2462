//! Softmax along one axis.
use super::{FastStep, Int8, Item, OfNode};
use crate::RuntimeError;
use crate::placement::Placement;
use crate::step::Kernel;
use crate::values::{Operand, Values};
use ir::{Node, Op};

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

impl OfNode for Softmax {
    fn lower(node: &Node, _operands: &mut Vec<Operand>, _values: &Values<'_>) -> Option<Self> {
        let Op::Softmax(softmax) = &node.op else {
            return None;
        };
        // Before opset 13 the sum runs over all axes from this one on: the same where those behind have length 1.
        let mut others = softmax.coerced.iter().skip(1);
        others
            .all(|&d| d == 1)
            .then_some(Self { axis: softmax.axis, is_plain: softmax.coerced.is_empty() })
    }
}

impl FastStep for Softmax {
    fn int8(&self) -> Int8 {
        Int8::None
    }

    fn place(&self, item: &Item, placement: &mut Placement<'_>) -> Result<(), RuntimeError> {
        let axis = self.axis;
        let kernel =
            Kernel::f32("Softmax", move |ctx, at| Ok(kernels::softmax(ctx, at.x(), at.y(), axis)?));
        let x = placement.read(item.inputs[0])?;
        let y = placement.place_like(item.output(), &x)?;
        placement.emit_kernel(kernel, vec![x], y)
    }
}
