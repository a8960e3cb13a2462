//! Softmax over channels and the convolution that takes its mean, as the heads of YOLOv8 and later decode distances.
use super::{FastStep, Int8, Item};
use crate::RuntimeError;
use crate::placement::Placement;
use crate::step::{Kernel, KernelInfo, Operands, StepError};
use crate::values::{Operand, Values};
use ir::Node;
use kernels::{Context, View};
use std::sync::Arc;

/// The mean of these weights under a softmax over channels.
#[derive(Clone, Debug)]
pub(crate) struct SoftmaxMean(pub(crate) Arc<[f32]>);

impl FastStep for SoftmaxMean {
    fn lower(_node: &Node, _operands: &mut Vec<Operand>, _values: &Values<'_>) -> Option<Self> {
        None
    }

    fn int8(&self) -> Int8 {
        Int8::None
    }

    fn place(&self, item: &Item, placement: &mut Placement<'_>) -> Result<(), RuntimeError> {
        let x = placement.read(item.inputs[0])?;
        let y = placement.place(item.output())?;
        placement.emit_kernel(self.clone(), vec![x], y)
    }
}

impl Kernel for SoftmaxMean {
    fn info(&self) -> KernelInfo {
        KernelInfo::f32("Softmax + Conv")
    }

    fn run(&self, ctx: &mut Context<'_>, at: &Operands<View>) -> Result<(), StepError> {
        Ok(kernels::softmax_mean(ctx, at.x(), at.y(), 1, &self.0)?)
    }
}
