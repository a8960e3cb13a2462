//! Add, Sub, Mul, Div and Pow, broadcasting.
use super::{FastStep, Int8, Item, OfNode};
use crate::RuntimeError;
use crate::placement::Placement;
use crate::step::Kernel;
use crate::values::{Operand, Values};
use ir::ops::BinaryKind;
use ir::{Node, Op};
use kernels::{BinaryOp, U8View};

/// A function of two values, element by element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Binary(pub(crate) BinaryOp);

impl Binary {
    /// The f32 kernel.
    pub(super) fn kernel(self) -> Kernel {
        Kernel::f32("Binary", move |ctx, at| {
            Ok(kernels::binary(ctx, self.0, &at.inputs[0], &at.inputs[1], at.y())?)
        })
    }
}

impl OfNode for Binary {
    fn lower(node: &Node, _operands: &mut Vec<Operand>, _values: &Values<'_>) -> Option<Self> {
        let Op::Binary(binary) = &node.op else {
            return None;
        };
        Some(Self(match binary.kind {
            BinaryKind::Add => BinaryOp::Add,
            BinaryKind::Sub => BinaryOp::Sub,
            BinaryKind::Mul => BinaryOp::Mul,
            BinaryKind::Div => BinaryOp::Div,
            BinaryKind::Pow => BinaryOp::Pow,
        }))
    }
}

impl FastStep for Binary {
    fn int8(&self) -> Int8 {
        Int8::ElementWise(Box::new(self.kernel()))
    }

    fn place(&self, item: &Item, placement: &mut Placement<'_>) -> Result<(), RuntimeError> {
        let inputs = placement.broadcast(&item.inputs, item.output())?;
        let y = placement.place(item.output())?;
        if !item.on_int8 {
            return placement.emit_kernel(self.kernel(), inputs, y);
        }
        let op = self.0;
        let [a, b] = [0, 1].map(|i| placement.params(item.inputs[i]));
        let to = placement.params(item.output());
        let kernel = Kernel::int8("QBinary", move |ctx, at| {
            let [a, b] = [U8View::new(&at.inputs[0], a), U8View::new(&at.inputs[1], b)];
            let y = U8View::new(at.y(), to);
            Ok(kernels::q_binary(ctx, op, &a, &b, &y)?)
        });
        placement.emit_kernel(kernel, inputs, y)
    }
}
