//! Convolutions whose input and weight are quantized.
use super::{grid, remove};
use crate::RuntimeError;
use crate::lowering::{FusedQConv, Lowered, Operand, Wiring, Work, fuse};
use ir::ops::{Binary, BinaryKind};
use ir::{DataType, Graph, Op, ValueId};
use kernels::{Activation, BinaryOp, U8Table, UnaryOp};
use std::collections::BTreeSet;

/// A weight stored as quantized values that are symmetric around zero.
pub(crate) struct QuantizedWeight {
    /// OIHW.
    pub(crate) values: Vec<i8>,
    /// One for each output channel.
    pub(crate) scale: Vec<f32>,
}

impl QuantizedWeight {
    /// The quantized values behind a weight; `None` where it is not stored as quantized values of at most 8 bits with a scale for each output.
    pub(crate) fn read(graph: &Graph, weight: ValueId) -> Option<Self> {
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
                let moved = all
                    .iter()
                    .enumerate()
                    .map(|(i, q)| i8::try_from(q - zero(i)));
                moved.collect::<Result<_, _>>().ok()?
            }
        };
        let scale = (0..outputs).map(|m| params.scale()[channel(m)]).collect();
        Some(Self { values, scale })
    }

    /// Whether a weight can be read, without reading it.
    fn exists(graph: &Graph, weight: ValueId) -> bool {
        let producer = graph.producer(weight).map(|id| graph.node(id));
        let symmetric = producer.is_some_and(|node| match &node.op {
            Op::DequantizeLinear(dq) => {
                dq.params.dtype() == DataType::I8
                    && dq.params.axis().unwrap_or(0) == 0
                    && dq.params.zero_point().iter().all(|&z| z == 0)
                    && graph.constant(node.inputs[0]).is_some()
            }
            _ => false,
        });
        symmetric || Self::read(graph, weight).is_some()
    }
}

/// Makes the convolutions of quantized values, each with the activation, the residual and the quantization that follow it.
pub(super) fn form(
    lowered: &mut Lowered<'_>,
    keep: &BTreeSet<ValueId>,
) -> Result<(), RuntimeError> {
    let mut wiring = Wiring::new(&lowered.items);
    let mut gone = vec![false; lowered.items.len()];
    for i in 0..lowered.items.len() {
        let Some(mut conv) = on_u8(lowered, i)? else {
            continue;
        };
        let chain = match conv.activation {
            Activation::Identity => Chain::find(lowered, &wiring, keep, i),
            _ => None,
        };
        if let Some(chain) = chain {
            conv.activation = chain.activation;
            conv.output = grid(&lowered.items[chain.quantize]);
            if let Some(residual) = chain.residual {
                lowered.items[i].inputs.push(residual);
            }
            let outputs = lowered.items[chain.quantize].outputs.clone();
            wiring.writer.extend(outputs.iter().map(|&v| (v, i)));
            lowered.items[i].outputs = outputs;
            for taken in chain.taken {
                gone[taken] = true;
            }
        }
        if conv.output.is_none() && conv.activation == Activation::Identity {
            let out = lowered.items[i].outputs[0];
            let next = wiring
                .only_reader(out)
                .filter(|_| !keep.contains(&out.value));
            let work = next.map(|next| &lowered.items[next].work);
            if let (Some(next), Some(&Work::Unary(UnaryOp::Activation(activation)))) = (next, work)
                && in_epilogue(activation)
            {
                conv.activation = activation;
                gone[next] = true;
                lowered.items[i].outputs = lowered.items[next].outputs.clone();
            }
        }
        lowered.items[i].work = Work::QConv(Box::new(conv));
    }
    remove(lowered, gone);
    Ok(())
}

