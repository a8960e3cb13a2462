//! MatMul of operands that have rows and columns.
use super::{FastStep, Int8, Item};
use crate::RuntimeError;
use crate::layout::At;
use crate::placement::Placement;
use crate::step::{Kernel, KernelInfo, Operands, StepError};
use crate::values::{Operand, Values};
use ir::{Node, Op};
use kernels::{Context, QOut, U8Params, U8View, View};

/// The product of two matrices, or of two equal batches of them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MatMul;

impl FastStep for MatMul {
    fn lower(node: &Node, operands: &mut Vec<Operand>, values: &Values<'_>) -> Option<Self> {
        let are_matrices = operands.iter().all(|&v| values.rank(v) >= 2);
        (matches!(node.op, Op::MatMul(_)) && are_matrices).then_some(Self)
    }

    fn int8(&self) -> Int8 {
        Int8::Sums
    }

    fn place(&self, item: &Item, placement: &mut Placement<'_>) -> Result<(), RuntimeError> {
        let inputs = matrices(item, placement)?;
        let y = placement.place(item.output())?;
        if !item.on_int8 {
            return placement.emit_kernel(*self, inputs, y);
        }
        let kernel = MatMulU8 {
            a: placement.params(item.inputs[0]),
            b: placement.params(item.inputs[1]),
            y: placement.stored_params(item.output()),
        };
        placement.emit_kernel(kernel, inputs, y)
    }
}

/// The operands under the leading axes of the result.
fn matrices(item: &Item, placement: &mut Placement<'_>) -> Result<Vec<At>, RuntimeError> {
    let shape = placement.shape(item.output())?;
    let leading = &shape[..shape.len() - 2];
    let mut inputs = placement.read_all(&item.inputs)?;
    for at in &mut inputs {
        let matrix = &at.view.shape[at.view.shape.len() - 2..];
        let shape = [leading, matrix].concat();
        *at = placement.broadcast_view(*at, &shape)?;
    }
    Ok(inputs)
}

impl Kernel for MatMul {
    fn info(&self) -> KernelInfo {
        KernelInfo::f32("MatMul")
    }

    fn run(&self, ctx: &mut Context<'_>, at: &Operands<View>) -> Result<(), StepError> {
        Ok(kernels::matmul(ctx, &at.inputs[0], &at.inputs[1], at.y())?)
    }
}

#[derive(Clone, Copy, Debug)]
struct MatMulU8 {
    a: U8Params,
    b: U8Params,
    /// What is stored; `None` where f32 is.
    y: Option<U8Params>,
}

impl Kernel for MatMulU8 {
    fn info(&self) -> KernelInfo {
        KernelInfo::int8(match self.y {
            Some(_) => "QMatMul",
            None => "QMatMul to f32",
        })
    }

    fn run(&self, ctx: &mut Context<'_>, at: &Operands<View>) -> Result<(), StepError> {
        let y = match self.y {
            Some(params) => QOut::U8 {
                view: *at.y(),
                params,
            },
            None => QOut::F32 { view: *at.y() },
        };
        let a = U8View::new(&at.inputs[0], self.a);
        let b = U8View::new(&at.inputs[1], self.b);
        Ok(kernels::q_matmul(ctx, &a, &b, &y)?)
    }
}
