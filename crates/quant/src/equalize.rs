//! Channels of what depthwise convolutions read brought to one magnitude.
//!
//! One scale for a tensor must hold the widest channel, and a depthwise convolution has no other channel to make up for
//! what the narrow ones lose. Cross-layer equalization (arXiv 1906.04721) moves factors through activations for which
//! `f(s x) = s f(x)`. SiLU is none of them, so here the factor is multiplied after it, and the depthwise weights are
//! divided by it: exact for every activation, at the price of one multiplication an element.
use crate::points::Region;
use crate::weights::at;
use crate::{QuantError, Range, Target};
use ir::ops::{BinaryKind, Conv, Op, Unary, UnaryKind};
use ir::{Edit, Graph, NodeId, Tensor, ValueId};
use std::collections::BTreeMap;

/// Shares of the upper end that the lower end may have: SiLU's is short.
const LOWER_ENDS: [f32; 5] = [1.0, 0.5, 0.25, 0.125, 0.0625];

/// A factor for each channel of a value.
#[derive(Clone, Debug, PartialEq)]
pub struct ChannelScales {
    /// The factors, 1 for the widest channel.
    pub scale: Vec<f32>,
    /// How many times smaller the noise of `u8` values becomes, in power, the mean of all channels relative to their
    /// own widths.
    pub gain: f64,
}

/// The values whose channels can be scaled: read by depthwise convolutions with constant weights alone.
///
/// # Errors
/// As [`crate::quantization_points`].
pub fn depthwise_inputs(graph: &Graph) -> Result<Vec<ValueId>, QuantError> {
    let region = Region::new(graph)?;
    let found = region.consumers.iter().filter(|&(&v, readers)| {
        let all = readers.iter().all(|&(id, position)| {
            position == 0 && depthwise(graph, id).is_some() && !region.tail.contains(&id)
        });
        all && graph.producer(v).is_some()
    });
    Ok(found.map(|(&v, _)| v).collect())
}

/// Outputs a channel and elements of a filter, for a depthwise convolution with a constant weight.
fn depthwise(graph: &Graph, id: NodeId) -> Option<(usize, usize)> {
    let node = graph.node(id);
    let Op::Conv(Conv { group, .. }) = node.op else {
        return None;
    };
    let shape = graph.constant(node.inputs[1])?.shape();
    (group > 1 && shape[1] == 1 && shape[0] % group == 0)
        .then(|| (shape[0] / group, shape[2..].iter().product()))
}

/// The factors that let channels of these ranges make the best of one U8 scale.
pub fn channel_scales(ranges: &[Range]) -> ChannelScales {
    let ranges: Vec<Range> = ranges.iter().map(|r| r.with_zero()).collect();
    let width = |r: &Range| r.width().max(1e-6);
    // Noise of a step, relative to the channel's width: `step / (s * width)` squared.
    let noise = |step: f64, s: f64, r: &Range| (step / (s * width(r))).powi(2);
    let whole = ranges.iter().copied().fold(Range::new(0.0, 0.0), Range::union);
    let before: f64 = ranges.iter().map(|r| noise(whole.width(), 1.0, r)).sum();
    let mut best = (before, vec![1.0; ranges.len()]);
    for lower in LOWER_ENDS {
        let factor = |r: &Range| {
            let low = f64::from(r.min.abs()) / f64::from(lower);
            1.0 / low.max(f64::from(r.max)).max(1e-6)
        };
        let scales: Vec<f64> = ranges.iter().map(factor).collect();
        let step = 1.0 + f64::from(lower);
        let after = ranges.iter().zip(&scales).map(|(r, &s)| noise(step, s, r)).sum();
        if after < best.0 {
            best = (after, scales);
        }
    }
    let smallest = best.1.iter().copied().fold(f64::INFINITY, f64::min);
    ChannelScales {
        scale: best.1.iter().map(|s| (s / smallest) as f32).collect(),
        gain: if best.0 > 0.0 { before / best.0 } else { 1.0 },
    }
}

/// The graph with the channels of values scaled, computing the same.
///
/// A linear activation (Relu, LeakyRelu) passes the factors on to its convolution. Behind SiLU a Mul applies them; for
/// a target that splits SiLU they go into the convolution, and a Mul takes them out of the gate's input again, so that
/// no quantized tensor has channels of different magnitude.
///
/// # Errors
/// `UnknownValue` for a value that [`depthwise_inputs`] does not give; `Params` when the number of factors is wrong.
pub fn equalize(
    graph: &Graph,
    scales: &BTreeMap<ValueId, Vec<f32>>,
    target: Target,
) -> Result<Graph, QuantError> {
    let allowed = depthwise_inputs(graph)?;
    let mut edit = graph.edit();
    for (&v, scale) in scales {
        let name = &graph.value(v).name;
        if !allowed.contains(&v) {
            return Err(QuantError::UnknownValue { value: name.clone() });
        }
        let found = graph.ty(v)?.shape.get(1).copied().unwrap_or(0);
        if found != scale.len() {
            let expected = scale.len();
            return Err(at(name)(ir::OpError::AxisLength { input: 0, axis: 1, expected, found }));
        }
        Equalizer { graph, edit: &mut edit, scale }.value(v, target)?;
    }
    let mut scaled = graph.clone();
    scaled.apply(edit)?;
    Ok(scaled)
}

