//! The inputs as the rest of the program takes them: one image, channels first, in f32.
use crate::OnnxError;
use ir::ops::{Op, Transpose};
use ir::{DataType, Graph, Node, NodeId, TensorType, ValueId};

/// Fewer rows or columns are no image.
const MIN_SIDE_PX: usize = 16;

/// Brings images that a file takes as bytes, channels last or several at once to one f32 image `[1, C, H, W]`, and notes it.
///
/// # Errors
/// `FixedBatch` where operators hold on to the batch.
pub(crate) fn plain(graph: &mut Graph) -> Result<(), OnnxError> {
    one_image(graph)?;
    for input in graph.inputs().to_vec() {
        let Ok(ty) = graph.ty(input).cloned() else {
            continue;
        };
        if is_channels_last(&ty.shape) || (ty.dtype == DataType::U8 && ty.rank() == 4) {
            plain_image(graph, input, &ty);
        }
    }
    Ok(())
}

/// Whether a shape is `[N, H, W, C]`.
pub(crate) fn is_channels_last(shape: &[usize]) -> bool {
    match *shape {
        [_, h, w, c] => (1..=4).contains(&c) && h > MIN_SIDE_PX && w > MIN_SIDE_PX,
        _ => false,
    }
}

/// Bytes become f32, and channels come first. What cannot be brought there is left as it is.
fn plain_image(graph: &mut Graph, input: ValueId, ty: &TensorType) {
    let channels_last = is_channels_last(&ty.shape);
    let casts = |node: &Node| matches!(&node.op, Op::Cast(c) if c.to == DataType::F32);
    let readers = graph.consumers().remove(&input).unwrap_or_default();
    let is_cast = readers.iter().all(|(id, _)| casts(graph.node(*id)));
    if ty.dtype != DataType::F32 && !(ty.dtype == DataType::U8 && is_cast) {
        return;
    }
    let shape = match (channels_last, ty.shape.as_slice()) {
        (true, &[n, h, w, c]) => vec![n, c, h, w],
        _ => ty.shape.clone(),
    };
    let mut edit = graph.edit();
    edit.set_type(input, TensorType::new(DataType::F32, shape.clone()));
    let name = graph.value(input).name.clone();
    let perm = vec![0, 2, 3, 1];
    let mut image = input;
    if channels_last {
        let output = format!("{name}.nhwc");
        image = edit.node(&name, Transpose { perm }, &[input], &[&output])[0];
    }
    for &(id, position) in &readers {
        let node = graph.node(id);
        if casts(node) {
            edit.replace_uses(node.outputs[0], image);
        } else {
            edit.replace_input(id, position, image);
        }
    }
    if graph.apply(edit).is_err() {
        return;
    }
    cancel_transposes(graph, input);
    graph.notes.push(format!(
        "input {name} is {ty} in the file: it is read, and written, as f32 {shape:?}"
    ));
}

/// Two transpositions one after the other that leave an image as it was.
fn cancel_transposes(graph: &mut Graph, input: ValueId) {
    let transposes = |v: ValueId| {
        let readers = graph.consumers().remove(&v).unwrap_or_default();
        let transpose = |(id, _): &(NodeId, usize)| match &graph.node(*id).op {
            Op::Transpose(t) => Some((t.perm.clone(), graph.node(*id).outputs[0])),
            _ => None,
        };
        readers.iter().filter_map(transpose).collect::<Vec<_>>()
    };
    let mut edit = graph.edit();
    for (first, last) in transposes(input) {
        for (second, image) in transposes(last) {
            if first == [0, 2, 3, 1] && second == [0, 3, 1, 2] {
                edit.replace_uses(image, input);
            }
        }
    }
    // An edit that does not fit leaves two more steps, and the same results.
    let _ = graph.apply(edit);
}

/// A batch that the file fixes becomes 1, wherever an operator holds it.
fn one_image(graph: &mut Graph) -> Result<(), OnnxError> {
    let shape = |v: &ValueId| graph.ty(*v).map_or(&[][..], |t| t.shape.as_slice());
    let batches = graph.inputs().iter().map(|v| match *shape(v) {
        // Height is the third axis, or the second where channels come last; width is beside it.
        [n, y, yx, x] if yx > MIN_SIDE_PX && y.max(x) > MIN_SIDE_PX => n,
        _ => 0,
    });
    let batches: Vec<usize> = batches.collect();
    let Some(&batch) = batches.first() else {
        return Ok(());
    };
    if batch < 2 || batches.iter().any(|&n| n != batch) {
        return Ok(());
    }
    let refuse = |reason: String| OnnxError::FixedBatch { batch, reason };
    let mut single = ir::with_batch(graph, 1).map_err(refuse)?;
    single
        .notes
        .push(format!("the file takes {batch} images at once: it is run, and written, with one"));
    if let Some(stated) = single.metadata.get_mut("batch") {
        *stated = "1".to_owned();
    }
    *graph = single;
    Ok(())
}
