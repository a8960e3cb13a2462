//! Detectors that suppress boxes inside the graph (ONNX's NonMaxSuppression, the plugins of TensorRT), which engines without
//! these operators cannot run.
use super::Rewrite;
use crate::{DataType, Edit, Graph, Node, NodeId, Op, ValueId};
use std::collections::{BTreeMap, BTreeSet};

/// Operators that suppress boxes: their first input is boxes, their second scores.
pub const SUPPRESSIONS: &[&str] = &[
    "NonMaxSuppression",
    "EfficientNMS_TRT",
    "BatchedNMS_TRT",
    "BatchedNMSDynamic_TRT",
];

/// The outputs become the one value `[1, A, B]` from which boxes and scores were taken, as exporters write it without
/// suppression. It is left where boxes and scores come from different convolutions and were never joined.
pub const CUT_NMS: Rewrite = Rewrite {
    name: "cut_nms",
    find,
};

fn find(graph: &Graph, id: NodeId) -> Option<Edit> {
    let Op::Opaque(op) = &graph.node(id).op else {
        return None;
    };
    if !SUPPRESSIONS.contains(&op.op_type.as_str()) {
        return None;
    }
    let dense = joined(graph, graph.node(id).inputs.get(..2)?)?;
    let mut edit = graph.edit();
    edit.set_outputs(&[dense]);
    // What an unknown node does is not known, so that none goes by itself.
    let mut after = BTreeSet::from([dense]);
    for (id, node) in graph.nodes() {
        if node.inputs.iter().any(|v| after.contains(v)) {
            after.extend(&node.outputs);
            edit.remove(id);
        }
    }
    Some(edit)
}

/// Whether a node is what makes rows of columns `[1, 4 + classes, N]` for the sake of suppression.
fn turns_columns(graph: &Graph, node: &Node) -> bool {
    let joins_rows = |id| matches!(&graph.node(id).op, Op::Concat(c) if c.axis == 1);
    matches!(node.op, Op::Transpose(_)) && graph.producer(node.inputs[0]).is_some_and(joins_rows)
}

/// The last value of three axes through which all that the given values are computed from passes.
fn joined(graph: &Graph, from: &[ValueId]) -> Option<ValueId> {
    let nodes = graph.nodes().enumerate();
    let position: BTreeMap<NodeId, usize> = nodes.map(|(at, (id, _))| (id, at)).collect();
    let mut open: BTreeSet<ValueId> = from.iter().copied().collect();
    loop {
        let producers = open.iter().map(|&v| graph.producer(v));
        let producers: Option<Vec<NodeId>> = producers.collect();
        let last = producers?.into_iter().max_by_key(|id| position[id])?;
        let node = graph.node(last);
        if let [only] = open.iter().collect::<Vec<_>>()[..] {
            let is_dense = graph
                .ty(*only)
                .is_ok_and(|t| t.dtype == DataType::F32 && t.rank() == 3 && t.shape[0] == 1);
            if is_dense && !turns_columns(graph, node) {
                return Some(*only);
            }
        }
        if matches!(node.op, Op::Conv(_)) {
            return None;
        }
        open.retain(|v| !node.outputs.contains(v));
        let computed = |v: &&ValueId| graph.producer(**v).is_some() || graph.inputs().contains(v);
        open.extend(node.inputs.iter().filter(computed));
    }
}
