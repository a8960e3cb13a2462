//! A function of one quantized value, as a table of its 256 results.
use super::{FastStep, Int8, Item};
use crate::RuntimeError;
use crate::conversion::{self, CopyU8};
use crate::placement::Placement;
use crate::values::{Operand, Values};
use ir::Node;

/// The result for each quantized value.
#[derive(Clone, Debug)]
pub(crate) struct Table(pub(crate) conversion::Table);

impl FastStep for Table {
    fn lower(_node: &Node, _operands: &mut Vec<Operand>, _values: &Values<'_>) -> Option<Self> {
        None
    }

    fn int8(&self) -> Int8 {
        Int8::Always
    }

    fn place(&self, item: &Item, placement: &mut Placement<'_>) -> Result<(), RuntimeError> {
        let x = placement.read(item.inputs[0])?;
        let y = placement.place(item.output())?;
        placement.emit_kernel(CopyU8(Some(self.0.clone())), vec![x], y)
    }
}
