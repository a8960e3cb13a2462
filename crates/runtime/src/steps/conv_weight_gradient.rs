//! The gradient of a convolution's weight.
use super::{FastStep, Int8, Item, OfNode};
use crate::RuntimeError;
use crate::placement::Placement;
use crate::step::Kernel;
use crate::values::{Operand, Values};
use ir::{Node, Op, ops};
use kernels::ConvGeometry;

/// Products of a convolution's input with the gradient of its output.
#[derive(Clone, Debug)]
pub(crate) struct ConvWeightGradient(ops::Conv);

impl OfNode for ConvWeightGradient {
    fn lower(node: &Node, _operands: &mut Vec<Operand>, _values: &Values<'_>) -> Option<Self> {
        match &node.op {
            Op::ConvWeightGradient(gradient) => Some(Self(gradient.conv.clone())),
            _ => None,
        }
    }
}

impl FastStep for ConvWeightGradient {
    fn int8(&self) -> Int8 {
        Int8::None
    }

    fn place(&self, item: &Item, placement: &mut Placement<'_>) -> Result<(), RuntimeError> {
        let conv = &self.0;
        let x = placement.image(item.inputs[0], conv.pads)?;
        let dy = placement.image(item.inputs[1], [0; 4])?;
        let dw = placement.place(item.output())?;
        let shape = placement.shape(item.output())?;
        let geometry = ConvGeometry {
            out_channels: shape[0],
            in_channels_per_group: shape[1],
            kernel: conv.kernel_shape,
            strides: conv.strides,
            dilations: conv.dilations,
            pads: conv.pads,
            group: conv.group,
        };
        let kernel = Kernel::f32("ConvWeightGradient", move |ctx, at| {
            let [x, dy] = [&at.inputs[0], &at.inputs[1]];
            Ok(kernels::conv_weight_gradient(ctx, &geometry, x, dy, at.y())?)
        });
        placement.emit_kernel(kernel, vec![x, dy], dw)
    }
}
