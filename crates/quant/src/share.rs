//! How much of the work is integer work.
use ir::ops::Op;
use ir::{DataType, Graph, Node, QuantFacts, QuantParams, ValueId};
use std::collections::BTreeMap;

/// What the elements of a value stand for.
#[derive(Clone, Copy, PartialEq)]
enum Grid<'a> {
    Static(&'a QuantParams),
    /// Of 8-bit codes, found while the model runs.
    Dynamic,
}

/// Share of the multiply-accumulate operations in convolutions and products of matrices whose input and weight are both
/// codes of 8 bits, 0 to 1.
///
/// Operators that only move elements pass codes on, and so does a Concat whose inputs have the same parameters.
pub fn int8_macs_share(graph: &Graph) -> f64 {
    share(graph, &|grid| match grid {
        Grid::Static(params) => matches!(params.dtype(), DataType::I8 | DataType::U8),
        Grid::Dynamic => true,
    })
}

/// As [`int8_macs_share`], for codes of any width.
pub fn quantized_macs_share(graph: &Graph) -> f64 {
    share(graph, &|_| true)
}

fn share(graph: &Graph, counts: &dyn Fn(Grid<'_>) -> bool) -> f64 {
    let mut codes: BTreeMap<ValueId, Grid<'_>> = BTreeMap::new();
    let mut macs = 0;
    for (id, node) in graph.nodes() {
        if let QuantFacts::Weighted { weight, .. } = node.op.quant_facts() {
            let is_code = |v: &ValueId| codes.get(v).is_some_and(|&grid| counts(grid));
            let products = matches!(node.op, Op::ConvInteger(_) | Op::MatMulInteger(_));
            let integer = products || (is_code(&node.inputs[0]) && is_code(&node.inputs[weight]));
            macs += if integer { graph.node_macs(id) } else { 0 };
        }
        if let Some(params) = passed_on(node, &codes) {
            codes.extend(node.outputs.iter().map(|&v| (v, params)));
        }
    }
    if macs == 0 {
        0.0
    } else {
        macs as f64 / graph.macs() as f64
    }
}

/// Parameters of the codes that a node's outputs stand for, if they do.
fn passed_on<'a>(node: &'a Node, codes: &BTreeMap<ValueId, Grid<'a>>) -> Option<Grid<'a>> {
    match (&node.op, node.op.quant_facts()) {
        (Op::DequantizeLinear(op), _) => Some(Grid::Static(&op.params)),
        (Op::DynamicDequantizeLinear(_), _) => Some(Grid::Dynamic),
        (_, QuantFacts::SharesInput) => codes.get(&node.inputs[0]).copied(),
        (_, QuantFacts::JoinsInputs) => {
            let first = codes.get(&node.inputs[0]).copied()?;
            let alike = node.inputs.iter().all(|i| codes.get(i) == Some(&first));
            (alike && first != Grid::Dynamic).then_some(first)
        }
        _ => None,
    }
}
