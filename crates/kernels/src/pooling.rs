//! Pooling over windows clamped to the image: the halo is never read.

use crate::conv::part;
use crate::simd::{Kernel, Simd, Vector};
use crate::{Context, KernelError, View};
use std::ops::Range;

/// Shape of a pooling, named as in ONNX MaxPool and AveragePool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool {
    /// Height and width of the window.
    pub kernel_shape: [usize; 2],
    /// Steps along height and width.
    pub strides: [usize; 2],
    /// Distance of the taps along height and width.
    pub dilations: [usize; 2],
    /// Top, left, bottom, right.
    pub pads: [usize; 4],
}

#[derive(Clone, Copy, PartialEq)]
enum Reduction {
    Max,
    /// Mean over the taps inside the image.
    Mean,
    /// Mean that counts the padding, but nothing beyond it.
    MeanWithPads,
}

/// Greatest value of each window, in each channel.
///
/// # Shapes
/// `x: [N, C, H, W]`, `y: [N, C, H', W']`, channels side by side; the caller rounds `H'` and `W'` (`ceil_mode`).
///
/// # Errors
/// `Rank`, `Stride`, `Shape`, also when a window has no tap inside the image, `Zero`, `OutOfBounds`, `SelfOverlap`,
/// `Overlap`.
///
/// Source: ONNX MaxPool, opset 1 to 22.
pub fn max_pool(ctx: &mut Context<'_>, pool: &Pool, x: &View, y: &View) -> Result<(), KernelError> {
    reduce(ctx, pool, Reduction::Max, x, y)
}

/// Mean of each window, in each channel; `count_include_pad` counts the padding as zeros.
///
/// # Shapes
/// As [`max_pool`].
///
/// # Errors
/// As [`max_pool`].
///
/// Source: ONNX AveragePool, opset 1 to 22.
pub fn avg_pool(
    ctx: &mut Context<'_>,
    pool: &Pool,
    count_include_pad: bool,
    x: &View,
    y: &View,
) -> Result<(), KernelError> {
    let reduction = if count_include_pad {
        Reduction::MeanWithPads
    } else {
        Reduction::Mean
    };
    reduce(ctx, pool, reduction, x, y)
}

/// Mean of each channel.
///
/// # Shapes
/// `x: [N, C, H, W]`, `y: [N, C, 1, 1]`, channels side by side.
///
/// # Errors
/// As [`max_pool`].
///
/// Source: ONNX GlobalAveragePool, opset 1 to 22.
pub fn global_avg_pool(ctx: &mut Context<'_>, x: &View, y: &View) -> Result<(), KernelError> {
    x.check_rank("x", 4)?;
    y.check_shape("y", &[x.shape[0], x.shape[1], 1, 1])?;
    let kernel_shape = [x.shape[2], x.shape[3]];
    let pool = Pool {
        kernel_shape,
        strides: [1, 1],
        dilations: [1, 1],
        pads: [0; 4],
    };
    reduce(ctx, &pool, Reduction::Mean, x, y)
}

fn reduce(
    ctx: &mut Context<'_>,
    pool: &Pool,
    reduction: Reduction,
    x: &View,
    y: &View,
) -> Result<(), KernelError> {
    let least = |sizes: [usize; 2]| sizes[0].min(sizes[1]);
    for (parameter, size) in [
        ("kernel_shape", pool.kernel_shape),
        ("strides", pool.strides),
        ("dilations", pool.dilations),
    ] {
        if least(size) == 0 {
            return Err(KernelError::Zero { parameter });
        }
    }
    x.check_nhwc("x")?;
    y.check_nhwc("y")?;
    y.check_shape("y", &[x.shape[0], x.shape[1], y.shape[2], y.shape[3]])?;
    ctx.check(y, &[("x", x)], false)?;
    if y.elements() == 0 {
        return Ok(());
    }
    for axis in [0, 1] {
        let window = Window::of(pool, axis, x.shape[2 + axis]);
        if (0..y.shape[2 + axis]).any(|at| window.taps(at).is_empty()) {
            return Err(KernelError::Shape {
                operand: "y",
                expected: x.shape,
                found: y.shape,
            });
        }
    }
    let rows = y.shape[0] * y.shape[2];
    let tasks = (y.elements() * pool.kernel_shape[0] * pool.kernel_shape[1])
        .div_ceil(1 << 16)
        .min(rows);
    let job = Job {
        pool,
        reduction,
        x,
        y,
        base: ctx.arena.as_mut_ptr(),
    };
    let (job, isa) = (&job, ctx.isa);
    ctx.pool.run(tasks, &|task| {
        isa.run(Block {
            job,
            rows: part(rows, tasks, task),
        })
    });
    Ok(())
}

