//! Pixels moved into channels, as Focus does it (the stem of YOLOv5 before v6.0 and of YOLOX), and the convolution over the
//! image that equals one over such channels.
use crate::ops::{Conv, Slice};
use std::collections::BTreeSet;

/// The pixels `start + k * steps` of an image, down and right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PixelGrid {
    /// The first pixel.
    pub start: [usize; 2],
    /// Pixels from one to the next.
    pub steps: [usize; 2],
}

impl PixelGrid {
    /// Every pixel.
    pub const WHOLE: Self = Self { start: [0, 0], steps: [1, 1] };

    /// These pixels of what a Slice takes of an image, as pixels of that image; `None` where the Slice takes other axes
    /// than rows and columns, or runs backwards.
    pub fn of_slice(self, slice: &Slice) -> Option<Self> {
        let mut grid = self;
        for range in &slice.ranges {
            let axis = range.axis.checked_sub(2).filter(|&axis| axis < 2)?;
            let step = usize::try_from(range.step).ok().filter(|&step| step > 0)?;
            grid.start[axis] = range.start + grid.start[axis] * step;
            grid.steps[axis] = grid.steps[axis].checked_mul(step)?;
        }
        Some(grid)
    }
}

/// Channels that are pixels of one image: each block of them is the image at every `steps` pixels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PixelBlocks {
    /// Pixels between neighbours of a block, down and right.
    pub steps: [usize; 2],
    /// First pixel of each block, in the order of the channels.
    pub starts: Vec<[usize; 2]>,
}

impl PixelBlocks {
    /// The blocks that these grids of one image are, `[N, C, H, W]` both before and after; `None` where their steps differ, they
    /// do not reach over the whole image, or two are the same.
    pub fn new(grids: &[PixelGrid], image: &[usize], joined: &[usize]) -> Option<Self> {
        let steps = grids.first()?.steps;
        let starts: Vec<[usize; 2]> = grids.iter().map(|grid| grid.start).collect();
        let (&[_, _, height, width], &[_, _, h, w]) = (image, joined) else {
            return None;
        };
        let is_moved = steps[0] * steps[1] > 1;
        let is_whole = [h.checked_mul(steps[0])?, w.checked_mul(steps[1])?] == [height, width];
        let is_inside = starts.iter().all(|s| s[0] < steps[0] && s[1] < steps[1]);
        let is_alike = grids.iter().all(|grid| grid.steps == steps);
        let distinct: BTreeSet<&[usize; 2]> = starts.iter().collect();
        let fits = is_moved && is_whole && is_inside && is_alike && distinct.len() == starts.len();
        fits.then_some(Self { steps, starts })
    }

    /// The convolution over the image that equals `conv` over the blocks, if its weight is spread; `None` for one in groups or
    /// with dilations.
    pub fn widen(&self, conv: &Conv) -> Option<Conv> {
        if conv.group != 1 || conv.dilations != [1, 1] {
            return None;
        }
        let mut wide = conv.clone();
        for (axis, step) in self.steps.into_iter().enumerate() {
            wide.kernel_shape[axis] *= step;
            wide.strides[axis] *= step;
            wide.pads[axis] *= step;
            wide.pads[axis + 2] *= step;
        }
        Some(wide)
    }

    /// A weight `[outputs, blocks * C, h, w]` over the blocks as one over the image: every tap goes to the pixel that its block
    /// shows, in a window of `h` and `w` times the steps.
    pub fn spread<T: Copy + Default>(&self, weight: &[T], outputs: usize, wide: &Conv) -> Vec<T> {
        let [wide_h, wide_w] = wide.kernel_shape;
        let [kernel_h, kernel_w] = [wide_h / self.steps[0], wide_w / self.steps[1]];
        let taps = outputs * self.starts.len() * kernel_h * kernel_w;
        let channels = weight.len() / taps.max(1);
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
