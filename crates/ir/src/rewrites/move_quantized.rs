//! What moves quantized values moves the numbers that they stand for.
use super::Rewrite;
use crate::ops::{DequantizeLinear, Op, QuantizeLinear};
use crate::{Edit, Graph, NodeId, QuantFacts, QuantParams, ValueId};

/// An operator that only moves elements (MaxPool, Concat, Split, Reshape, Resize to the nearest) reads real numbers and its
/// result is quantized, where it stood behind QuantizeLinear: on the same grid no element changes. Models in QOperator
/// format are full of such nodes; behind this rewrite a quantized graph has one form.
pub const MOVE_QUANTIZED: Rewrite = Rewrite { name: "move_quantized", find };

/// What the integers of a value stand for, where one grid holds for all of it.
fn params(graph: &Graph, v: ValueId) -> Option<&QuantParams> {
    match &graph.node(graph.producer(v)?).op {
        Op::QuantizeLinear(q) => Some(&q.params).filter(|p| p.axis().is_none()),
        _ => None,
    }
}

fn find(graph: &Graph, id: NodeId) -> Option<Edit> {
    let node = graph.node(id);
    let moves = matches!(node.op.quant_facts(), QuantFacts::SharesInput | QuantFacts::JoinsInputs);
    if !moves {
        return None;
    }
    let grid = params(graph, *node.inputs.first()?)?;
    if !node.inputs.iter().all(|&v| params(graph, v) == Some(grid)) {
        return None;
    }
    let mut edit = graph.edit();
    let mut dequantized = Vec::with_capacity(node.inputs.len());
    for &v in &node.inputs {
        let name = format!("{}_dequantized", graph.value(v).name);
        let dequantize = DequantizeLinear { params: grid.clone() };
        dequantized.extend(edit.node(&name, dequantize, &[v], &[&name]));
    }
    let outputs: Vec<String> =
        node.outputs.iter().map(|&v| format!("{}_real", graph.value(v).name)).collect();
    let names: Vec<&str> = outputs.iter().map(String::as_str).collect();
    let made = edit.node(&node.name, node.op.clone(), &dequantized, &names);
    for (&old, real) in node.outputs.iter().zip(made) {
        let quantize = QuantizeLinear { params: grid.clone() };
        let name = format!("{}_quantized", graph.value(old).name);
        let requantized = edit.node(&name, quantize, &[real], &[&name]);
        edit.replace_uses(old, requantized[0]);
    }
    edit.remove(id);
    Some(edit)
}
