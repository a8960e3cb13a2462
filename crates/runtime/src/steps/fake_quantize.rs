//! FakeQuantize with one scale for the whole tensor: where quantization is imitated in f32, and where values are quantized in
//! ways that have no INT8 form.
use super::{FastStep, Int8, Item, OfNode};
use crate::RuntimeError;
use crate::placement::Placement;
use crate::step::Kernel;
use crate::values::{Operand, Values};
use ir::{Node, Op, ops};
use kernels::{U8Params, UnaryOp};

/// Real numbers that integers of this range stand for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct FakeQuantize(pub(crate) kernels::FakeQuantize);

impl FakeQuantize {
    /// The same as quantized values of type u8; `None` where they have another range. Signed values are moved up by 128,
    /// which changes no real number.
    pub(crate) fn u8_params(&self) -> Option<U8Params> {
        let shift = match (self.0.q_min, self.0.q_max) {
            (0.0, 255.0) => 0.0,
            (-128.0, 127.0) => 128.0,
            _ => return None,
        };
        Some(U8Params { scale: self.0.scale, zero_point: (self.0.zero_point + shift) as u8 })
    }
}

impl FakeQuantize {
    /// An operator of one zero_point, with this scale.
    pub(super) fn of(op: &ops::FakeQuantize, scale: f32) -> kernels::FakeQuantize {
        let (lowest, highest) = op.params.range();
        kernels::FakeQuantize {
            scale,
            zero_point: op.params.zero_point()[0] as f32,
            q_min: lowest as f32,
            q_max: highest as f32,
        }
    }

    fn kernel(self) -> Kernel {
        let op = UnaryOp::FakeQuantize(self.0);
        Kernel::f32("FakeQuantize", move |ctx, at| Ok(kernels::unary(ctx, op, at.x(), at.y())?))
    }
}

impl OfNode for FakeQuantize {
    fn lower(node: &Node, operands: &mut Vec<Operand>, values: &Values<'_>) -> Option<Self> {
        let Op::FakeQuantize(op) = &node.op else {
            return None;
        };
        let scale = match node.inputs.get(1) {
            None => op.params.scale(),
            Some(&scale) => values.constant(scale)?.as_slice::<f32>().ok()?,
        };
        let (&[scale], &[_]) = (scale, op.params.scale()) else {
            return None;
        };
        operands.truncate(1);
        Some(Self(Self::of(op, scale)))
    }
}

impl FastStep for FakeQuantize {
    fn int8(&self) -> Int8 {
        Int8::ElementWise(Box::new(self.kernel()))
    }

    fn place(&self, item: &Item, placement: &mut Placement<'_>) -> Result<(), RuntimeError> {
        placement.emit_unary(self.kernel(), item.inputs[0], item.output())
    }
}
