//! Focus: a convolution over pixels that were first moved into channels reads them where they are.
use super::{Lowered, Operand, Wiring, Work};
use ir::{Op, ValueId};
use std::collections::BTreeSet;

/// Blocks of a weight's input channels that are pixels of one image.
#[derive(Clone, Debug)]
pub(crate) struct Blocks {
    /// Pixels between neighbours of a block, down and right.
    pub(crate) steps: [usize; 2],
    /// First pixel of each block, in the order of the channels.
    pub(crate) starts: Vec<[usize; 2]>,
}

impl Blocks {
    /// The kernel over blocks behind the one over the image.
    pub(crate) fn kernel(&self, wide: [usize; 2]) -> [usize; 2] {
        [wide[0] / self.steps[0], wide[1] / self.steps[1]]
    }

    /// A weight for the blocks as one for the image: its kernel is `steps` times as large.
    pub(crate) fn spread<T: Copy + Default>(
        &self,
        weight: &[T],
        outputs: usize,
        [kernel_h, kernel_w]: [usize; 2],
    ) -> Vec<T> {
        let blocks = self.starts.len();
        let channels = weight.len() / (outputs * blocks * kernel_h * kernel_w).max(1);
        let [wide_h, wide_w] = [kernel_h * self.steps[0], kernel_w * self.steps[1]];
        let mut spread = vec![T::default(); outputs * channels * wide_h * wide_w];
        let mut from = weight.iter();
        for m in 0..outputs {
            for [top, left] in &self.starts {
                for c in 0..channels {
                    for h in (0..kernel_h).map(|h| h * self.steps[0] + top) {
                        for w in (0..kernel_w).map(|w| w * self.steps[1] + left) {
                            let to = ((m * channels + c) * wide_h + h) * wide_w + w;
                            if let Some(&tap) = from.next() {
                                spread[to] = tap;
                            }
                        }
                    }
                }
            }
        }
        spread
    }
}

/// Lets convolutions of a Concat of an image's Slices read the image.
pub(super) fn read_images(lowered: &mut Lowered<'_>, keep: &BTreeSet<ValueId>) {
    let wiring = Wiring::new(&lowered.items);
    for k in 0..lowered.items.len() {
        let Some((image, blocks)) = blocks(lowered, &wiring, keep, k) else {
            continue;
        };
        let item = &mut lowered.items[k];
        let Work::Conv(conv) = &mut item.work else {
            continue;
        };
        let [down, right] = blocks.steps;
        let attributes = &mut conv.conv;
        for (axis, step) in [down, right].into_iter().enumerate() {
            attributes.kernel_shape[axis] *= step;
            attributes.strides[axis] *= step;
            attributes.pads[axis] *= step;
            attributes.pads[axis + 2] *= step;
        }
        conv.blocks = Some(blocks);
        item.inputs[0] = image;
    }
}

fn blocks(
    lowered: &Lowered<'_>,
    wiring: &Wiring,
    keep: &BTreeSet<ValueId>,
    k: usize,
) -> Option<(Operand, Blocks)> {
    let item = &lowered.items[k];
    let Work::Conv(conv) = &item.work else {
        return None;
    };
    let joined = *item.inputs.first()?;
    let plain = conv.conv.group == 1 && conv.conv.dilations == [1, 1];
    if !plain || wiring.only_reader(joined) != Some(k) || keep.contains(&joined.value) {
        return None;
    }
    let concat = &lowered.items[*wiring.writer.get(&joined)?];
    if !matches!(&concat.work, Work::Node(Op::Concat(concat)) if concat.axis == 1) {
        return None;
    }
    let parts: Option<Vec<_>> = concat
        .inputs
        .iter()
        .map(|&v| part(lowered, wiring, v))
        .collect();
    let parts = parts?;
    let &(image, _, steps) = parts.first()?;
    let starts: Vec<[usize; 2]> = parts.iter().map(|part| part.1).collect();
    let shape = |v: Operand| lowered.graph.ty(v.value).map(|t| t.shape.as_slice()).ok();
    let (&[_, _, height, width], &[_, _, h, w]) = (shape(image)?, shape(joined)?) else {
        return None;
    };
    let distinct: BTreeSet<&[usize; 2]> = starts.iter().collect();
    let whole = steps[0] * steps[1] > 1 && [h * steps[0], w * steps[1]] == [height, width];
    let inside = starts.iter().all(|s| s[0] < steps[0] && s[1] < steps[1]);
    let alike = parts.iter().all(|part| part.0 == image && part.2 == steps);
    let fits = whole && inside && alike && distinct.len() == starts.len();
    fits.then_some((image, Blocks { steps, starts }))
}

/// The image that Slices of rows and columns read, with their first pixel and their steps.
fn part(
    lowered: &Lowered<'_>,
    wiring: &Wiring,
    mut v: Operand,
) -> Option<(Operand, [usize; 2], [usize; 2])> {
    let (mut start, mut steps) = ([0, 0], [1, 1]);
    let mut is_cut = false;
    while let Some(&writer) = wiring.writer.get(&v) {
        let item = &lowered.items[writer];
        let Work::Node(Op::Slice(slice)) = &item.work else {
            break;
        };
        for range in &slice.ranges {
            let axis = range.axis.checked_sub(2).filter(|&axis| axis < 2)?;
            let step = usize::try_from(range.step).ok().filter(|&step| step > 0)?;
            start[axis] = range.start + start[axis] * step;
            steps[axis] *= step;
        }
        is_cut = true;
        v = item.inputs[0];
    }
    is_cut.then_some((v, start, steps))
}
