//! Convolutions: their input with its halo, their packed weights.
use super::{Schedule, q_activation};
use crate::RuntimeError;
use crate::layout::{At, Halo};
use crate::lowering::{FusedConv, FusedQConv, Item, QuantizedWeight};
use crate::step::{Kernel, QConvKernel};
use ir::ValueId;
use kernels::{ConvSpec, PackedConv, PackedQConv, QConvSpec};
use std::sync::Arc;

/// One of several equal groups of output channels.
#[derive(Clone, Copy)]
struct Part {
    group: usize,
    groups: usize,
}

impl Part {
    /// The group's share of values that are ordered by output channel.
    fn of<T: Clone>(self, all: &[T]) -> Vec<T> {
        let share = all.len() / self.groups;
        all[self.group * share..(self.group + 1) * share].to_vec()
    }
}

impl Schedule<'_> {
    pub(super) fn conv(&mut self, item: &Item, conv: &FusedConv) -> Result<(), RuntimeError> {
        let inputs = self.images(item, conv.conv.pads)?;
        for (part, y) in self.parts(item)? {
            let key = (item.node, part.group);
            let packed = match self.packed.f32.get(&key) {
                Some(packed) => Arc::clone(packed),
                None => {
                    let packed = Arc::new(self.pack(item, conv, part)?);
                    self.packed.f32.insert(key, Arc::clone(&packed));
                    packed
                }
            };
            let kernel = Kernel::Conv {
                packed,
                activation: conv.activation,
                fake_quantize: conv.fake_quantize,
            };
            self.emit_part(item, kernel, inputs.clone(), (part, y));
        }
        Ok(())
    }

    /// The groups of output channels that go to places of their own: one, unless they are rows of a table.
    fn parts(&mut self, item: &Item) -> Result<Vec<(Part, At)>, RuntimeError> {
        let y = item.outputs[0];
        let Some(rows) = self.parents.rows.get(&y).copied() else {
            let at = self.place(&item.name, y)?;
            let part = Part {
                group: 0,
                groups: 1,
            };
            return Ok(vec![(part, at)]);
        };
        let table = self.place(&item.name, rows.table)?;
        let groups = rows.groups;
        (0..groups)
            .map(|group| {
                Ok((
                    Part { group, groups },
                    rows.image(&item.name, table, group)?,
                ))
            })
            .collect()
    }

    fn emit_part(&mut self, item: &Item, kernel: Kernel, inputs: Vec<At>, (part, y): (Part, At)) {
        self.emit(item, kernel, inputs, vec![y]);
        if let Some(step) = self.steps.last_mut() {
            step.macs /= part.groups as u64;
        }
    }

    fn pack(&self, item: &Item, conv: &FusedConv, part: Part) -> Result<PackedConv, RuntimeError> {
        let mut weight = self.weights(item, conv.weight)?;
        let bias = conv.bias.map(|v| self.weights(item, v));
        let mut bias = bias.transpose()?;
        let outputs = self.shape(item.outputs[0].value)?[1];
        if let Some(blocks) = &conv.blocks {
            weight = blocks.spread(&weight, outputs, blocks.kernel(conv.conv.kernel_shape));
        }
        if let Some(affine) = &conv.affine {
            let kernel = (weight.len() / outputs.max(1)).max(1);
            for (row, scale) in weight.chunks_exact_mut(kernel).zip(&affine.scale) {
                row.iter_mut().for_each(|w| *w *= scale);
            }
            let channels = affine.scale.iter().zip(&affine.shift);
            let old = bias.unwrap_or_else(|| vec![0.0; outputs]);
            bias = Some(
                old.iter()
                    .zip(channels)
                    .map(|(b, (s, t))| b * s + t)
                    .collect(),
            );
        }
        let spec = ConvSpec {
            weight: part.of(&weight),
            in_channels_per_group: self.shape(item.inputs[0].value)?[1] / conv.conv.group,
            out_channels: outputs / part.groups,
            kernel: conv.conv.kernel_shape,
            strides: conv.conv.strides,
            dilations: conv.conv.dilations,
            pads: conv.conv.pads,
            group: conv.conv.group,
            bias: bias.map(|bias| part.of(&bias)),
        };
        PackedConv::new(&spec, self.isa).map_err(RuntimeError::kernel(&item.name))
    }

    /// The convolution's input with its halo, and its residual.
    fn images(&mut self, item: &Item, pads: Halo) -> Result<Vec<At>, RuntimeError> {
        let mut images = Vec::with_capacity(2);
        for (i, &v) in item.inputs.iter().enumerate() {
            let at = self.read(&item.name, v)?;
            let pads = if i == 0 { pads } else { [0; 4] };
            images.push(self.image(item, (v, at), pads)?);
        }
        Ok(images)
    }

    fn weights(&self, item: &Item, v: ValueId) -> Result<Vec<f32>, RuntimeError> {
        let tensor = self.lowered.weights(v)?;
        let tensor = tensor.expect("lowering fuses constant weights only");
        let data = tensor.as_slice::<f32>();
        Ok(data.map_err(RuntimeError::operator(&item.name))?.to_vec())
    }

    pub(super) fn q_conv(&mut self, item: &Item, conv: &FusedQConv) -> Result<(), RuntimeError> {
        let inputs = self.images(item, conv.conv.pads)?;
        for (part, y) in self.parts(item)? {
            let key = (item.node, part.group);
            let packed = match self.packed.u8.get(&key) {
                Some(packed) => Arc::clone(packed),
                None => {
                    let packed = Arc::new(self.q_pack(item, conv, part)?);
                    self.packed.u8.insert(key, Arc::clone(&packed));
                    packed
                }
            };
            let kernel = Kernel::QConv(Box::new(QConvKernel {
                packed,
                activation: q_activation(conv.activation)
                    .expect("lowering fuses activations of the integer epilogue only"),
                table: conv.table.clone(),
                residual: item.inputs.get(1).map(|&v| self.params(v)),
                output: conv.output,
            }));
            self.emit_part(item, kernel, inputs.clone(), (part, y));
        }
        Ok(())
    }

    fn q_pack(
        &self,
        item: &Item,
        conv: &FusedQConv,
        part: Part,
    ) -> Result<PackedQConv, RuntimeError> {
        let weight = QuantizedWeight::read(self.lowered.graph, conv.weight)
            .expect("lowering chose a weight that can be read");
        let outputs = weight.scale.len();
        let values = match &conv.blocks {
            None => weight.values,
            Some(b) => b.spread(&weight.values, outputs, b.kernel(conv.conv.kernel_shape)),
        };
        let x = self.params(item.inputs[0]);
        let multiplier: Vec<f32> = weight.scale.iter().map(|w| x.scale * w).collect();
        let bias = match conv.bias {
            None => vec![0.0; multiplier.len()],
            Some(v) => self.weights(item, v)?,
        };
        let spec = QConvSpec {
            weight: part.of(&values),
            out_channels: outputs / part.groups,
            in_channels_per_group: self.shape(item.inputs[0].value)?[1] / conv.conv.group,
            kernel: conv.conv.kernel_shape,
            strides: conv.conv.strides,
            dilations: conv.conv.dilations,
            pads: conv.conv.pads,
            group: conv.conv.group,
            x_zero_point: x.zero_point,
            bias: part.of(&bias),
            multiplier: part.of(&multiplier),
        };
        PackedQConv::new(&spec, self.isa).map_err(RuntimeError::kernel(&item.name))
    }
}
