//! The end of a detector's graph: what decodes boxes, between the head's output convolutions and the model's outputs.
use crate::{Graph, NodeId, Op, ValueId};
use std::collections::BTreeSet;

/// The tail of a graph: evidence on which a family is recognised, and what quantization leaves in float.
#[derive(Clone, Debug)]
pub struct Tail {
    /// The head's output convolutions: the last ones on every path to an output.
    pub output_convs: Vec<NodeId>,
    /// Nodes between them and the outputs.
    pub nodes: BTreeSet<NodeId>,
    /// Output channels of the output convolutions, in the same order.
    pub widths: Vec<usize>,
    /// Length of the Softmax over box bins (DFL), where there is one.
    pub dfl_bins: Option<usize>,
}

impl Tail {
    /// Whether the best positions are picked inside the graph.
    pub fn picks(&self, graph: &Graph) -> bool {
        let is_choice = |id: &NodeId| matches!(graph.node(*id).op, Op::TopK(_));
        self.nodes.iter().any(is_choice)
    }
}

/// Walks back from the outputs to the last convolutions. The projection of a distribution (DFL, arXiv:2006.04388: a
/// convolution to one channel behind a Softmax) belongs to the tail.
pub fn find_tail(graph: &Graph) -> Tail {
    let mut tail =
        Tail { output_convs: vec![], nodes: BTreeSet::new(), widths: vec![], dfl_bins: None };
    let mut seen: BTreeSet<NodeId> = BTreeSet::new();
    let mut todo: Vec<ValueId> = graph.outputs().to_vec();
    while let Some(value) = todo.pop() {
        let Some(id) = graph.producer(value).filter(|id| seen.insert(*id)) else {
            continue;
        };
        let node = graph.node(id);
        match &node.op {
            Op::Conv(_) if !(width(graph, id) == 1 && reads_softmax(graph, id)) => {
                tail.output_convs.push(id)
            }
            op => {
                if let Op::Softmax(softmax) = op {
                    let ty = graph.ty(node.outputs[0]).ok();
                    tail.dfl_bins = ty.and_then(|t| t.shape.get(softmax.axis).copied());
                }
                tail.nodes.insert(id);
                todo.extend(&node.inputs);
            }
        }
    }
    tail.output_convs.sort();
    tail.widths = tail.output_convs.iter().map(|id| width(graph, *id)).collect();
    tail
}

/// Channels that a convolution gives; 0 where that is not known.
fn width(graph: &Graph, conv: NodeId) -> usize {
    let ty = graph.ty(graph.node(conv).outputs[0]).ok();
    ty.and_then(|t| t.shape.get(1).copied()).unwrap_or(0)
}

fn reads_softmax(graph: &Graph, conv: NodeId) -> bool {
    let mut value = graph.node(conv).inputs[0];
    while let Some(id) = graph.producer(value) {
        match &graph.node(id).op {
            Op::Softmax(_) => return true,
            Op::Reshape(_)
            | Op::Transpose(_)
            | Op::QuantizeLinear(_)
            | Op::DequantizeLinear(_)
            | Op::DynamicQuantizeLinear(_)
            | Op::DynamicDequantizeLinear(_) => value = graph.node(id).inputs[0],
            _ => return false,
        }
    }
    false
}
