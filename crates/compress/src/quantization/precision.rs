//! Which layers of a quantized detector stay float, and which of these are 16-bit floats in the file.

use std::collections::BTreeSet;

use glob::Pattern;
use ir::ops::{Op, Unary, UnaryKind};
use ir::{Graph, Node, NodeId, QuantFacts, find_tail, part_to_f16};
use serde::{Deserialize, Serialize};

use super::QuantizeOptions;
use crate::CompressError;

/// The numbers in which the head's output convolutions compute. What is behind them is float in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum HeadPrecision {
    /// INT8 in, float out.
    #[default]
    Int8,
    /// 16-bit floats, and so what is behind them, up to where boxes are computed in pixels or the best are picked.
    Fp16,
    /// 32-bit floats.
    Fp32,
}

/// All precisions of the head by name.
pub const HEAD_PRECISIONS: &[(&str, HeadPrecision)] =
    &[("int8", HeadPrecision::Int8), ("fp16", HeadPrecision::Fp16), ("fp32", HeadPrecision::Fp32)];

/// The layers that stay float: those that are named, and the head's output convolutions where they are to be float.
///
/// # Errors
/// `NoLayer` for a pattern that no layer fits.
pub(super) fn float_layers(
    graph: &Graph,
    options: &QuantizeOptions<'_>,
) -> Result<BTreeSet<NodeId>, CompressError> {
    let layers: Vec<(NodeId, &Node)> = graph.nodes().filter(|(_, node)| is_layer(node)).collect();
    let mut float = BTreeSet::new();
    for pattern in &options.float {
        let found = named(&layers, pattern);
        if found.is_empty() {
            let (pattern, layers) = (pattern.clone(), layers.len());
            return Err(CompressError::NoLayer { pattern, layers });
        }
        float.extend(found);
    }
    if options.head != HeadPrecision::Int8 {
        float.extend(find_tail(graph).output_convs);
    }
    Ok(float)
}

/// Whether a node has weights to be quantized: what patterns name.
fn is_layer(node: &Node) -> bool {
    matches!(node.op.quant_facts(), QuantFacts::Weighted { .. })
}

/// The layers of a pattern: `#3` is the fourth in the order of execution, all else is a name in which `*` stands for any text and
/// `?` for any character.
fn named(layers: &[(NodeId, &Node)], pattern: &str) -> Vec<NodeId> {
    let position = pattern.strip_prefix('#').and_then(|digits| digits.parse::<usize>().ok());
    if let Some(position) = position {
        return layers.get(position).map(|(id, _)| *id).into_iter().collect();
    }
    let glob = Pattern::new(pattern).ok();
    let fits = |name: &str| name == pattern || glob.as_ref().is_some_and(|g| g.matches(name));
    layers.iter().filter(|(_, node)| fits(&node.name)).map(|(id, _)| *id).collect()
}

/// Makes the float end of a quantized detector 16-bit: the output convolutions, and what is behind them as far as numbers of 11
/// bits do no harm.
///
/// # Errors
/// `Graph` where a weight is too large for f16.
pub(super) fn narrow_head(graph: &mut Graph) -> Result<(), CompressError> {
    let part = sixteen_bit_part(graph);
    Ok(part_to_f16(graph, &part)?)
}

/// The output convolutions, and behind them what moves numbers or brings them near 1 (Sigmoid, the Softmax over bins and its
/// projection). Arithmetic of boxes, up to the picking of the best, is left out: at 640 px f16 counts in steps of half a pixel.
fn sixteen_bit_part(graph: &Graph) -> BTreeSet<NodeId> {
    let tail = find_tail(graph);
    let mut part: BTreeSet<NodeId> = tail.output_convs.iter().copied().collect();
    for (id, node) in graph.nodes().filter(|(id, _)| tail.nodes.contains(id)) {
        let mut inputs = node.inputs.iter().filter(|v| graph.constant(**v).is_none());
        let from_part = |v| graph.producer(v).is_some_and(|id| part.contains(&id));
        if is_harmless(node) && inputs.all(|&v| from_part(v)) {
            part.insert(id);
        }
    }
    // Where values are only taken apart at the end, they are so in f32: one Cast, not one for each piece.
    let consumers = graph.consumers();
    for (id, node) in graph.nodes().rev().filter(|(id, _)| !tail.output_convs.contains(id)) {
        let is_read = |v: &ir::ValueId| {
            let mut readers = consumers.get(v).into_iter().flatten();
            graph.outputs().contains(v) || readers.any(|(reader, _)| part.contains(reader))
        };
        let only_moves = node.op.quant_facts() == QuantFacts::SharesInput;
        if only_moves && part.contains(&id) && !node.outputs.iter().any(is_read) {
            part.remove(&id);
        }
    }
    part
}

fn is_harmless(node: &Node) -> bool {
    let moves = matches!(node.op.quant_facts(), QuantFacts::SharesInput | QuantFacts::JoinsInputs);
    let near_one = matches!(
        node.op,
        Op::Conv(_) | Op::Softmax(_) | Op::Unary(Unary { kind: UnaryKind::Sigmoid })
    );
    moves || near_one
}
