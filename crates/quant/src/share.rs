//! How much of the work is integer work.
use ir::ops::Op;
use ir::{DataType, Graph, Node, QuantFacts, QuantParams, ValueId};
use std::collections::BTreeMap;

/// What the elements of a value stand for.
#[derive(Clone, Copy, PartialEq)]
enum Grid<'a> {
    Static(&'a QuantParams),
    /// Of 8 bits, found while the model runs.
    Dynamic,
}

/// Share of the multiply-accumulate operations in convolutions and products of matrices whose input and weight are both
/// quantized to 8 bits, 0 to 1.
///
/// Operators that only move elements pass quantized values on, and so does a Concat whose inputs have the same parameters.
pub fn int8_macs_share(graph: &Graph) -> f64 {
    share(graph, &|grid| match grid {
        Grid::Static(params) => matches!(params.dtype(), DataType::I8 | DataType::U8),
        Grid::Dynamic => true,
    })
}

/// As [`int8_macs_share`], for values of any width.
pub fn quantized_macs_share(graph: &Graph) -> f64 {
    share(graph, &|_| true)
}

fn share(graph: &Graph, counts: &dyn Fn(Grid<'_>) -> bool) -> f64 {
    let mut grids: BTreeMap<ValueId, Grid<'_>> = BTreeMap::new();
    let mut macs = 0;
    for (id, node) in graph.nodes() {
        if let QuantFacts::Weighted { weight, .. } = node.op.quant_facts() {
            let is_counted = |v: &ValueId| grids.get(v).is_some_and(|&grid| counts(grid));
            let products = matches!(node.op, Op::ConvInteger(_) | Op::MatMulInteger(_));
            let integer =
                products || (is_counted(&node.inputs[0]) && is_counted(&node.inputs[weight]));
            macs += if integer { graph.node_macs(id) } else { 0 };
        }
        if let Some(params) = passed_on(node, &grids) {
            grids.extend(node.outputs.iter().map(|&v| (v, params)));
        }
    }
    if macs == 0 { 0.0 } else { macs as f64 / graph.macs() as f64 }
}

/// The grid on which a node's outputs lie, if they are quantized.
fn passed_on<'a>(node: &'a Node, grids: &BTreeMap<ValueId, Grid<'a>>) -> Option<Grid<'a>> {
    match (&node.op, node.op.quant_facts()) {
        (Op::DequantizeLinear(op), _) => Some(Grid::Static(&op.params)),
        (Op::DynamicDequantizeLinear(_), _) => Some(Grid::Dynamic),
        (_, QuantFacts::SharesInput) => grids.get(&node.inputs[0]).copied(),
        (_, QuantFacts::JoinsInputs) => {
            let first = grids.get(&node.inputs[0]).copied()?;
            let alike = node.inputs.iter().all(|i| grids.get(i) == Some(&first));
            (alike && first != Grid::Dynamic).then_some(first)
        }
        _ => None,
    }
}
