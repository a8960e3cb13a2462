//! Slice: the elements that were taken receive their gradients, all others zeros.
use super::Gradient;
use crate::TrainError;
use crate::backward::Backward;
#[cfg(test)]
use crate::case::Case;
use ir::ValueId;
use ir::ops::{Pad, PadMode, Slice, SliceRange};

impl Gradient for Slice {
    fn backward(&self, node: &mut Backward<'_>) -> Result<Vec<Option<ValueId>>, TrainError> {
        let mut dx = node.output_gradient(0);
        let mut shape = node.output_shape(0).to_vec();
        for range in &self.ranges {
            dx = spread(node, dx, &mut shape, range);
        }
        Ok(vec![Some(dx)])
    }

    #[cfg(test)]
    fn cases() -> Vec<Case> {
        let range = |axis, start, len, step| SliceRange { axis, start, len, step };
        let ranges = [
            vec![range(1, 1, 2, 1)],
            vec![range(1, 0, 2, 2), range(2, 1, 2, 3)],
            vec![range(2, 4, 3, -2)],
            vec![range(0, 1, 2, -1), range(1, 3, 2, -1)],
        ];
        let case = |ranges| Case::new(Slice { ranges }, &[&[2, 4, 5]]);
        ranges.map(case).into()
    }
}

/// Puts the elements along one axis back to where a range took them from; `shape` is brought up to date.
fn spread(
    node: &mut Backward<'_>,
    mut value: ValueId,
    shape: &mut [usize],
    range: &SliceRange,
) -> ValueId {
    let (axis, len) = (range.axis, range.len);
    let step = usize::try_from(range.step.unsigned_abs()).expect("a step within the axis");
    let mut first = range.start;
    if range.step < 0 {
        // Taken backwards: turned round, they start at the last one taken.
        let reversed = SliceRange { axis, start: len - 1, len, step: -1 };
        let ranges = vec![reversed];
        value = node.apply(Slice { ranges }, &[value]);
        first -= (len - 1) * step;
    }
    if step > 1 {
        // Each element gets `step - 1` zeros behind it, on an axis of its own that is then merged.
        let mut apart = shape.to_vec();
        apart.insert(axis + 1, 1);
        value = node.reshape(value, &apart);
        value = pad(node, value, apart.len(), axis + 1, [0, step as i64 - 1]);
        shape[axis] *= step;
        value = node.reshape(value, shape);
    }
    let whole = node.input_shape(0)[axis] as i64;
    let before = first as i64;
    let after = whole - before - shape[axis] as i64;
    shape[axis] = whole as usize;
    pad(node, value, shape.len(), axis, [before, after])
}

/// Adds zeros before and after one axis, or takes elements away.
fn pad(
    node: &mut Backward<'_>,
    value: ValueId,
    rank: usize,
    axis: usize,
    zeros: [i64; 2],
) -> ValueId {
    let mut pads = vec![[0, 0]; rank];
    pads[axis] = zeros;
    let pad = Pad { mode: PadMode::Constant, pads, value: None };
    node.apply(pad, &[value])
}
