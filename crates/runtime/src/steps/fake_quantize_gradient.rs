//! The gradient of FakeQuantize.
use super::{FakeQuantize, FastStep, Int8, Item, LearntScale, OfNode};
use crate::RuntimeError;
use crate::placement::{Made, Placement};
use crate::step::Kernel;
use crate::values::{Operand, Values};
use ir::{Node, Op};

/// The item's inputs are what was quantized, the scale and the result's gradient.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FakeQuantizeGradient(LearntScale);

impl OfNode for FakeQuantizeGradient {
    fn lower(node: &Node, _operands: &mut Vec<Operand>, _values: &Values<'_>) -> Option<Self> {
        let Op::FakeQuantizeGradient(gradient) = &node.op else {
            return None;
        };
        let op = &gradient.quantize;
        Some(Self(LearntScale::new(FakeQuantize::of(op, op.params.scale()[0]))))
    }
}

impl FastStep for FakeQuantizeGradient {
    fn int8(&self) -> Int8 {
        Int8::None
    }

    fn place(&self, item: &Item, placement: &mut Placement<'_>) -> Result<(), RuntimeError> {
        let inputs = placement.read_all(&item.inputs)?;
        let outputs = item.outputs.iter().map(|&v| placement.place(v));
        let outputs: Vec<_> = outputs.collect::<Result<_, _>>()?;
        let quantize = self.0;
        let kernel = Kernel::f32("FakeQuantizeGradient", move |ctx, at| {
            let [x, scale, dy] = [0, 1, 2].map(|i| &at.inputs[i]);
            let [dx, terms] = [0, 1].map(|i| &at.outputs[i]);
            let quantize = quantize.now(ctx, scale)?;
            Ok(kernels::fake_quantize_gradient(ctx, quantize, [x, dy], [dx, terms])?)
        });
        placement.emit(inputs, outputs, || Ok(Made::from(kernel)))
    }
}
