//! Slice, Transpose and Reshape: views where strides can say it.
use super::reference::place_reference;
use super::{FastStep, Int8, Item, OfNode};
use crate::RuntimeError;
use crate::layout::{self, At};
use crate::placement::Placement;
use crate::values::{Operand, Values};
use ir::{Node, Op, ops};

/// The same elements under another shape, or some of them.
#[derive(Clone, Debug)]
pub(crate) enum Rearrange {
    Slice(ops::Slice),
    Transpose(ops::Transpose),
    Reshape,
}

impl OfNode for Rearrange {
    fn lower(node: &Node, _operands: &mut Vec<Operand>, _values: &Values<'_>) -> Option<Self> {
        match &node.op {
            Op::Slice(slice) => Some(Self::Slice(slice.clone())),
            Op::Transpose(transpose) => Some(Self::Transpose(transpose.clone())),
            Op::Reshape(_) => Some(Self::Reshape),
            _ => None,
        }
    }
}

impl FastStep for Rearrange {
    fn int8(&self) -> Int8 {
        match self {
            Self::Slice(slice) if slice.ranges.iter().any(|r| r.step <= 0) => Int8::None,
            _ => Int8::Moves,
        }
    }

    fn place(&self, item: &Item, placement: &mut Placement<'_>) -> Result<(), RuntimeError> {
        let (x, y) = (item.inputs[0], item.output());
        // A convolution may have written the rows of a table that this gives its final shape.
        if placement.destinations.anchors.contains_key(&x) || placement.at(y).is_some() {
            return Ok(());
        }
        let at = placement.read(x)?;
        if let Some(at) = self.view(at, placement.shape(y)?) {
            placement.set(y, at);
            return Ok(());
        }
        let op: Op = match self {
            Self::Reshape => {
                let copy = placement.row_major_copy(at, y.form)?;
                let view = placement.check(layout::row_major(placement.shape(y)?))?;
                placement.set(y, At { view, ..copy });
                return Ok(());
            }
            Self::Slice(slice) => slice.clone().into(),
            Self::Transpose(transpose) => transpose.clone().into(),
        };
        place_reference(&op, item, placement)
    }
}

impl Rearrange {
    /// The result as a view of what lies at `x`; `None` where no strides say so.
    fn view(&self, x: At, shape: &[usize]) -> Option<At> {
        let view = match self {
            Self::Slice(slice) => layout::slice(&x.view, slice),
            Self::Transpose(transpose) => x.view.permute(&transpose.perm).ok(),
            Self::Reshape => layout::reshape(&x.view, shape),
        };
        let keeps_pixels = match self {
            Self::Slice(slice) => slice
                .ranges
                .iter()
                .all(|r| r.step == 1 && (r.axis == 1 || r.len == x.view.shape[r.axis])),
            Self::Transpose(_) | Self::Reshape => false,
        };
        view.map(|view| At { view, covers_pixels: x.covers_pixels && keeps_pixels, ..x })
    }
}