struct Equalizer<'a> {
    graph: &'a Graph,
    edit: &'a mut Edit,
    scale: &'a [f32],
}

impl Equalizer<'_> {
    fn value(&mut self, v: ValueId, target: Target) -> Result<(), QuantError> {
        let activation = self.graph.producer(v).expect("depthwise inputs have one");
        let node = self.graph.node(activation);
        let conv = node.inputs.first().and_then(|&z| self.private_conv(z));
        let inverse: Vec<f32> = self.scale.iter().map(|s| 1.0 / s).collect();
        let name = &self.graph.value(v).name;
        let scaled = match (&node.op, conv) {
            (
                Op::Unary(Unary { kind: UnaryKind::Relu | UnaryKind::LeakyRelu { .. } }),
                Some(conv),
            ) => {
                self.scale_conv(conv)?;
                v
            }
            (Op::Unary(Unary { kind: UnaryKind::Silu }), Some(conv))
                if target.engine().split_silu =>
            {
                self.scale_conv(conv)?;
                let z = node.inputs[0];
                let gate = self.times(&format!("{name}_gate"), z, &inverse);
                let sigmoid = format!("{name}_sigmoid");
                let gate = self.edit.node(&sigmoid, UnaryKind::Sigmoid, &[gate], &[&sigmoid])[0];
                let product = format!("{name}_scaled");
                self.edit.node(&product, BinaryKind::Mul, &[z, gate], &[&product])[0]
            }
            _ => {
                let scale = self.scale;
                self.times(&format!("{name}_scaled"), v, scale)
            }
        };
        for (id, position) in self.graph.consumers().remove(&v).unwrap_or_default() {
            let (outputs, filter) = depthwise(self.graph, id).expect("only those were allowed");
            let weight = self.graph.node(id).inputs[1];
            let weight = self.scaled_rows(weight, &inverse, outputs * filter)?;
            self.edit.replace_input(id, 1, weight);
            self.edit.replace_input(id, position, scaled);
        }
        Ok(())
    }

    /// The convolution that gives `z` to one reader only, and whose weight and bias are constants.
    fn private_conv(&self, z: ValueId) -> Option<NodeId> {
        let id = self.graph.producer(z)?;
        let node = self.graph.node(id);
        let constant = |v: &ValueId| self.graph.constant(*v).is_some();
        let alone = self.graph.consumers().get(&z).is_some_and(|r| r.len() == 1);
        let is_conv = matches!(node.op, Op::Conv(_)) && node.inputs[1..].iter().all(constant);
        (is_conv && alone && !self.graph.outputs().contains(&z)).then_some(id)
    }

    fn scale_conv(&mut self, conv: NodeId) -> Result<(), QuantError> {
        let inputs = self.graph.node(conv).inputs.clone();
        for (position, &v) in inputs.iter().enumerate().skip(1) {
            let elements = self.graph.constant(v).map_or(0, Tensor::len);
            let scale = self.scale;
            let scaled = self.scaled_rows(v, scale, elements / scale.len().max(1))?;
            self.edit.replace_input(conv, position, scaled);
        }
        Ok(())
    }

    /// A new constant: each run of `row` elements multiplied by its factor.
    fn scaled_rows(&mut self, v: ValueId, by: &[f32], row: usize) -> Result<ValueId, QuantError> {
        let name = &self.graph.value(v).name;
        let tensor = self.graph.constant(v).expect("checked when the convolution was chosen");
        let elements = tensor.to_f64().map_err(at(name))?;
        let rows = elements.chunks(row.max(1)).zip(by);
        let scaled: Vec<f64> =
            rows.flat_map(|(row, &s)| row.iter().map(move |w| w * f64::from(s))).collect();
        let scaled = Tensor::from_f64(tensor.dtype(), tensor.shape(), &scaled).map_err(at(name))?;
        Ok(self.edit.constant(&format!("{name}_scaled"), scaled))
    }

    /// `x` times a factor for each channel.
    fn times(&mut self, name: &str, x: ValueId, by: &[f32]) -> ValueId {
        let shape = [1, by.len(), 1, 1];
        let factors = Tensor::new(shape, by.to_vec()).expect("as many factors as the shape says");
        let factors = self.edit.constant(&format!("{name}_factors"), factors);
        self.edit.node(name, BinaryKind::Mul, &[x, factors], &[name])[0]
    }
}

#[cfg(test)]
mod tests;
