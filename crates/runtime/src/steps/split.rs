//! Split: each part is a view of what is split.
use super::{FastStep, Int8, Item, OfNode};
use crate::RuntimeError;
use crate::layout::At;
use crate::placement::Placement;
use crate::values::{Operand, Values};
use ir::{Node, Op, ops};

/// Parts of a value that follow each other along an axis.
#[derive(Clone, Debug)]
pub(crate) struct Split(pub(crate) ops::Split);

impl OfNode for Split {
    fn lower(node: &Node, _operands: &mut Vec<Operand>, _values: &Values<'_>) -> Option<Self> {
        match &node.op {
            Op::Split(split) => Some(Self(split.clone())),
            _ => None,
        }
    }
}

impl FastStep for Split {
    fn int8(&self) -> Int8 {
        Int8::Moves
    }

    fn place(&self, item: &Item, placement: &mut Placement<'_>) -> Result<(), RuntimeError> {
        let x = placement.read(item.inputs[0])?;
        let axis = self.0.axis;
        let mut start = 0;
        for (&part, &len) in item.outputs.iter().zip(&self.0.sizes) {
            let view = placement.check(x.view.slice(axis, start, len))?;
            let covers_pixels = x.covers_pixels && axis == 1;
            placement.set(part, At { view, covers_pixels, ..x });
            start += len;
        }
        Ok(())
    }
}
