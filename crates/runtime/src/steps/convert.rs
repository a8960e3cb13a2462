//! From f32 to quantized values where no step before does it, and back for steps that have no INT8 form.
use super::{FastStep, Int8, Item};
use crate::RuntimeError;
use crate::placement::{Placed, Placement};

/// The same values in the form of the result.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Convert;

impl FastStep for Convert {
    fn int8(&self) -> Int8 {
        Int8::Always
    }

    fn place(&self, item: &Item, placement: &mut Placement<'_>) -> Result<(), RuntimeError> {
        let [x, y] = [item.inputs[0], item.output()];
        let (from, to) = (placement.read(x)?, placement.place(y)?);
        let from = Placed { value: x, at: from };
        placement.emit_conversion(from, Placed { value: y, at: to })
    }
}
