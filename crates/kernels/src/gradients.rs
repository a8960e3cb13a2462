//! Gradients of activations, of fake quantization, of pooling, and of what was added to every pixel.

use crate::elementwise::{fetch, put, zip};
use crate::nest::{self, Base, Row};
use crate::pointwise::sigmoid;
use crate::spatial::{check_pool, taps};
use crate::vector::{F32Body, F32Vector, load_part, store_part};
use crate::{Activation, Context, FakeQuantize, KernelError, Pool, View};

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

    /// What it makes of `x`, and the slope there.
    #[inline(always)]
    pub(crate) fn with_slope<V: F32Vector>(&self, x: V) -> [V; 2] {
        if *self == Activation::Silu {
            // One exponential and one quotient for both.
            let (x, one) = (x.constant(-1000.0).max(x), x.constant(1.0));
            let gate = sigmoid(x);
            return [x.mul(gate), gate.mul(x.fma(one.sub(gate), one))];
        }
        [self.apply(x), self.slope(x)]
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

/// The gradient of an element, and what it adds to that of the scale.
struct StraightThrough(FakeQuantize);

impl Row<4> for StraightThrough {
    #[inline(always)]
    unsafe fn row<V: F32Vector>(&self, operands: [*mut f32; 4], strides: [usize; 4], n: usize) {
        let ([dx, terms, x, dy], [dx_step, terms_step, x_step, dy_step]) = (operands, strides);
        let FakeQuantize { scale, zero_point, q_min, q_max } = self.0;
        let (lowest, highest) = (q_min - zero_point, q_max - zero_point);
        let mut i = 0;
        while i < n {
            // SAFETY: the caller's: `n` valid elements at the strides.
            unsafe {
                let x: V = fetch(x.add(i * x_step), x_step, n - i);
                let dy: V = fetch(dy.add(i * dy_step), dy_step, n - i);
                let (zero, lowest, highest) =
                    (x.constant(0.0), x.constant(lowest), x.constant(highest));
                let exact = x.div(x.constant(scale));
                let steps = exact.round();
                let inside = |inside: V| {
                    let below = highest.select_lt(steps, zero, inside);
                    steps.select_lt(lowest, zero, below)
                };
                let slope = highest.min(lowest.max(steps)).sub(inside(exact));
                put(inside(dy), dx.add(i * dx_step), dx_step, n - i);
                put(slope.mul(dy), terms.add(i * terms_step), terms_step, n - i);
            }
            i += V::LANES;
        }
    }
}

/// The straight-through gradient of [`UnaryOp::FakeQuantize`](crate::UnaryOp): `dx = dy` where the integers do not end before
/// `x`, and in `terms` what each element adds to the gradient of the scale.
///
/// Source: arXiv:1308.3432; arXiv:1902.08153, equation 3.
///
/// # Errors
/// `Shape` when the shapes differ, and what every kernel checks: `OutOfBounds`, `SelfOverlap`, `Overlap`.
pub fn fake_quantize_gradient(
    ctx: &mut Context,
    quantize: FakeQuantize,
    [x, dy]: [&View; 2],
    [dx, terms]: [&View; 2],
) -> Result<(), KernelError> {
    x.check_shape("x", &dx.shape)?;
    dy.check_shape("dy", &dx.shape)?;
    terms.check_shape("terms", &dx.shape)?;
    ctx.check_f32(dx, &[("x", x), ("dy", dy)], false)?;
    ctx.check_f32(terms, &[("x", x), ("dy", dy), ("dx", dx)], false)?;
    nest::run(ctx, [dx, terms, x, dy], &StraightThrough(quantize));
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
    let isa = ctx.isa;
    ctx.pool.run(x.shape[0] * blocks, &|task| {
        let (image, block) = (task / blocks, task % blocks);
        let task = MaxPoolGradient { base, x, dy, dx, pool, image, first: block * CHANNELS };
        // SAFETY: the views were checked, and no two tasks share an image and channels.
        unsafe { isa.run_f32(&task) };
    });
    Ok(())
}

/// Some channels of an image.
struct MaxPoolGradient<'a> {
    base: Base,
    x: &'a View,
    dy: &'a View,
    dx: &'a View,
    pool: &'a Pool,
    image: usize,
    /// The first of [`CHANNELS`].
    first: usize,
}

impl F32Body for MaxPoolGradient<'_> {
    #[inline(always)]
    unsafe fn run<V: F32Vector>(&self) {
        let (x, dy) = (self.x, self.dy);
        let end = (self.first + CHANNELS).min(x.shape[1]);
        for channel in (self.first..end).step_by(V::LANES) {
            for row in 0..dy.shape[2] {
                for column in 0..dy.shape[3] {
                    // SAFETY: the caller's.
                    unsafe { self.window::<V>([row, column], channel, end - channel) };
                }
            }
        }
    }
}

impl MaxPoolGradient<'_> {
    #[inline(always)]
    fn at(&self, view: &View, [row, column]: [usize; 2], channel: usize) -> *mut f32 {
        let image = view.offset + self.image * view.strides[0];
        self.base.at(image + row * view.strides[2] + column * view.strides[3] + channel)
    }

    /// One output pixel, so many channels of it: what is left of its gradient goes to every element that is not below the
    /// largest, so the first of these takes all.
    #[inline(always)]
    unsafe fn window<V: F32Vector>(&self, output: [usize; 2], channel: usize, left: usize) {
        let (x, pool) = (self.x, self.pool);
        let start = [0, 1]
            .map(|axis| (output[axis] * pool.strides[axis]) as isize - pool.pads[axis] as isize);
        let taps = [0, 1].map(|axis| {
            taps(start[axis], pool.kernel[axis], pool.dilations[axis], x.shape[axis + 2])
        });
        let pixel = |tap: [usize; 2]| {
            [0, 1].map(|axis| (start[axis] + (tap[axis] * pool.dilations[axis]) as isize) as usize)
        };
        let all = || {
            let columns = move |h| (taps[1].0..taps[1].1).map(move |w| [h, w]);
            (taps[0].0..taps[0].1).flat_map(columns)
        };
        // SAFETY: taps are clamped to the checked image, channels to the view; `dx` has the shape of `x`.
        unsafe {
            let mut largest = V::splat(f32::NEG_INFINITY);
            for tap in all() {
                largest = largest.max(load_part(self.at(x, pixel(tap), channel), left));
            }
            let zero = V::splat(0.0);
            let mut rest: V = load_part(self.at(self.dy, output, channel), left);
            for tap in all() {
                let value: V = load_part(self.at(x, pixel(tap), channel), left);
                let to = self.at(self.dx, pixel(tap), channel);
                let taken = value.select_lt(largest, zero, rest);
                rest = value.select_lt(largest, rest, zero);
                store_part(load_part::<V>(to, left).add(taken), to, left);
            }
        }
    }
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
