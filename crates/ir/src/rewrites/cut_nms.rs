//! Detectors that suppress boxes inside the graph (ONNX's NonMaxSuppression, the plugins of TensorRT), which engines without
//! these operators cannot run.
use super::Rewrite;
use crate::{DataType, Edit, Graph, Node, NodeId, Op, TensorType, ValueId};
use std::collections::{BTreeMap, BTreeSet};

/// Operators that suppress boxes: their first input is boxes, their second scores.
pub const SUPPRESSIONS: &[&str] =
    &["NonMaxSuppression", "EfficientNMS_TRT", "BatchedNMS_TRT", "BatchedNMSDynamic_TRT"];

/// The outputs become the one value `[1, A, B]` from which boxes and scores were taken, as exporters write it without
/// suppression; where they come from different convolutions and were never joined, the boxes and the scores.
pub const CUT_NMS: Rewrite = Rewrite { name: "cut_nms", find };

fn find(graph: &Graph, id: NodeId) -> Option<Edit> {
    let Op::Opaque(op) = &graph.node(id).op else {
        return None;
    };
    if !SUPPRESSIONS.contains(&op.op_type.as_str()) {
        return None;
    }
    let given = graph.node(id).inputs.get(..2)?;
    let cut = match joined(graph, given) {
        Some(dense) => vec![dense],
        None => given.to_vec(),
    };
    if !cut.iter().all(|v| is_dense(graph, *v)) {
        return None;
    }
    let mut edit = graph.edit();
    edit.set_outputs(&cut);
    // What an unknown node does is not known, so that none goes by itself.
    let mut after: BTreeSet<ValueId> = cut.into_iter().collect();
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

/// Whether a value has numbers of all boxes of one image.
fn is_dense(graph: &Graph, value: ValueId) -> bool {
    let is_dense = |t: &TensorType| t.dtype == DataType::F32 && t.rank() == 3 && t.shape[0] == 1;
    graph.producer(value).is_some() && graph.ty(value).is_ok_and(is_dense)
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
        if let [only] = open.iter().collect::<Vec<_>>()[..]
            && is_dense(graph, *only)
            && !turns_columns(graph, node)
        {
            return Some(*only);
        }
        if matches!(node.op, Op::Conv(_)) {
            return None;
        }
        open.retain(|v| !node.outputs.contains(v));
        let computed = |v: &&ValueId| graph.producer(**v).is_some() || graph.inputs().contains(v);
        open.extend(node.inputs.iter().filter(computed));
    }
}
