//! Which values are produced inside the buffer of the Concat that joins them.
use super::rows::{Rows, adopt_rows};
use crate::lowering::{Form, Item, Lowered, Operand, Wiring, Work};
use ir::Op;
use ir::ops::Concat;
use std::collections::{BTreeMap, BTreeSet};

/// The part of a Concat's output that a value is written to.
pub(crate) struct Parent {
    pub(crate) value: Operand,
    pub(crate) axis: usize,
    pub(crate) start: usize,
    pub(crate) len: usize,
}

/// What is produced inside what.
#[derive(Default)]
pub(crate) struct Parents {
    pub(crate) of: BTreeMap<Operand, Parent>,
    /// Concats of flattened images, whose channels lie side by side as in the images.
    pub(crate) channels_last: BTreeSet<Operand>,
    /// Convolutions that write the rows of a table.
    pub(crate) rows: BTreeMap<Operand, Rows>,
}

/// Finds the parents, the last Concat first, so that a Concat of Concats is one buffer.
pub(crate) fn parents(lowered: &Lowered<'_>) -> Parents {
    let wiring = Wiring::new(&lowered.items);
    let mut found = Parents::default();
    for item in lowered.items.iter().rev() {
        if let Work::Node(Op::Concat(concat)) = &item.work {
            let y = item.outputs[0];
            let flat = |v: &Operand| flattened(lowered, &wiring, *v, concat.axis).is_some();
            if item.inputs.iter().any(flat) && !lowered.graph.outputs().contains(&y.value) {
                found.channels_last.insert(y);
                let inside = found.of.get(&y).map(|parent| parent.value);
                if inside.is_some_and(|whole| !found.channels_last.contains(&whole)) {
                    found.of.remove(&y);
                }
            }
            adopt_rows(lowered, &wiring, (item, concat), &mut found);
            adopt(lowered, &wiring, (item, concat), &mut found);
        }
    }
    found
}

fn adopt(
    lowered: &Lowered<'_>,
    wiring: &Wiring,
    (item, concat): (&Item, &Concat),
    found: &mut Parents,
) {
    let axis = concat.axis;
    let length = |v: Operand| lowered.graph.ty(v.value).map_or(0, |t| t.shape[axis]);
    let (mut i, mut start) = (0, 0);
    while i < item.inputs.len() {
        let image = flattened(lowered, wiring, item.inputs[i], axis);
        let (v, taken) = match image.filter(|_| found.channels_last.contains(&item.outputs[0])) {
            Some(image) => (image, 1),
            None => source(lowered, wiring, &item.inputs[i..], axis),
        };
        let len: usize = item.inputs[i..i + taken].iter().map(|&v| length(v)).sum();
        if writes(lowered, wiring, v) && v != item.outputs[0] && alike(lowered, v, item.outputs[0])
        {
            found.of.entry(v).or_insert(Parent {
                value: item.outputs[0],
                axis,
                start,
                len,
            });
        }
        start += len;
        i += taken;
    }
}

/// The image `[N, C, H, W]` that is `v` as `[N, C, H * W]`, where a Concat joins it with others along the pixels.
fn flattened(lowered: &Lowered<'_>, wiring: &Wiring, v: Operand, axis: usize) -> Option<Operand> {
    let item = &lowered.items[*wiring.writer.get(&v)?];
    let image = *item.inputs.first()?;
    let shape = |v: Operand| lowered.graph.ty(v.value).map(|t| t.shape.as_slice()).ok();
    match (&item.work, shape(image)?, shape(v)?) {
        (Work::Node(Op::Reshape(_)), &[n, c, h, w], flat)
            if axis == 2 && *flat == [n, c, h * w] =>
        {
            Some(image)
        }
        _ => None,
    }
}

/// The value that fills the first of these inputs, and how many it fills: all parts of a Split that follow each other are
/// the value that was split, and a Reshape of fewer than four axes is what was reshaped.
fn source(
    lowered: &Lowered<'_>,
    wiring: &Wiring,
    inputs: &[Operand],
    axis: usize,
) -> (Operand, usize) {
    let Some(item) = wiring.writer.get(&inputs[0]).map(|&i| &lowered.items[i]) else {
        return (inputs[0], 1);
    };
    let rank = |v: Operand| lowered.graph.ty(v.value).map_or(0, |t| t.rank());
    match &item.work {
        Work::Node(Op::Split(split)) if split.axis == axis && inputs.starts_with(&item.outputs) => {
            (item.inputs[0], item.outputs.len())
        }
        Work::Node(Op::Reshape(_)) if rank(item.inputs[0]) != 4 => (item.inputs[0], 1),
        _ => (inputs[0], 1),
    }
}

/// Whether a step writes this value, so that it can be told where.
fn writes(lowered: &Lowered<'_>, wiring: &Wiring, v: Operand) -> bool {
    let Some(&i) = wiring.writer.get(&v) else {
        return false;
    };
    let Work::Node(op) = &lowered.items[i].work else {
        return true;
    };
    !matches!(
        op,
        Op::Split(_) | Op::Slice(_) | Op::Transpose(_) | Op::Reshape(_)
    )
}

/// Whether two values are held alike, quantized values of one meaning included.
fn alike(lowered: &Lowered<'_>, a: Operand, b: Operand) -> bool {
    let params = |v: Operand| lowered.params.get(&v.value);
    a.form == b.form && (a.form == Form::F32 || params(a) == params(b))
}
