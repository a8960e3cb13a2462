//! Resize to the nearest pixel.
use super::{FastStep, Int8, Item, OfNode};
use crate::RuntimeError;
use crate::placement::Placement;
use crate::step::Kernel;
use crate::values::{Form, Operand, Values};
use ir::ops::{self, NearestMode, ResizeMode};
use ir::{Node, Op};

/// Every pixel of the result is the nearest of the image.
#[derive(Clone, Debug)]
pub(crate) struct Resize {
    op: ops::Resize,
    mode: NearestMode,
}

impl OfNode for Resize {
    fn lower(node: &Node, _operands: &mut Vec<Operand>, _values: &Values<'_>) -> Option<Self> {
        let Op::Resize(op) = &node.op else {
            return None;
        };
        let ResizeMode::Nearest(mode) = op.mode else {
            return None;
        };
        let op = op.clone();
        Some(Self { op, mode })
    }
}

impl FastStep for Resize {
    fn int8(&self) -> Int8 {
        Int8::Moves
    }

    fn place(&self, item: &Item, placement: &mut Placement<'_>) -> Result<(), RuntimeError> {
        let x = placement.image(item.inputs[0], [0; 4])?;
        let y = placement.place(item.output())?;
        let size = [x.view.shape[2], x.view.shape[3]];
        // For each row and each column of the result, the one it is taken from.
        let [rows, columns] = [0, 1].map(|axis| self.op.nearest_map(axis, size, self.mode));
        let kernel = match item.inputs[0].form {
            Form::F32 => Kernel::f32("Resize", move |ctx, at| {
                Ok(kernels::resize_nearest(ctx, at.x(), at.y(), &rows, &columns)?)
            }),
            Form::U8 => Kernel::int8("QResize", move |ctx, at| {
                Ok(kernels::q_resize_nearest(ctx, at.x(), at.y(), &rows, &columns)?)
            }),
        };
        placement.emit_kernel(kernel, vec![x], y)
    }
}
