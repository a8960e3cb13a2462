//! Focus, the stem of YOLOv5 before v6.0 and of YOLOX, gathers every second pixel into channels; with the convolution that
//! reads them it is one convolution of twice the kernel and stride.
use super::Rewrite;
use crate::ops::{Concat, Conv, Op};
use crate::{Edit, Graph, NodeId, Tensor, ValueId};

/// `Conv(Concat(x[.., dy::2, dx::2] for all four (dy, dx)))` becomes one convolution, whatever the order of the slices.
pub const FOCUS: Rewrite = Rewrite {
    name: "focus",
    find,
};

fn find(graph: &Graph, id: NodeId) -> Option<Edit> {
    let node = graph.node(id);
    let Op::Conv(conv) = &node.op else {
        return None;
    };
    let joined = graph.node(graph.producer(node.inputs[0])?);
    if joined.op != Op::Concat(Concat { axis: 1 }) || joined.inputs.len() != 4 {
        return None;
    }
    let parts: Vec<(ValueId, [usize; 2])> = joined
        .inputs
        .iter()
        .map(|&v| every_second(graph, v))
        .collect::<Option<_>>()?;
    let x = parts[0].0;
    let mut corners: Vec<[usize; 2]> = parts.iter().map(|p| p.1).collect();
    corners.sort_unstable();
    let is_whole = corners == [[0, 0], [0, 1], [1, 0], [1, 1]];
    if !is_whole || parts.iter().any(|p| p.0 != x) || conv.group != 1 || conv.dilations != [1, 1] {
        return None;
    }
    let weight = graph.constant(node.inputs[1])?;
    let order: Vec<[usize; 2]> = parts.iter().map(|p| p.1).collect();
    let wide = spread(weight, &order)?;
    let mut edit = graph.edit();
    let wide = edit.constant(&graph.value(node.inputs[1]).name, wide);
    edit.set_op(
        id,
        Conv {
            kernel_shape: conv.kernel_shape.map(|k| 2 * k),
            strides: conv.strides.map(|s| 2 * s),
            pads: conv.pads.map(|p| 2 * p),
            ..conv.clone()
        },
    );
    let rest = node.inputs[2..].iter().copied();
    let inputs: Vec<ValueId> = [x, wide].into_iter().chain(rest).collect();
    edit.set_inputs(id, &inputs);
    Some(edit)
}

/// Follows Slices back to the image of which a value takes every second row and column, and from which corner.
fn every_second(graph: &Graph, value: ValueId) -> Option<(ValueId, [usize; 2])> {
    let (mut at, mut start, mut step) = (value, [0usize; 2], [1i64; 2]);
    while let Some(producer) = graph.producer(at) {
        let node = graph.node(producer);
        let Op::Slice(slice) = &node.op else { break };
        for range in &slice.ranges {
            let axis = range
                .axis
                .checked_sub(2)
                .filter(|&a| a < 2 && range.step > 0)?;
            start[axis] = range.start + start[axis] * usize::try_from(range.step).ok()?;
            step[axis] = step[axis].checked_mul(range.step)?;
        }
        at = node.inputs[0];
    }
    let (from, to) = (&graph.ty(at).ok()?.shape, &graph.ty(value).ok()?.shape);
    let is_half = |a: usize| from[a].is_multiple_of(2) && to[a] == from[a] / 2;
    let fits = from.len() == 4 && from[..2] == to[..2] && is_half(2) && is_half(3);
    (fits && step == [2, 2] && start.iter().all(|&s| s < 2)).then_some((at, start))
}

/// Every tap goes to the pixel that its channel block shows: `[O, 4 * C, k, k]` to `[O, C, 2 * k, 2 * k]`.
fn spread(weight: &Tensor, order: &[[usize; 2]]) -> Option<Tensor> {
    let &[o, channels, kh, kw] = weight.shape() else {
        return None;
    };
    let c = channels / order.len();
    let w = weight.to_f64().ok()?;
    let mut wide = vec![0.0; w.len()];
    for (i, &w) in w.iter().enumerate() {
        let (kx, ky, channel) = (i % kw, i / kw % kh, i / (kw * kh) % channels);
        let ([dy, dx], c_in, out) = (order[channel / c], channel % c, i / (kw * kh * channels));
        wide[((out * c + c_in) * 2 * kh + 2 * ky + dy) * 2 * kw + 2 * kx + dx] = w;
    }
    Tensor::from_f64(weight.dtype(), [o, c, 2 * kh, 2 * kw], &wide).ok()
}
