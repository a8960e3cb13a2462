//! What a graph itself does to its pixels before the network begins: a division by 255, a normalisation, a change of order.
use ir::ops::{BinaryKind, Op};
use ir::{DataType, Graph, Node, Tensor, ValueId};
use std::collections::{BTreeMap, BTreeSet};

/// What a graph makes of a pixel: `gain[c] * pixel[source[c]] + offset[c]` for each channel.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct OwnSteps {
    pub(super) source: Vec<usize>,
    pub(super) gain: Vec<f64>,
    pub(super) offset: Vec<f64>,
}

/// Pixels on their way: a row for each question, a column for each channel.
type Answers = Vec<Vec<f64>>;

impl OwnSteps {
    /// Asks the graph for a pixel of zeros and for each channel's unit. `None` where a channel is not made of one channel.
    pub(super) fn read(graph: &Graph, input: ValueId, channels: usize) -> Option<Self> {
        let mut questions = vec![vec![0.0; channels]; channels + 1];
        for channel in 0..channels {
            questions[channel + 1][channel] = 1.0;
        }
        let answers = last(graph, input, questions);
        let [zero, units @ ..] = answers.as_slice() else {
            return None;
        };
        let mut steps = Self { source: vec![], gain: vec![], offset: zero.clone() };
        for (channel, &offset) in zero.iter().enumerate() {
            let gains: Vec<f64> = units.iter().map(|u| u[channel] - offset).collect();
            let mut sources = gains.iter().enumerate().filter(|(_, g)| g.abs() > 1e-9);
            let (Some((source, gain)), None) = (sources.next(), sources.next()) else {
                return None;
            };
            steps.source.push(source);
            steps.gain.push(*gain);
        }
        Some(steps)
    }

    /// Whether pixels pass unchanged but for their order.
    fn keeps_values(&self) -> bool {
        let gain = self.gain.iter().all(|g| (g - 1.0).abs() < 1e-3);
        gain && self.offset.iter().all(|o| o.abs() < 1e-3)
    }

    /// Whether pixels are expected from 0 to 255 and not from 0 to 1; `None` where the graph leaves them as they are.
    pub(super) fn takes_bytes(&self) -> Option<bool> {
        if self.keeps_values() {
            return None;
        }
        let mean = |(gain, offset): (&f64, &f64)| -offset / gain;
        let means = self.gain.iter().zip(&self.offset).map(mean);
        let mean = means.fold(f64::NEG_INFINITY, f64::max);
        let gain = self.gain.iter().copied().fold(0.0, f64::max);
        // A mean lies among the pixels; without one, what is made much smaller was large.
        Some(if mean.abs() > 1e-6 { mean > 1.5 } else { gain < 0.1 })
    }

    /// Whether the channels of every image are turned round; `None` for any other order.
    pub(super) fn reverses(&self) -> Option<bool> {
        let is_ordered = |order: fn(usize) -> usize| {
            let mut all = self.source.iter().enumerate();
            all.all(|(channel, &source)| source == order(channel))
        };
        if is_ordered(|c| c) {
            return Some(false);
        }
        let whole = self.source.len().is_multiple_of(3);
        (whole && is_ordered(|c| c / 3 * 3 + 2 - c % 3)).then_some(true)
    }
}

/// Follows the pixels as far as each node works on single pixels and its result is all that the network sees of them.
fn last(graph: &Graph, input: ValueId, questions: Answers) -> Answers {
    let mut known: BTreeMap<ValueId, (Tensor, usize)> = BTreeMap::new();
    known.extend(first(graph, input, &questions).map(|start| (input, start)));
    // Values that something else than the graph's own steps reads.
    let mut read = BTreeSet::new();
    for (_, node) in graph.nodes() {
        let inputs = node.inputs.iter().copied();
        let pixels: Vec<ValueId> = inputs.filter(|v| known.contains_key(v)).collect();
        if pixels.is_empty() {
            continue;
        }
        match step(graph, node, &known) {
            Some(made) => known.extend(node.outputs.iter().copied().zip(made)),
            None => read.extend(pixels),
        }
    }
    // Where the network reads several of them, none is its input.
    let mut read = read.into_iter();
    let only = read.next().filter(|_| read.next().is_none());
    let found = only.and_then(|v| known.get(&v));
    found.and_then(|(tensor, axis)| answers(tensor, *axis)).unwrap_or(questions)
}

