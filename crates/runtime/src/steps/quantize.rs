//! f32 to quantized values, where no step before does it.
use super::{FastStep, Int8, Item};
use crate::RuntimeError;
use crate::conversion::ToU8;
use crate::placement::Placement;
use crate::values::{Operand, Values};
use ir::Node;

/// With the parameters of its result.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Quantize;

impl FastStep for Quantize {
    fn lower(_node: &Node, _operands: &mut Vec<Operand>, _values: &Values<'_>) -> Option<Self> {
        None
    }

    fn int8(&self) -> Int8 {
        Int8::Always
    }

    fn place(&self, item: &Item, placement: &mut Placement<'_>) -> Result<(), RuntimeError> {
        let x = placement.read(item.inputs[0])?;
        let y = placement.place(item.output())?;
        let params = placement.params(item.output());
        placement.emit_kernel(ToU8(params), vec![x], y)
    }
}
