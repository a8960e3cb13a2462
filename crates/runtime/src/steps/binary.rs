//! Add, Sub, Mul, Div and Pow, broadcasting.
use super::{FastStep, Int8, Item};
use crate::RuntimeError;
use crate::placement::Placement;
use crate::step::{Kernel, KernelInfo, Operands, StepError};
use crate::values::{Operand, Values};
use ir::ops::BinaryKind;
use ir::{Node, Op};
use kernels::{BinaryOp, Context, U8Params, U8View, View};

/// A function of two values, element by element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Binary(pub(crate) BinaryOp);

impl FastStep for Binary {
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

    fn int8(&self) -> Int8 {
        Int8::ElementWise(Box::new(*self))
    }

    fn place(&self, item: &Item, placement: &mut Placement<'_>) -> Result<(), RuntimeError> {
        let inputs = placement.broadcast(&item.inputs, item.output())?;
        let y = placement.place(item.output())?;
        if !item.on_int8 {
            return placement.emit_kernel(*self, inputs, y);
        }
        let kernel = BinaryU8 {
            op: self.0,
            a: placement.params(item.inputs[0]),
            b: placement.params(item.inputs[1]),
            y: placement.params(item.output()),
        };
        placement.emit_kernel(kernel, inputs, y)
    }
}

impl Kernel for Binary {
    fn info(&self) -> KernelInfo {
        KernelInfo::f32("Binary")
    }

    fn run(&self, ctx: &mut Context<'_>, at: &Operands<View>) -> Result<(), StepError> {
        let [a, b] = [&at.inputs[0], &at.inputs[1]];
        Ok(kernels::binary(ctx, self.0, a, b, at.y())?)
    }
}

#[derive(Clone, Copy, Debug)]
struct BinaryU8 {
    op: BinaryOp,
    a: U8Params,
    b: U8Params,
    y: U8Params,
}

impl Kernel for BinaryU8 {
    fn info(&self) -> KernelInfo {
        KernelInfo::int8("QBinary")
    }

    fn run(&self, ctx: &mut Context<'_>, at: &Operands<View>) -> Result<(), StepError> {
        let a = U8View::new(&at.inputs[0], self.a);
        let b = U8View::new(&at.inputs[1], self.b);
        let y = U8View::new(at.y(), self.y);
        Ok(kernels::q_binary(ctx, self.op, &a, &b, &y)?)
    }
}
