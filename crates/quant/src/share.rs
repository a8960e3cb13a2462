//! How much of the work is integer work.
use ir::ops::Op;
use ir::{Graph, Node, QuantFacts, QuantParams, ValueId};
use std::collections::BTreeMap;

/// Share of the multiply-accumulate operations in convolutions whose input and weight are both codes, 0 to 1.
///
/// Operators that only move elements pass codes on, and so does a Concat whose inputs have the same parameters.
pub fn int8_macs_share(graph: &Graph) -> f64 {
    let mut codes: BTreeMap<ValueId, &QuantParams> = BTreeMap::new();
    let mut macs = 0;
    for (id, node) in graph.nodes() {
        if let QuantFacts::Weighted { weight, .. } = node.op.quant_facts() {
            let integer =
                codes.contains_key(&node.inputs[0]) && codes.contains_key(&node.inputs[weight]);
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
fn passed_on<'a>(
    node: &'a Node,
    codes: &BTreeMap<ValueId, &'a QuantParams>,
) -> Option<&'a QuantParams> {
    match (&node.op, node.op.quant_facts()) {
        (Op::DequantizeLinear(op), _) => Some(&op.params),
        (_, QuantFacts::SharesInput) => codes.get(&node.inputs[0]).copied(),
        (_, QuantFacts::JoinsInputs) => {
            let first = codes.get(&node.inputs[0]).copied()?;
            node.inputs
                .iter()
                .all(|i| codes.get(i) == Some(&first))
                .then_some(first)
        }
        _ => None,
    }
}
