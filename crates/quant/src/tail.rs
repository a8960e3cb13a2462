//! The float tail, found by walking back from the outputs.
use ir::ops::Op;
use ir::{Graph, NodeId, ValueId};
use std::collections::BTreeSet;

/// The nodes after the head's output convolutions: they stay float.
///
/// The walk back from the outputs stops at convolutions. A convolution that Softmax feeds without another convolution
/// between is the projection of a distribution (DFL, arXiv 2006.04388) and belongs to the tail itself.
pub fn float_tail(graph: &Graph) -> BTreeSet<NodeId> {
    let mut tail = BTreeSet::new();
    let mut todo: Vec<ValueId> = graph.outputs().to_vec();
    while let Some(v) = todo.pop() {
        let Some(id) = graph.producer(v) else {
            continue;
        };
        let is_output_conv = matches!(graph.node(id).op, Op::Conv(_)) && !reads_softmax(graph, id);
        if !is_output_conv && tail.insert(id) {
            todo.extend(&graph.node(id).inputs);
        }
    }
    tail
}

fn reads_softmax(graph: &Graph, conv: NodeId) -> bool {
    let mut seen = BTreeSet::new();
    let mut todo = vec![graph.node(conv).inputs[0]];
    while let Some(v) = todo.pop() {
        let Some(id) = graph.producer(v) else {
            continue;
        };
        match graph.node(id).op {
            Op::Softmax(_) => return true,
            Op::Conv(_) => {}
            _ if seen.insert(id) => todo.extend(&graph.node(id).inputs),
            _ => {}
        }
    }
    false
}
