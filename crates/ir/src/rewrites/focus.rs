//! Focus, the stem of YOLOv5 before v6.0 and of YOLOX, gathers every second pixel into channels; with the convolution that
//! reads them it is one convolution of twice the kernel and stride.
use super::Rewrite;
use crate::ops::{Concat, Op};
use crate::{Edit, Graph, NodeId, PixelBlocks, PixelGrid, Tensor, ValueId};

/// `Conv(Concat(x[.., dy::2, dx::2] for all four (dy, dx)))` becomes one convolution, whatever the order of the slices.
pub const FOCUS: Rewrite = Rewrite { name: "focus", find };

fn find(graph: &Graph, id: NodeId) -> Option<Edit> {
    let node = graph.node(id);
    let Op::Conv(conv) = &node.op else {
        return None;
    };
    let joined = graph.node(graph.producer(node.inputs[0])?);
    if joined.op != Op::Concat(Concat { axis: 1 }) || joined.inputs.len() != 4 {
        return None;
    }
    let parts = joined.inputs.iter().map(|&v| sliced(graph, v));
    let parts: Vec<(ValueId, PixelGrid)> = parts.collect::<Option<_>>()?;
    let x = parts[0].0;
    let grids: Vec<PixelGrid> = parts.iter().map(|part| part.1).collect();
    let shape = |v: ValueId| graph.ty(v).ok().map(|ty| ty.shape.as_slice());
    let blocks = PixelBlocks::new(&grids, shape(x)?, shape(node.inputs[0])?)?;
    if blocks.steps != [2, 2] || parts.iter().any(|part| part.0 != x) {
        return None;
    }
    let weight = graph.constant(node.inputs[1])?;
    let outputs = *weight.shape().first()?;
    let wide = blocks.widen(conv)?;
    let [h, w] = wide.kernel_shape;
    let taps = blocks.spread(&weight.to_f64().ok()?, outputs, &wide);
    let taps = Tensor::from_f64(weight.dtype(), [outputs, weight.shape()[1] / 4, h, w], &taps);
    let mut edit = graph.edit();
    let taps = edit.constant(&graph.value(node.inputs[1]).name, taps.ok()?);
    edit.set_op(id, wide);
    let rest = node.inputs[2..].iter().copied();
    let inputs: Vec<ValueId> = [x, taps].into_iter().chain(rest).collect();
    edit.set_inputs(id, &inputs);
    Some(edit)
}

/// Follows Slices back to the image of which a value takes some rows and columns, and to which.
fn sliced(graph: &Graph, value: ValueId) -> Option<(ValueId, PixelGrid)> {
    let (mut at, mut grid) = (value, PixelGrid::WHOLE);
    while let Some(producer) = graph.producer(at) {
        let node = graph.node(producer);
        let Op::Slice(slice) = &node.op else { break };
        grid = grid.of_slice(slice)?;
        at = node.inputs[0];
    }
    Some((at, grid))
}
