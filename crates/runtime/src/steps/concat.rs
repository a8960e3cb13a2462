//! Concat: inputs that were not written in place are copied, and brought to one quantization.
use super::{FastStep, Int8, Item, OfNode};
use crate::RuntimeError;
use crate::layout::{self, At};
use crate::placement::{Placed, Placement};
use crate::values::{Operand, Values};
use ir::{Node, Op};

/// Values one after the other along an axis.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Concat {
    pub(crate) axis: usize,
}

impl OfNode for Concat {
    fn lower(node: &Node, _operands: &mut Vec<Operand>, _values: &Values<'_>) -> Option<Self> {
        match node.op {
            Op::Concat(ref concat) => Some(Self { axis: concat.axis }),
            _ => None,
        }
    }
}

impl FastStep for Concat {
    fn int8(&self) -> Int8 {
        Int8::Moves
    }

    fn place(&self, item: &Item, placement: &mut Placement<'_>) -> Result<(), RuntimeError> {
        let whole = placement.place(item.output())?;
        let mut start = 0;
        for part in self.parts(item, placement)? {
            let len = part.at.view.shape[self.axis];
            let view = placement.check(whole.view.slice(self.axis, start, len))?;
            start += len;
            let result = Placed { value: item.output(), at: At { view, ..whole } };
            placement.emit_conversion(part, result)?;
        }
        Ok(())
    }
}

impl Concat {
    /// The inputs; parts of one value that follow each other, as after a Split, are moved together.
    fn parts(
        self,
        item: &Item,
        placement: &mut Placement<'_>,
    ) -> Result<Vec<Placed>, RuntimeError> {
        let mut parts: Vec<Placed> = Vec::with_capacity(item.inputs.len());
        for &value in &item.inputs {
            let at = placement.read(value)?;
            let params = &placement.values.params;
            let joined = parts.last().and_then(|last| {
                let alike = last.value.form == value.form
                    && params.get(&last.value.value) == params.get(&value.value);
                layout::join(&last.at.view, &at.view, self.axis)
                    .filter(|_| alike && last.at.buffer == at.buffer)
            });
            match (joined, parts.last_mut()) {
                (Some(view), Some(last)) => last.at.view = view,
                _ => parts.push(Placed { value, at }),
            }
        }
        Ok(parts)
    }
}