/// The questions as pixels of an image: one a row, with the axis of the channels.
fn first(graph: &Graph, input: ValueId, questions: &Answers) -> Option<(Tensor, usize)> {
    let ty = graph.ty(input).ok()?;
    let channels = questions.first()?.len();
    let axis = if ty.shape.get(1) == Some(&channels) { 1 } else { 3 };
    let columns = questions.len();
    let mut shape = vec![1, 1, 1, 1];
    shape[axis] = channels;
    shape[if axis == 1 { 3 } else { 2 }] = columns;
    let mut values = vec![0.0; channels * columns];
    for (column, question) in questions.iter().enumerate() {
        for (channel, &value) in question.iter().enumerate() {
            let at = match axis {
                1 => channel * columns + column,
                _ => column * channels + channel,
            };
            values[at] = value;
        }
    }
    Some((Tensor::from_f64(ty.dtype, shape, &values).ok()?, axis))
}

fn answers(tensor: &Tensor, axis: usize) -> Option<Answers> {
    let values = tensor.to_f64().ok()?;
    let channels = *tensor.shape().get(axis)?;
    let columns = values.len() / channels.max(1);
    let inner: usize = tensor.shape().iter().skip(axis + 1).product();
    let value = |column: usize, channel: usize| {
        let (outer, rest) = (column / inner.max(1), column % inner.max(1));
        values.get((outer * channels + channel) * inner + rest).copied()
    };
    let row = |column| (0..channels).map(|c| value(column, c)).collect();
    (0..columns).map(row).collect()
}

/// What a node makes of pixels, if it works on single ones.
fn step(
    graph: &Graph,
    node: &Node,
    known: &BTreeMap<ValueId, (Tensor, usize)>,
) -> Option<Vec<(Tensor, usize)>> {
    let axis = node.inputs.iter().find_map(|v| known.get(v))?.1;
    let pixels = |v: &ValueId| known.get(v).map(|(t, _)| t);
    let of_channels = match &node.op {
        Op::Cast(cast) => cast.to == DataType::F32 || cast.to == DataType::F16,
        Op::Transpose(t) => t.perm.len() == 4,
        Op::Binary(b) => b.kind != BinaryKind::Pow,
        Op::Gather(g) => g.axis == axis,
        Op::Slice(s) => s.ranges.iter().all(|r| r.axis == axis),
        Op::Split(s) => s.axis == axis,
        Op::Concat(c) => c.axis == axis,
        // Codes stand for the pixels that they were made of.
        Op::QuantizeLinear(_) => {
            return Some(vec![(pixels(node.inputs.first()?)?.clone(), axis)]);
        }
        Op::DequantizeLinear(_) => {
            let quantized = *node.inputs.first()?;
            let quantizes = graph.producer(quantized).map(|id| &graph.node(id).op);
            if matches!(quantizes, Some(Op::QuantizeLinear(_))) {
                return Some(vec![(pixels(&quantized)?.clone(), axis)]);
            }
            true
        }
        _ => false,
    };
    if !of_channels {
        return None;
    }
    let read = |v: &ValueId| pixels(v).or_else(|| graph.constant(*v));
    let inputs: Vec<&Tensor> = node.inputs.iter().map(read).collect::<Option<_>>()?;
    let before = pixels(node.inputs.iter().find(|v| known.contains_key(v))?)?.len();
    let made = node.op.forward(&inputs).ok()?;
    // A constant that is as large as an image treats every pixel in its own way.
    let grown = matches!(node.op, Op::Binary(_)) && made.iter().any(|t| t.len() != before);
    let axis = match &node.op {
        Op::Transpose(t) => t.perm.iter().position(|&p| p == axis)?,
        _ => axis,
    };
    (!grown).then(|| made.into_iter().map(|t| (t, axis)).collect())
}
