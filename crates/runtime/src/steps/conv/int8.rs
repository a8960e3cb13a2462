//! Convolutions of quantized values.
use super::{Channels, Conv, Geometry, Item};
use crate::RuntimeError;
use crate::step::Kernel;
use crate::values::Values;
use ir::{DataType, Graph, Op, ValueId};
use kernels::{PackedQConv, QActivation, QConvSpec, QEpilogue, U8Params, U8View};

/// A weight stored as quantized values that are symmetric around zero.
pub(super) struct QuantizedWeight {
    /// OIHW.
    values: Vec<i8>,
    /// One for each output channel.
    scale: Vec<f32>,
}

impl QuantizedWeight {
    /// The quantized values behind a weight; `None` where it is not stored as values of at most 8 bits with a scale for
    /// each output.
    fn read(graph: &Graph, weight: ValueId) -> Option<Self> {
        let node = graph.node(graph.producer(weight)?);
        let Op::DequantizeLinear(dq) = &node.op else {
            return None;
        };
        let values = graph.constant(node.inputs[0])?;
        let outputs = *values.shape().first()?;
        let params = &dq.params;
        if !matches!(params.dtype(), DataType::I8 | DataType::U8) || params.axis().unwrap_or(0) != 0
        {
            return None;
        }
        let one = params.scale().len() == 1;
        if !one && params.scale().len() != outputs {
            return None;
        }
        let channel = |m: usize| if one { 0 } else { m };
        let kernel = (values.len() / outputs.max(1)).max(1);
        let values = match values.as_slice::<i8>() {
            Ok(values) if params.zero_point().iter().all(|&z| z == 0) => values.to_vec(),
            _ => {
                let all = values.to_i64().ok()?;
                let zero = |i: usize| i64::from(params.zero_point()[channel(i / kernel)]);
                let moved = all.iter().enumerate().map(|(i, q)| i8::try_from(q - zero(i)));
                moved.collect::<Result<_, _>>().ok()?
            }
        };
        let scale = (0..outputs).map(|m| params.scale()[channel(m)]).collect();
        Some(Self { values, scale })
    }

    /// Whether a weight can be read, in most cases without reading it.
    pub(super) fn exists(graph: &Graph, weight: ValueId) -> bool {
        let producer = graph.producer(weight).map(|id| graph.node(id));
        let is_symmetric = producer.is_some_and(|node| match &node.op {
            Op::DequantizeLinear(dq) => {
                dq.params.dtype() == DataType::I8
                    && dq.params.axis().unwrap_or(0) == 0
                    && dq.params.zero_point().iter().all(|&z| z == 0)
                    && graph.constant(node.inputs[0]).is_some()
            }
            _ => false,
        });
        is_symmetric || Self::read(graph, weight).is_some()
    }
}

/// What the operands' quantized values stand for.
#[derive(Clone, Copy)]
pub(super) struct Int8Operands {
    pub(super) x: U8Params,
    pub(super) residual: Option<U8Params>,
    /// `None` where f32 is stored.
    pub(super) y: Option<U8Params>,
}

impl Conv {
    /// The bias of all output channels.
    fn int8_bias(
        &self,
        item: &Item,
        values: &Values<'_>,
        outputs: usize,
    ) -> Result<Vec<f32>, RuntimeError> {
        let Some(v) = self.bias else {
            return Ok(vec![0.0; outputs]);
        };
        let bias = values.weights(v)?.expect("lowering packs what is known");
        let bias = bias.as_slice::<f32>();
        Ok(bias.map_err(RuntimeError::operator(&item.name))?.to_vec())
    }

    /// The INT8 kernel of a share of the output channels.
    pub(super) fn pack_int8(
        &self,
        item: &Item,
        values: &Values<'_>,
        operands: Int8Operands,
        geometry: &Geometry,
        channels: Channels,
    ) -> Result<Kernel, RuntimeError> {
        let weight = QuantizedWeight::read(values.graph, self.weight)
            .expect("lowering chose a weight that can be read");
        let outputs = weight.scale.len();
        let quantized = match &self.blocks {
            None => weight.values,
            Some(blocks) => blocks.spread(&weight.values, outputs, &self.attributes),
        };
        let x = operands.x;
        let multiplier: Vec<f32> = weight.scale.iter().map(|w| x.scale * w).collect();
        let bias = self.int8_bias(item, values, outputs)?;
        let spec = QConvSpec {
            geometry: geometry.share(channels),
            weight: channels.take(&quantized),
            x_zero_point: x.zero_point,
            bias: channels.take(&bias),
            multiplier: channels.take(&multiplier),
        };
        let packed =
            PackedQConv::new(&spec, geometry.isa).map_err(RuntimeError::kernel(&item.name))?;
        let activation = Self::int8_activation(self.activation)
            .expect("lowering fuses activations of the INT8 kernel only");
        let (table, Int8Operands { residual, y, .. }) = (self.table.clone(), operands);
        let fused = [
            (activation != QActivation::Identity).then_some(" + activation"),
            residual.map(|_| " + Add"),
            table.as_ref().map(|_| " + table"),
            y.is_none().then_some(" to f32"),
        ];
        let kind = format!("QConv{}", fused.into_iter().flatten().collect::<String>());
        let tile = packed.tile();
        let kernel = Kernel::int8(kind, move |ctx, at| {
            let epilogue = QEpilogue {
                activation,
                table: table.as_deref(),
                residual: residual.map(|params| U8View::new(&at.inputs[1], params)),
            };
            Ok(kernels::qconv2d(ctx, &packed, at.x(), &at.stored(y), &epilogue)?)
        });
        Ok(kernel.with_tile(tile))
    }
}