/// The convolution at `i`, if its input is u8, its weight can be read as such, and its bias is finite.
fn on_u8(lowered: &Lowered<'_>, i: usize) -> Result<Option<FusedQConv>, RuntimeError> {
    let item = &lowered.items[i];
    let Work::Conv(conv) = &item.work else {
        return Ok(None);
    };
    let on_u8 = lowered.params.contains_key(&item.inputs[0].value);
    if !on_u8 || !QuantizedWeight::exists(lowered.graph, conv.weight) {
        return Ok(None);
    }
    if let Some(bias) = conv.bias {
        let Some(bias) = lowered.weights(bias)? else {
            return Ok(None);
        };
        let bias = bias.as_slice::<f32>();
        let bias = bias.map_err(RuntimeError::operator(&item.name))?;
        if !bias.iter().all(|b| b.is_finite()) {
            return Ok(None);
        }
    }
    Ok(Some(FusedQConv {
        conv: conv.conv.clone(),
        weight: conv.weight,
        bias: conv.bias,
        activation: conv.activation,
        blocks: conv.blocks.clone(),
        output: None,
        table: None,
    }))
}

/// What follows a convolution up to the quantization of its result.
struct Chain {
    activation: Activation,
    residual: Option<Operand>,
    quantize: usize,
    taken: Vec<usize>,
}

impl Chain {
    fn find(
        lowered: &Lowered<'_>,
        wiring: &Wiring,
        keep: &BTreeSet<ValueId>,
        i: usize,
    ) -> Option<Self> {
        let mut chain = Chain {
            activation: Activation::Identity,
            residual: None,
            quantize: i,
            taken: Vec::new(),
        };
        let mut out = lowered.items[i].outputs[0];
        loop {
            let next = wiring
                .only_reader(out)
                .filter(|_| !keep.contains(&out.value))?;
            let item = &lowered.items[next];
            chain.taken.push(next);
            if grid(item).is_some() {
                chain.quantize = next;
                return Some(chain);
            }
            match &item.work {
                Work::Unary(UnaryOp::Activation(activation))
                    if chain.taken.len() == 1 && in_epilogue(*activation) =>
                {
                    chain.activation = *activation;
                }
                Work::Node(Op::Binary(Binary {
                    kind: BinaryKind::Add,
                })) if chain.residual.is_none() => {
                    let other = fuse::residual(lowered, wiring, (i, next), out)?;
                    lowered.params.get(&other.value)?;
                    chain.residual = Some(other);
                }
                _ => return None,
            }
            out = item.outputs[0];
        }
    }
}

/// The activations that the integer epilogue has.
fn in_epilogue(activation: Activation) -> bool {
    crate::schedule::q_activation(activation).is_some()
}

/// Lets a convolution add what is added to its quantized values afterwards.
pub(super) fn add_residuals(lowered: &mut Lowered<'_>, keep: &BTreeSet<ValueId>) {
    let mut wiring = Wiring::new(&lowered.items);
    let mut gone = vec![false; lowered.items.len()];
    for (k, gone) in gone.iter_mut().enumerate() {
        if !matches!(lowered.items[k].work, Work::QBinary(BinaryOp::Add)) {
            continue;
        }
        let alone = |v: &Operand| {
            let out = wiring.only_reader(*v) == Some(k) && !keep.contains(&v.value);
            let writer = wiring.writer.get(v).copied().filter(|_| out)?;
            let item = &lowered.items[writer];
            let free = matches!(item.work, Work::QConv(_)) && item.inputs.len() == 1;
            let residual = fuse::residual(lowered, &wiring, (writer, k), *v);
            residual.filter(|_| free).map(|residual| (writer, residual))
        };
        let found = lowered.items[k].inputs.iter().find_map(alone);
        let Some((i, residual)) = found else { continue };
        let outputs = lowered.items[k].outputs.clone();
        let y = lowered.params.get(&outputs[0].value).copied();
        let Work::QConv(conv) = &mut lowered.items[i].work else {
            continue;
        };
        let Some(own) = conv.output else { continue };
        let same = || U8Table {
            x: own,
            map: std::array::from_fn(|q| q as u8),
            y: own,
        };
        conv.table.get_or_insert_with(same);
        conv.output = y;
        *gone = true;
        wiring.writer.extend(outputs.iter().map(|&v| (v, i)));
        for reader in wiring.readers.entry(residual).or_default() {
            if *reader == k {
                *reader = i;
            }
        }
        lowered.items[i].inputs.push(residual);
        lowered.items[i].outputs = outputs;
    }
    remove(lowered, gone);
}
