//! MatMul of operands that have rows and columns.
use super::{FastStep, Int8, Item, OfNode};
use crate::RuntimeError;
use crate::layout::At;
use crate::placement::Placement;
use crate::step::Kernel;
use crate::values::{Operand, Values};
use ir::{Node, Op};
use kernels::U8View;

/// The product of two matrices, or of two equal batches of them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MatMul;

impl OfNode for MatMul {
    fn lower(node: &Node, operands: &mut Vec<Operand>, values: &Values<'_>) -> Option<Self> {
        let are_matrices = operands.iter().all(|&v| values.rank(v) >= 2);
        (matches!(node.op, Op::MatMul(_)) && are_matrices).then_some(Self)
    }
}

impl FastStep for MatMul {
    fn int8(&self) -> Int8 {
        Int8::Sums
    }

    fn place(&self, item: &Item, placement: &mut Placement<'_>) -> Result<(), RuntimeError> {
        let inputs = matrices(item, placement)?;
        let y = placement.place(item.output())?;
        if !item.on_int8 {
            let kernel = Kernel::f32("MatMul", |ctx, at| {
                Ok(kernels::matmul(ctx, &at.inputs[0], &at.inputs[1], at.y())?)
            });
            return placement.emit_kernel(kernel, inputs, y);
        }
        let [a, b] = [0, 1].map(|i| placement.params(item.inputs[i]));
        let to = placement.stored_params(item.output());
        let kind = if to.is_some() { "QMatMul" } else { "QMatMul to f32" };
        let kernel = Kernel::int8(kind, move |ctx, at| {
            let [a, b] = [U8View::new(&at.inputs[0], a), U8View::new(&at.inputs[1], b)];
            Ok(kernels::q_matmul(ctx, &a, &b, &at.stored(to))?)
        });
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
