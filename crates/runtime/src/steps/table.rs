//! A function of one quantized value, as a table of its 256 results.
use super::{FastStep, Int8, Item};
use crate::RuntimeError;
use crate::conversion::{self, look_up};
use crate::placement::Placement;

/// The result for each quantized value.
#[derive(Clone, Debug)]
pub(crate) struct Table(pub(crate) conversion::Table);

impl FastStep for Table {
    fn int8(&self) -> Int8 {
        Int8::Always
    }

    fn place(&self, item: &Item, placement: &mut Placement<'_>) -> Result<(), RuntimeError> {
        let kernel = look_up(self.0.clone());
        placement.emit_unary(kernel, item.inputs[0], item.output())
    }
}
