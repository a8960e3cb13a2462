//! End-to-end detectors (YOLOv10, arXiv:2405.14458, section 3.1) pick the best positions and classes inside the graph, which
//! engines without TopK and Gather cannot run.
use super::Rewrite;
use crate::ops::{BinaryKind, Concat, Op, ReduceKind, Slice, SliceRange, Transpose};
use crate::{Edit, Graph, NodeId, Tensor, ValueId};

/// The output `[1, K, 6]` becomes all that was picked from: centre, size and scores of every position,
/// `[1, 4 + classes, N]`, the output of detectors without such a tail. What picks is left to the decoder.
pub const DENSE_OUTPUT: Rewrite = Rewrite { name: "dense_output", find };

fn find(graph: &Graph, id: NodeId) -> Option<Edit> {
    let choice = graph.node(id);
    let [output] = graph.outputs() else {
        return None;
    };
    let shape = |v: ValueId| graph.ty(v).ok().map(|t| t.shape.as_slice());
    if !matches!(choice.op, Op::TopK(_)) || !matches!(shape(*output)?, [1, _, 6]) {
        return None;
    }
    let best = graph.node(graph.producer(choice.inputs[0])?);
    let is_best = matches!(&best.op, Op::Reduce(r) if r.kind == ReduceKind::Max && r.axes == [2]);
    let scores = best.inputs[0];
    let &[1, positions, _] = shape(scores).filter(|_| is_best)? else {
        return None;
    };
    let boxes = picked_boxes(graph, *choice.outputs.get(1)?, positions)?;
    let mut edit = graph.edit();
    let mut half = |start: usize| {
        let ranges = vec![SliceRange { axis: 2, start, len: 2, step: 1 }];
        edit.node("corner", Slice { ranges }, &[boxes], &["corner"])[0]
    };
    let (low, high) = (half(0), half(2));
    let two = edit.constant("two", Tensor::scalar(2f32));
    let sum = edit.node("sum", BinaryKind::Add, &[low, high], &["sum"])[0];
    let centre = edit.node("centre", BinaryKind::Div, &[sum, two], &["centre"])[0];
    let size = edit.node("size", BinaryKind::Sub, &[high, low], &["size"])[0];
    let parts = [centre, size, scores];
    let rows = edit.node("rows", Concat { axis: 2 }, &parts, &["rows"])[0];
    let perm = vec![0, 2, 1];
    let dense = edit.node("dense", Transpose { perm }, &[rows], &["dense"])[0];
    edit.set_outputs(&[dense]);
    Some(edit)
}

/// The corners `[1, N, 4]` of which some are taken by these indices, in whatever form they are written.
fn picked_boxes(graph: &Graph, indices: ValueId, positions: usize) -> Option<ValueId> {
    let mut known = vec![indices];
    for (_, node) in graph.nodes() {
        let reads = node.inputs.iter().any(|v| known.contains(v));
        match &node.op {
            Op::Reshape(_) | Op::Expand(_) | Op::Cast(_) | Op::Concat(_) if reads => {
                known.extend(&node.outputs);
            }
            Op::Gather(_) | Op::GatherElements(_) | Op::GatherNd(_)
                if known.contains(&node.inputs[1])
                    && graph.ty(node.inputs[0]).ok()?.shape == [1, positions, 4] =>
            {
                return Some(node.inputs[0]);
            }
            _ => {}
        }
    }
    None
}
