//! Softmax over channels and the convolution that takes its mean, as the heads of YOLOv8 and later decode distances.
use super::{FastStep, Int8, Item};
use crate::RuntimeError;
use crate::placement::Placement;
use crate::step::Kernel;
use std::sync::Arc;

/// The mean of these weights under a softmax over channels.
#[derive(Clone, Debug)]
pub(crate) struct SoftmaxMean(pub(crate) Arc<[f32]>);

impl FastStep for SoftmaxMean {
    fn int8(&self) -> Int8 {
        Int8::None
    }

    fn place(&self, item: &Item, placement: &mut Placement<'_>) -> Result<(), RuntimeError> {
        let weights = Arc::clone(&self.0);
        let kernel = Kernel::f32("Softmax + Conv", move |ctx, at| {
            Ok(kernels::softmax_mean(ctx, at.x(), at.y(), 1, &weights)?)
        });
        placement.emit_unary(kernel, item.inputs[0], item.output())
    }
}
