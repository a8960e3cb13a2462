//! A detector for images of one shape: its input has no more padding than the network's strides ask for.
//!
//! A letterbox of 640 x 640 is 44 % padding for a camera of 16:9, and the network computes on it all the same. Cut at the output
//! convolutions of its head, a detector takes inputs of any size that its strides divide: the same weights, the same scale of the
//! image, 640 x 384. It is what Ultralytics' tools do by default (`rect`).
use crate::families::{Head, identify};
use crate::heads::RawHead;
use crate::{CompiledDetector, YoloError};
use ir::ops::{Slice, Transpose};
use ir::{Graph, Normalised, Op, ValueId};
use runtime::PlanOptions;
use std::sync::Arc;

impl CompiledDetector {
    /// Compiles a graph whose head was recognised for images of `[width, height]` pixels, scaled as its letterbox scales them.
    ///
    /// # Errors
    /// `NoRawOutputs` where the head's output convolutions are not as the family has them; `Graph` where the graph holds for one
    /// size of the input only, as attention with fixed shapes does; as [`CompiledDetector::compile`].
    pub fn compile_fitted(
        graph: &Normalised,
        head: &Head,
        image_px: [usize; 2],
        options: &PlanOptions,
    ) -> Result<Self, YoloError> {
        let raw = head.raw(graph)?;
        let size_px = fitted_size_px(head, &raw, image_px);
        let mut trunk = trunk(graph, &raw.outputs, size_px)?;
        raw.tell(graph, &mut trunk);
        // Channels last is how our engine holds them: so read, nothing is moved, and what is told of one box lies side by side.
        let mut edit = trunk.edit();
        let last: Vec<ValueId> = raw
            .outputs
            .iter()
            .enumerate()
            .flat_map(|(i, &output)| {
                let transpose = Transpose { perm: vec![0, 2, 3, 1] };
                edit.node(
                    &format!("channels last {i}"),
                    transpose,
                    &[output],
                    &[&format!("raw {i}")],
                )
            })
            .collect();
        edit.set_outputs(&last);
        trunk.apply(edit)?;
        let trunk = ir::normalise(trunk)?;
        let fitted = Arc::new(identify(&trunk, Some(head.family))?);
        Self::compile(&trunk, &fitted, options)
    }
}

/// Height and width of the least input that holds a scaled image, not larger than the head's own.
fn fitted_size_px(head: &Head, raw: &RawHead, [width, height]: [usize; 2]) -> [usize; 2] {
    let own = head.input.size_px;
    let [own_height, own_width] = own;
    let ratio = f64::min(own_width as f64 / width as f64, own_height as f64 / height as f64);
    let [stride_x, stride_y] = raw.coarsest_stride_px();
    let least = |px: usize, stride: usize, own: usize| {
        // As the letterbox rounds, and up to whole cells of the coarsest scale.
        let scaled = (px as f64 * ratio).round().max(1.0) as usize;
        scaled.next_multiple_of(stride.max(1)).min(own)
    };
    [least(height, stride_y, own_height), least(width, stride_x, own_width)]
}

/// The part of a graph that leads to its raw outputs, for inputs of this height and width.
///
/// # Errors
/// `Graph` where shapes do not fit each other then.
pub fn trunk(graph: &Graph, outputs: &[ValueId], size_px: [usize; 2]) -> Result<Graph, YoloError> {
    let mut trunk = graph.clone();
    let mut edit = trunk.edit();
    edit.set_outputs(outputs);
    for &input in graph.inputs() {
        let mut ty = graph.ty(input)?.clone();
        let axes = ty.shape.len();
        ty.shape[axes - 2..].copy_from_slice(&size_px);
        edit.set_type(input, ty);
    }
    for (id, node) in graph.nodes() {
        if let Op::Slice(slice) = &node.op {
            let shape = &graph.ty(node.inputs[0])?.shape;
            edit.set_op(id, to_the_end(slice, shape, graph, size_px));
        }
    }
    trunk.apply(edit)?;
    Ok(trunk)
}

/// A slice of an image (as YOLOX takes every other pixel) that reads to the end of an axis, for images of another size.
fn to_the_end(slice: &Slice, shape: &[usize], graph: &Graph, size_px: [usize; 2]) -> Slice {
    let mut slice = slice.clone();
    let input = graph.inputs().first().and_then(|&input| graph.ty(input).ok());
    let own = input.map_or(&[][..], |ty| ty.shape.as_slice());
    for range in slice.ranges.iter_mut().filter(|r| shape.len() == 4 && r.axis >= 2) {
        let (length, step) = (shape[range.axis], range.step);
        let (new, old) = (size_px[range.axis - 2], own.get(range.axis).copied().unwrap_or(0));
        let is_to_the_end =
            step > 0 && range.start as i64 + step * range.len as i64 >= length as i64;
        if is_to_the_end && old > 0 && (length * new).is_multiple_of(old) {
            let length = length * new / old;
            range.len = length.saturating_sub(range.start).div_ceil(step as usize);
        }
    }
    slice
}
