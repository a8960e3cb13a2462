//! Resize to the nearest pixel.
use super::{FastStep, Int8, Item};
use crate::RuntimeError;
use crate::placement::Placement;
use crate::step::{Kernel, KernelInfo, Operands, StepError};
use crate::values::{Form, Operand, Values};
use ir::ops::{self, NearestMode, ResizeMode};
use ir::{Node, Op};
use kernels::{Context, View};

/// Every pixel of the result is the nearest of the image.
#[derive(Clone, Debug)]
pub(crate) struct Resize {
    op: ops::Resize,
    mode: NearestMode,
}

impl FastStep for Resize {
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

    fn int8(&self) -> Int8 {
        Int8::Moves
    }

    fn place(&self, item: &Item, placement: &mut Placement<'_>) -> Result<(), RuntimeError> {
        let x = placement.image(item.inputs[0], [0; 4])?;
        let y = placement.place(item.output())?;
        let size = [x.view.shape[2], x.view.shape[3]];
        let sources = [0, 1].map(|axis| self.op.nearest_map(axis, size, self.mode));
        match item.inputs[0].form {
            Form::F32 => placement.emit_kernel(ResizeNearest(sources), vec![x], y),
            Form::U8 => placement.emit_kernel(ResizeNearestU8(sources), vec![x], y),
        }
    }
}

/// For each row and each column of the result, the one it is taken from.
#[derive(Clone, Debug)]
struct ResizeNearest([Vec<usize>; 2]);

impl Kernel for ResizeNearest {
    fn info(&self) -> KernelInfo {
        KernelInfo::f32("Resize")
    }

    fn run(&self, ctx: &mut Context<'_>, at: &Operands<View>) -> Result<(), StepError> {
        let [rows, columns] = &self.0;
        Ok(kernels::resize_nearest(ctx, at.x(), at.y(), rows, columns)?)
    }
}

/// As [`ResizeNearest`], of quantized values.
#[derive(Clone, Debug)]
struct ResizeNearestU8([Vec<usize>; 2]);

impl Kernel for ResizeNearestU8 {
    fn info(&self) -> KernelInfo {
        KernelInfo::int8("QResize")
    }

    fn run(&self, ctx: &mut Context<'_>, at: &Operands<View>) -> Result<(), StepError> {
        let [rows, columns] = &self.0;
        Ok(kernels::q_resize_nearest(
            ctx,
            at.x(),
            at.y(),
            rows,
            columns,
        )?)
    }
}
