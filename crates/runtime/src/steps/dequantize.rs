//! Quantized values to f32, for steps that have no INT8 form.
use super::{FastStep, Int8, Item};
use crate::RuntimeError;
use crate::conversion::ToF32;
use crate::placement::Placement;
use crate::values::{Operand, Values};
use ir::Node;

/// With the parameters of its input.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dequantize;

impl FastStep for Dequantize {
    fn lower(_node: &Node, _operands: &mut Vec<Operand>, _values: &Values<'_>) -> Option<Self> {
        None
    }

    fn int8(&self) -> Int8 {
        Int8::Always
    }

    fn place(&self, item: &Item, placement: &mut Placement<'_>) -> Result<(), RuntimeError> {
        let x = placement.read(item.inputs[0])?;
        let y = placement.place(item.output())?;
        let params = placement.params(item.inputs[0]);
        placement.emit_kernel(ToF32(params), vec![x], y)
    }
}