/// One axis of the window.
struct Window {
    kernel: usize,
    stride: usize,
    dilation: usize,
    lead: usize,
    trail: usize,
    len: usize,
}

impl Window {
    fn of(pool: &Pool, axis: usize, len: usize) -> Window {
        Window {
            kernel: pool.kernel_shape[axis],
            stride: pool.strides[axis],
            dilation: pool.dilations[axis],
            lead: pool.pads[axis],
            trail: pool.pads[axis + 2],
            len,
        }
    }

    /// Taps inside the image.
    fn taps(&self, at: usize) -> Range<usize> {
        self.taps_between(at, self.lead, self.lead.saturating_add(self.len))
    }

    /// Taps inside image and padding.
    fn padded_taps(&self, at: usize) -> usize {
        let end = self
            .lead
            .saturating_add(self.len)
            .saturating_add(self.trail);
        self.taps_between(at, 0, end).len()
    }

    fn taps_between(&self, at: usize, first: usize, end: usize) -> Range<usize> {
        let start = at.saturating_mul(self.stride);
        let lower = first
            .saturating_sub(start)
            .div_ceil(self.dilation)
            .min(self.kernel);
        let upper = end
            .saturating_sub(start)
            .div_ceil(self.dilation)
            .min(self.kernel);
        lower..upper.max(lower)
    }

    fn position(&self, at: usize, tap: usize) -> usize {
        at * self.stride + tap * self.dilation - self.lead
    }
}

struct Job<'a> {
    pool: &'a Pool,
    reduction: Reduction,
    x: &'a View,
    y: &'a View,
    base: *mut f32,
}

// SAFETY: `reduce` has checked the views; tasks write disjoint rows.
unsafe impl Sync for Job<'_> {}

struct Block<'a> {
    job: &'a Job<'a>,
    rows: Range<usize>,
}

impl Kernel for Block<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let job = self.job;
        let vertical = Window::of(job.pool, 0, job.x.shape[2]);
        let horizontal = Window::of(job.pool, 1, job.x.shape[3]);
        for row in self.rows.clone() {
            let (image, oy) = (row / job.y.shape[2], row % job.y.shape[2]);
            let ys = vertical.taps(oy);
            for ox in 0..job.y.shape[3] {
                let xs = horizontal.taps(ox);
                let count = match job.reduction {
                    Reduction::Max => 1,
                    Reduction::Mean => ys.len() * xs.len(),
                    Reduction::MeanWithPads => {
                        vertical.padded_taps(oy) * horizontal.padded_taps(ox)
                    }
                };
                let first = [
                    vertical.position(oy, ys.start),
                    horizontal.position(ox, xs.start),
                ];
                let from = job.x.offset
                    + image * job.x.strides[0]
                    + first[0] * job.x.strides[2]
                    + first[1] * job.x.strides[3];
                let to = job.y.offset
                    + image * job.y.strides[0]
                    + oy * job.y.strides[2]
                    + ox * job.y.strides[3];
                job.pixel(s, from, to, [ys.len(), xs.len()], count);
            }
        }
    }
}

impl Job<'_> {
    /// Reduces `taps` pixels from element `from` on, all channels.
    #[inline(always)]
    fn pixel<S: Simd>(
        &self,
        s: S,
        from: usize,
        to: usize,
        [rows, columns]: [usize; 2],
        count: usize,
    ) {
        let row_step = self.pool.dilations[0] * self.x.strides[2];
        let column_step = self.pool.dilations[1] * self.x.strides[3];
        let channels = self.y.shape[1];
        for channel in (0..channels).step_by(S::LANES) {
            let lanes = S::LANES.min(channels - channel);
            let mut sum = s.splat(if self.reduction == Reduction::Max {
                f32::NEG_INFINITY
            } else {
                0.0
            });
            for row in 0..rows {
                for column in 0..columns {
                    let at = from + row * row_step + column * column_step + channel;
                    // SAFETY: `reduce` has checked `x`, and the taps are inside the image.
                    let value = unsafe {
                        let p = self.base.add(at);
                        if lanes == S::LANES {
                            s.load(p)
                        } else {
                            s.load_first(p, lanes)
                        }
                    };
                    sum = if self.reduction == Reduction::Max {
                        sum.max(value)
                    } else {
                        sum.add(value)
                    };
                }
            }
            if self.reduction != Reduction::Max {
                sum = sum.div(s.splat(count as f32));
            }
            // SAFETY: `reduce` has checked `y`; these are channels of one of its pixels.
            unsafe {
                let p = self.base.add(to + channel);
                if lanes == S::LANES {
                    sum.store(p)
                } else {
                    sum.store_first(p, lanes)
                }
            }
        }
    }
}
