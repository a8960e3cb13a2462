//! Gradients of activations, of pooling, and of what was added to every pixel.

use crate::elementwise::zip;
use crate::nest::{self, Base, Row};
use crate::pointwise::sigmoid;
use crate::spatial::{check_pool, taps};
use crate::vector::{F32Body, F32Vector, load_part, store_part};
use crate::{Activation, Context, KernelError, Pool, View};

/// Channels that one task of [`max_pool_gradient`] goes over.
const CHANNELS: usize = 16;

impl Activation {
    /// The slope at `x`; at a kink, what PyTorch takes.
    #[inline(always)]
    fn slope<V: F32Vector>(&self, x: V) -> V {
        let (zero, one) = (x.constant(0.0), x.constant(1.0));
        match *self {
            Activation::Identity => one,
            Activation::Relu => zero.select_lt(x, one, zero),
            Activation::LeakyRelu { alpha } => zero.select_lt(x, one, x.constant(alpha)),
            Activation::Sigmoid => {
                let y = sigmoid(x);
                y.mul(one.sub(y))
            }
            Activation::Silu => {
                // At -inf the product would be NaN.
                let x = x.constant(-1000.0).max(x);
                let gate = sigmoid(x);
                gate.mul(x.fma(one.sub(gate), one))
            }
            Activation::HardSwish => {
                let line = x.fma(x.constant(1.0 / 3.0), x.constant(0.5));
                x.abs().select_lt(x.constant(3.0), line, zero.select_lt(x, one, zero))
            }
            Activation::HardSigmoid { alpha, beta } => {
                let line = x.fma(x.constant(alpha), x.constant(beta));
                let below = line.select_lt(one, x.constant(alpha), zero);
                zero.select_lt(line, below, zero)
            }
            Activation::Tanh => {
                let y = self.apply(x);
                one.sub(y.mul(y))
            }
            Activation::Clip { min, max } => {
                let below = x.constant(max).select_lt(x, zero, one);
                x.select_lt(x.constant(min), zero, below)
            }
        }
    }
}

struct Slope(Activation);

impl Row<3> for Slope {
    #[inline(always)]
    unsafe fn row<V: F32Vector>(&self, operands: [*mut f32; 3], strides: [usize; 3], n: usize) {
        // SAFETY: the caller's.
        unsafe {
            zip(
                operands,
                strides,
                n,
                #[inline(always)]
                |x: V, dy: V| self.0.slope(x).mul(dy),
            );
        }
    }
}

/// `dx = dy * activation'(x)`; `dx` may be `dy`.
///
/// # Errors
/// `Shape` when the shapes differ, and what every kernel checks: `OutOfBounds`, `SelfOverlap`, `Overlap`.
pub fn activation_gradient(
    ctx: &mut Context,
    activation: Activation,
    x: &View,
    dy: &View,
    dx: &View,
) -> Result<(), KernelError> {
    x.check_shape("x", &dx.shape)?;
    dy.check_shape("dy", &dx.shape)?;
    ctx.check_f32(dx, &[("x", x), ("dy", dy)], true)?;
    nest::run(ctx, [dx, x, dy], &Slope(activation));
    Ok(())
}

