//! Convolutions in f32: weights packed once, or anew when a parameter of the graph changes.
use super::{Channels, Conv, Geometry, Item};
use crate::RuntimeError;
use crate::placement::Made;
use crate::step::{Kernel, Packing, Parameters, StepError, Weights};
use crate::values::Values;
use ir::{OpError, Tensor, ValueId};
use kernels::{Activation, ConvSpec, Epilogue, PackedConv};
use std::borrow::Cow;

/// What the weights and the bias of a convolution are.
#[derive(Clone, Debug)]
pub(in crate::steps) enum Elements {
    Constant(Tensor),
    Parameter(ValueId),
}

impl Elements {
    pub(in crate::steps) fn new(v: ValueId, values: &Values<'_>) -> Result<Self, RuntimeError> {
        if values.graph.parameter(v).is_some() {
            return Ok(Self::Parameter(v));
        }
        let tensor = values.weights(v)?.expect("lowering packs what is known");
        Ok(Self::Constant(tensor.into_owned()))
    }

    pub(in crate::steps) fn parameter(&self) -> Option<ValueId> {
        match self {
            Self::Constant(_) => None,
            Self::Parameter(v) => Some(*v),
        }
    }

    pub(in crate::steps) fn read<'a>(
        &'a self,
        parameters: &'a Parameters,
    ) -> Result<&'a [f32], OpError> {
        match self {
            Self::Constant(tensor) => tensor.as_slice::<f32>(),
            Self::Parameter(v) => Ok(&parameters[v]),
        }
    }
}

/// All that a kernel is made of, before it is packed.
#[derive(Debug)]
pub(super) struct Source {
    conv: Conv,
    weight: Elements,
    bias: Option<Elements>,
    has_residual: bool,
    geometry: Geometry,
    channels: Channels,
}

impl Source {
    pub(super) fn new(
        conv: &Conv,
        item: &Item,
        values: &Values<'_>,
        geometry: Geometry,
        channels: Channels,
    ) -> Result<Self, RuntimeError> {
        let bias = conv.bias.map(|v| Elements::new(v, values));
        Ok(Self {
            conv: conv.clone(),
            weight: Elements::new(conv.weight, values)?,
            bias: bias.transpose()?,
            has_residual: item.inputs.len() > 1,
            geometry,
            channels,
        })
    }

    /// The kernel for the parameters as the graph has them.
    pub(super) fn make(self, values: &Values<'_>, name: &str) -> Result<Made, RuntimeError> {
        let initial = values.initial(&self.parameters())?;
        let kernel = self.kernel(&initial).map_err(|e| e.at(name))?;
        Ok(Made {
            kernel,
            shares: self.channels.count,
            packing: if initial.is_empty() { None } else { Some(Box::new(self)) },
        })
    }
}

impl Source {
    fn kernel(&self, parameters: &Parameters) -> Result<Kernel, StepError> {
        let Weights { weight, bias } = self.weights(parameters)?;
        let spec = ConvSpec {
            geometry: self.geometry.share(self.channels),
            weight: weight.into_owned(),
            bias: bias.map(Cow::into_owned),
        };
        let packed = PackedConv::new(&spec, self.geometry.pixels, self.geometry.isa)?;
        let (activation, fake_quantize) =
            (self.conv.activation, self.conv.fake_quantize.map(|f| f.0));
        let fused = [
            (activation != Activation::Identity).then_some(" + activation"),
            self.conv.keeps_slope.then_some(" + slope"),
            self.has_residual.then_some(" + Add"),
            fake_quantize.map(|_| " + QDQ"),
        ];
        let kind = format!("Conv{}", fused.into_iter().flatten().collect::<String>());
        Ok(Kernel::convolution(kind, packed, move |ctx, packed, at| {
            let epilogue = Epilogue {
                activation,
                residual: at.inputs.get(1).copied(),
                fake_quantize,
                slope: at.outputs.get(1).copied(),
                ..Epilogue::default()
            };
            kernels::conv2d(ctx, packed, at.x(), at.y(), &epilogue)
        }))
    }
}

impl Packing for Source {
    fn parameters(&self) -> Vec<ValueId> {
        let held = [Some(&self.weight), self.bias.as_ref()];
        let held = held.into_iter().flatten();
        held.filter_map(Elements::parameter).collect()
    }

    fn weights<'a>(&'a self, parameters: &'a Parameters) -> Result<Weights<'a>, StepError> {
        let (conv, outputs) = (&self.conv, self.geometry.whole.out_channels);
        let mut weight = Cow::Borrowed(self.weight.read(parameters)?);
        let bias = self.bias.as_ref().map(|bias| bias.read(parameters)).transpose()?;
        let mut bias = bias.map(Cow::Borrowed);
        if let Some(blocks) = &conv.blocks {
            weight = Cow::Owned(blocks.spread(&weight, outputs, &conv.attributes));
        }
        if let Some(normalization) = &conv.normalization {
            let (scale, shift) = (&normalization.scale, &normalization.shift);
            let kernel = (weight.len() / outputs.max(1)).max(1);
            for (row, scale) in weight.to_mut().chunks_exact_mut(kernel).zip(scale.iter()) {
                row.iter_mut().for_each(|w| *w *= scale);
            }
            let channels = scale.iter().zip(shift.iter());
            let old = bias.unwrap_or_else(|| Cow::Owned(vec![0.0; outputs]));
            let new = old.iter().zip(channels).map(|(b, (s, t))| b * s + t);
            bias = Some(Cow::Owned(new.collect()));
        }
        let take = |all: Cow<'a, [f32]>| match self.channels.count {
            1 => all,
            _ => Cow::Owned(self.channels.take(&all)),
        };
        Ok(Weights { weight: take(weight), bias: bias.map(take) })
    }
}
