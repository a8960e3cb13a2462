//! Conv with what happens before its result is stored: BatchNormalization, an activation, a residual addition, quantization.
use super::{BatchNormalization, FakeQuantize, FastStep, Int8, Item, OfNode};
use crate::RuntimeError;
use crate::layout::At;
use crate::placement::{Made, Placement};
use crate::values::{Operand, Values};
use ir::{Node, Op, PixelBlocks, ValueId, ops};
use kernels::{Activation, ConvGeometry, Isa, QActivation, U8Table};

mod f32;
mod int8;

pub(super) use self::f32::Elements;
use self::f32::Source;
use int8::{Int8Operands, QuantizedWeight};

/// A convolution; the item's first input is the image, its second the residual.
#[derive(Clone, Debug)]
pub(crate) struct Conv {
    pub(crate) attributes: ops::Conv,
    pub(crate) weight: ValueId,
    pub(crate) bias: Option<ValueId>,
    /// Where the weight's input channels are blocks of the image's pixels.
    pub(crate) blocks: Option<PixelBlocks>,
    /// What the sums are scaled and shifted by; in f32 only.
    pub(crate) normalization: Option<BatchNormalization>,
    pub(crate) activation: Activation,
    /// Whether the item's second output is the slope of the activation at the sums; in f32 only.
    pub(crate) keeps_slope: bool,
    /// Of the result; in f32 only.
    pub(crate) fake_quantize: Option<FakeQuantize>,
    /// Applied after the activation, before the residual; in INT8 only.
    pub(crate) table: Option<Box<U8Table>>,
}

impl Conv {
    /// Whether it can compute on quantized values: its weight can be read as such, and its bias is finite.
    ///
    /// # Errors
    /// `Operator` when the bias is no f32.
    pub(crate) fn fits_int8(&self, item: &Item, values: &Values<'_>) -> Result<bool, RuntimeError> {
        if !QuantizedWeight::exists(values.graph, self.weight) {
            return Ok(false);
        }
        let Some(bias) = self.bias else {
            return Ok(true);
        };
        let Some(bias) = values.weights(bias)? else {
            return Ok(false);
        };
        let bias = bias.as_slice::<f32>();
        let bias = bias.map_err(RuntimeError::operator(&item.name))?;
        Ok(bias.iter().all(|b| b.is_finite()))
    }

    /// The activation as the INT8 kernel applies it; `None` where it has none.
    pub(crate) fn int8_activation(activation: Activation) -> Option<QActivation> {
        Some(match activation {
            Activation::Identity => QActivation::Identity,
            Activation::Relu => QActivation::Relu,
            Activation::LeakyRelu { alpha } => QActivation::LeakyRelu { alpha },
            Activation::Clip { min, max } => QActivation::Clip { min, max },
            Activation::HardSwish => QActivation::HardSwish,
            Activation::Silu => QActivation::Silu,
            Activation::Sigmoid => QActivation::Sigmoid,
            Activation::HardSigmoid { .. } | Activation::Tanh => return None,
        })
    }
}

impl OfNode for Conv {
    fn lower(node: &Node, operands: &mut Vec<Operand>, values: &Values<'_>) -> Option<Self> {
        let Op::Conv(attributes) = &node.op else {
            return None;
        };
        if !node.inputs[1..].iter().all(|&v| values.is_packable(v)) {
            return None;
        }
        operands.truncate(1);
        Some(Self {
            attributes: attributes.clone(),
            weight: node.inputs[1],
            bias: node.inputs.get(2).copied(),
            blocks: None,
            normalization: None,
            activation: Activation::Identity,
            keeps_slope: false,
            fake_quantize: None,
            table: None,
        })
    }
}

impl FastStep for Conv {
    fn int8(&self) -> Int8 {
        Int8::Convolution
    }

    fn place(&self, item: &Item, placement: &mut Placement<'_>) -> Result<(), RuntimeError> {
        let mut inputs = vec![placement.image(item.inputs[0], self.attributes.pads)?];
        for &residual in &item.inputs[1..] {
            inputs.push(placement.image(residual, [0; 4])?);
        }
        let attributes = &self.attributes;
        let y = placement.shape(item.output())?;
        let geometry = Geometry {
            whole: ConvGeometry {
                out_channels: y[1],
                in_channels_per_group: placement.shape(item.inputs[0])?[1] / attributes.group,
                kernel: attributes.kernel_shape,
                strides: attributes.strides,
                dilations: attributes.dilations,
                pads: attributes.pads,
                group: attributes.group,
            },
            pixels: y[0] * y[2] * y[3],
            isa: placement.isa,
        };
        for share in shares(item, placement)? {
            let mut outputs = vec![share.at];
            for &slope in &item.outputs[1..] {
                outputs.push(placement.place(slope)?);
            }
            if item.on_int8 {
                let operands = Int8Operands {
                    x: placement.params(item.inputs[0]),
                    residual: item.inputs.get(1).map(|&v| placement.params(v)),
                    y: placement.stored_params(item.output()),
                };
                let values = placement.values;
                placement.emit(inputs.clone(), outputs, || {
                    let kernel =
                        self.pack_int8(item, values, operands, &geometry, share.channels)?;
                    Ok(Made { shares: share.channels.count, ..Made::from(kernel) })
                })?;
            } else {
                let values = placement.values;
                placement.emit(inputs.clone(), outputs, || {
                    let source = Source::new(self, item, values, geometry.clone(), share.channels)?;
                    source.make(values, &item.name)
                })?;
            }
        }
        Ok(())
    }
}

/// What weights are packed for.
#[derive(Clone, Debug)]
struct Geometry {
    /// Of all shares of the output channels together.
    whole: ConvGeometry,
    /// Outputs of a channel, of all images.
    pixels: usize,
    isa: Isa,
}

impl Geometry {
    /// The convolution of a share of the output channels.
    fn share(&self, channels: Channels) -> ConvGeometry {
        ConvGeometry { out_channels: self.whole.out_channels / channels.count, ..self.whole }
    }
}

/// One of several equal shares of the output channels.
#[derive(Clone, Copy, Debug)]
struct Channels {
    index: usize,
    count: usize,
}

impl Channels {
    /// The share's part of what is ordered by output channel.
    fn take<T: Clone>(self, all: &[T]) -> Vec<T> {
        let len = all.len() / self.count;
        all[self.index * len..(self.index + 1) * len].to_vec()
    }
}

/// A share of the output channels and where it is written.
struct Share {
    channels: Channels,
    at: At,
}

/// The shares that go to places of their own: one, unless they are rows of a table of anchors.
fn shares(item: &Item, placement: &mut Placement<'_>) -> Result<Vec<Share>, RuntimeError> {
    let y = item.output();
    let Some(&rows) = placement.destinations.anchors.get(&y) else {
        let at = placement.place(y)?;
        let channels = Channels { index: 0, count: 1 };
        return Ok(vec![Share { channels, at }]);
    };
    let table = placement.place(rows.table)?;
    let count = rows.anchors;
    let share = |index| {
        Ok(Share {
            channels: Channels { index, count },
            at: placement.check(rows.image(table, index))?,
        })
    };
    (0..count).map(share).collect()
}