/// Gives the gradient of each window to the first of its largest elements.
///
/// # Shapes
/// `x` and `dx: [N, C, H, W]`, `dy` as [`max_pool`](crate::max_pool) makes it of `x`; NHWC views.
///
/// # Errors
/// As [`max_pool`](crate::max_pool).
pub fn max_pool_gradient(
    ctx: &mut Context,
    x: &View,
    dy: &View,
    dx: &View,
    pool: &Pool,
) -> Result<(), KernelError> {
    check_pool(x, dy, pool)?;
    dx.check_nhwc("dx")?;
    dx.check_shape("dx", &x.shape)?;
    ctx.check_f32(dx, &[("x", x), ("dy", dy)], false)?;
    ctx.f32_arena.fill(dx, 0.0)?;
    let base = Base(ctx.f32_arena.as_mut_ptr());
    let blocks = x.shape[1].div_ceil(CHANNELS);
    ctx.pool.run(x.shape[0] * blocks, &|task| {
        let (image, block) = (task / blocks, task % blocks);
        let channels = block * CHANNELS..((block + 1) * CHANNELS).min(x.shape[1]);
        let at = |v: &View, h: usize, w: usize, c: usize| {
            base.at(v.offset + image * v.strides[0] + h * v.strides[2] + w * v.strides[3] + c)
        };
        for (oy, ox) in (0..dy.shape[2]).flat_map(|h| (0..dy.shape[3]).map(move |w| (h, w))) {
            let start = |axis: usize, o: usize| {
                (o * pool.strides[axis]) as isize - pool.pads[axis] as isize
            };
            let (h0, w0) = (start(0, oy), start(1, ox));
            let rows = taps(h0, pool.kernel[0], pool.dilations[0], x.shape[2]);
            let columns = taps(w0, pool.kernel[1], pool.dilations[1], x.shape[3]);
            for c in channels.clone() {
                let mut largest: Option<(f32, [usize; 2])> = None;
                for kh in rows.0..rows.1 {
                    let h = (h0 + (kh * pool.dilations[0]) as isize) as usize;
                    for kw in columns.0..columns.1 {
                        let w = (w0 + (kw * pool.dilations[1]) as isize) as usize;
                        // SAFETY: taps are clamped to the checked image, channels to the view.
                        let value = unsafe { *at(x, h, w, c) };
                        if largest.is_none_or(|(best, _)| value > best) {
                            largest = Some((value, [h, w]));
                        }
                    }
                }
                if let Some((_, [h, w])) = largest {
                    // SAFETY: as above; `dx` has the shape of `x`, and tasks have channels or images of their own.
                    unsafe { *at(dx, h, w, c) += *at(dy, oy, ox, c) };
                }
            }
        }
    });
    Ok(())
}

struct ChannelSum<'a> {
    base: Base,
    x: &'a View,
    y: &'a View,
}

impl F32Body for ChannelSum<'_> {
    #[inline(always)]
    unsafe fn run<V: F32Vector>(&self) {
        let (x, y) = (self.x, self.y);
        let mut c = 0;
        while c < x.shape[1] {
            let left = x.shape[1] - c;
            // SAFETY: the caller's: both views are checked, and channels stay in them.
            unsafe {
                // Rows are summed apart, so that large images lose little of the last bits.
                let mut total = V::splat(0.0);
                for row in 0..x.shape[0] * x.shape[2] {
                    let (image, row) = (row / x.shape[2], row % x.shape[2]);
                    let from = x.offset + image * x.strides[0] + row * x.strides[2] + c;
                    let mut sum = V::splat(0.0);
                    for pixel in 0..x.shape[3] {
                        let at = self.base.at(from + pixel * x.strides[3]);
                        sum = sum.add(load_part(at, left));
                    }
                    total = total.add(sum);
                }
                store_part(total, self.base.at(y.offset + c), left);
            }
            c += V::LANES;
        }
    }
}

/// `y[c]`: the sum of `x: [N, C, H, W]`, an NHWC view, over images and pixels; `y: [1, C, 1, 1]` with channels side by side.
///
/// # Errors
/// `Rank`, `Stride`, `Shape`, and what every kernel checks.
pub fn channel_sum(ctx: &mut Context, x: &View, y: &View) -> Result<(), KernelError> {
    x.check_nhwc("x")?;
    y.check_nhwc("y")?;
    y.check_shape("y", &[1, x.shape[1], 1, 1])?;
    ctx.check_f32(y, &[("x", x)], false)?;
    let base = Base(ctx.f32_arena.as_mut_ptr());
    // SAFETY: the views are checked, and one task writes.
    unsafe { ctx.isa.run_f32(&ChannelSum { base, x, y }) };
    Ok(())
}
