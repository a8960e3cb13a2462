//! One output element from one or two input elements.

use crate::nest::{self, Row};
use crate::pointwise::{elu, exp, gelu, gelu_tanh, mish};
use crate::transpose;
use crate::vector::{F32Vector, load_part, store_part};
use crate::{Activation, Context, FakeQuantize, KernelError, View};

/// A function of one value; ONNX names.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum UnaryOp {
    /// An activation.
    Activation(Activation),
    /// `e^x`.
    Exp,
    /// Natural logarithm.
    Log,
    /// Square root.
    Sqrt,
    /// `-x`.
    Neg,
    /// `1 / x`.
    Reciprocal,
    /// `|x|`.
    Abs,
    /// Towards minus infinity.
    Floor,
    /// Towards plus infinity.
    Ceil,
    /// To the nearest integer, ties to even.
    Round,
    /// Error function, by Abramowitz and Stegun 7.1.26 in f64 (1.5e-7 absolute).
    Erf,
    /// `ln(1 + e^x)`.
    Softplus,
    /// `x * tanh(ln(1 + e^x))`.
    Mish,
    /// `x * (1 + erf(x / sqrt(2))) / 2`.
    Gelu,
    /// As `Gelu`, approximated by the hyperbolic tangent.
    GeluTanh,
    /// `x` where `x >= 0`, else `alpha * (e^x - 1)`.
    Elu {
        /// The limit far below zero, negated.
        alpha: f32,
    },
    /// Quantize and dequantize.
    FakeQuantize(FakeQuantize),
    /// `x`.
    Identity,
}

/// A function of two values; ONNX names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BinaryOp {
    /// `a + b`.
    Add,
    /// `a - b`.
    Sub,
    /// `a * b`.
    Mul,
    /// `a / b`.
    Div,
    /// `a ^ b`.
    Pow,
    /// The smaller.
    Min,
    /// The larger.
    Max,
}

fn erf(x: f32) -> f32 {
    let t = 1.0 / (1.0 + 0.327_591_1 * f64::from(x.abs()));
    let p = 1.061_405_429f64
        .mul_add(t, -1.453_152_027)
        .mul_add(t, 1.421_413_741);
    let p = p.mul_add(t, -0.284_496_736).mul_add(t, 0.254_829_592) * t;
    let y = 1.0 - p * (-f64::from(x) * f64::from(x)).exp();
    y.copysign(f64::from(x)) as f32
}

impl Row<2> for UnaryOp {
    #[inline(always)]
    unsafe fn row<V: F32Vector>(&self, operands: [*mut f32; 2], strides: [usize; 2], n: usize) {
        // SAFETY: the caller's.
        unsafe {
            match *self {
                UnaryOp::Activation(a) => map(
                    operands,
                    strides,
                    n,
                    #[inline(always)]
                    |x: V| a.apply(x),
                ),
                UnaryOp::FakeQuantize(q) => map(
                    operands,
                    strides,
                    n,
                    #[inline(always)]
                    |x: V| q.apply(x),
                ),
                UnaryOp::Exp => map(
                    operands,
                    strides,
                    n,
                    #[inline(always)]
                    |x: V| exp(x),
                ),
                UnaryOp::Sqrt => map(
                    operands,
                    strides,
                    n,
                    #[inline(always)]
                    |x: V| x.sqrt(),
                ),
                UnaryOp::Neg => map(
                    operands,
                    strides,
                    n,
                    #[inline(always)]
                    |x: V| x.mul(V::splat(-1.0)),
                ),
                UnaryOp::Reciprocal => map(
                    operands,
                    strides,
                    n,
                    #[inline(always)]
                    |x: V| V::splat(1.0).div(x),
                ),
                UnaryOp::Abs => map(
                    operands,
                    strides,
                    n,
                    #[inline(always)]
                    |x: V| x.abs(),
                ),
                UnaryOp::Floor => map(
                    operands,
                    strides,
                    n,
                    #[inline(always)]
                    |x: V| x.floor(),
                ),
                UnaryOp::Ceil => map(
                    operands,
                    strides,
                    n,
                    #[inline(always)]
                    |x: V| x.ceil(),
                ),
                UnaryOp::Round => map(
                    operands,
                    strides,
                    n,
                    #[inline(always)]
                    |x: V| x.round(),
                ),
                UnaryOp::Identity => map(
                    operands,
                    strides,
                    n,
                    #[inline(always)]
                    |x: V| x,
                ),
                UnaryOp::Mish => map(
                    operands,
                    strides,
                    n,
                    #[inline(always)]
                    |x: V| mish(x),
                ),
                UnaryOp::Gelu => map(
                    operands,
                    strides,
                    n,
                    #[inline(always)]
                    |x: V| gelu(x),
                ),
                UnaryOp::GeluTanh => map(
                    operands,
                    strides,
                    n,
                    #[inline(always)]
                    |x: V| gelu_tanh(x),
                ),
                UnaryOp::Elu { alpha } => map(
                    operands,
                    strides,
                    n,
                    #[inline(always)]
                    |x: V| elu(x, alpha),
                ),
                UnaryOp::Log => each(operands, strides, n, f32::ln),
                UnaryOp::Erf => each(operands, strides, n, erf),
                UnaryOp::Softplus => {
                    each(operands, strides, n, |x| {
                        x.max(0.0) + (-x.abs()).exp().ln_1p()
                    });
                }
            }
        }
    }
}

#[inline(always)]
unsafe fn each(
    [y, x]: [*mut f32; 2],
    [y_step, x_step]: [usize; 2],
    n: usize,
    f: impl Fn(f32) -> f32,
) {
    for i in 0..n {
        // SAFETY: the caller's.
        unsafe { *y.add(i * y_step) = f(*x.add(i * x_step)) };
    }
}

/// A vector of a row: contiguous, repeated, or gathered.
#[inline(always)]
pub(crate) unsafe fn fetch<V: F32Vector>(x: *const f32, step: usize, n: usize) -> V {
    // SAFETY: the caller's: `n` valid elements at the stride.
    unsafe {
        match step {
            1 => load_part(x, n),
            0 => V::splat(*x),
            _ => {
                let mut lanes = [0.0f32; 16];
                if n >= V::LANES {
                    for (i, lane) in lanes.iter_mut().enumerate().take(V::LANES) {
                        *lane = *x.add(i * step);
                    }
                } else {
                    for (i, lane) in lanes.iter_mut().enumerate().take(n) {
                        *lane = *x.add(i * step);
                    }
                }
                V::load(lanes.as_ptr())
            }
        }
    }
}

#[inline(always)]
unsafe fn put<V: F32Vector>(value: V, y: *mut f32, step: usize, n: usize) {
    // SAFETY: the caller's: `n` valid elements at the stride.
    unsafe {
        if step == 1 {
            store_part(value, y, n);
            return;
        }
        let mut lanes = [0.0f32; 16];
        value.store(lanes.as_mut_ptr());
        for (i, lane) in lanes.iter().enumerate().take(n.min(V::LANES)) {
            *y.add(i * step) = *lane;
        }
    }
}

#[inline(always)]
unsafe fn map<V: F32Vector>(
    [y, x]: [*mut f32; 2],
    [y_step, x_step]: [usize; 2],
    n: usize,
    f: impl Fn(V) -> V,
) {
    let mut i = 0;
    while i < n {
        // SAFETY: the caller's.
        unsafe {
            let value = f(fetch(x.add(i * x_step), x_step, n - i));
            put(value, y.add(i * y_step), y_step, n - i);
        }
        i += V::LANES;
    }
}

impl Row<3> for BinaryOp {
    #[inline(always)]
    unsafe fn row<V: F32Vector>(&self, operands: [*mut f32; 3], strides: [usize; 3], n: usize) {
        // SAFETY: the caller's.
        unsafe {
            match self {
                BinaryOp::Add => zip(
                    operands,
                    strides,
                    n,
                    #[inline(always)]
                    |a: V, b| a.add(b),
                ),
                BinaryOp::Sub => zip(
                    operands,
                    strides,
                    n,
                    #[inline(always)]
                    |a: V, b| a.sub(b),
                ),
                BinaryOp::Mul => zip(
                    operands,
                    strides,
                    n,
                    #[inline(always)]
                    |a: V, b| a.mul(b),
                ),
                BinaryOp::Div => zip(
                    operands,
                    strides,
                    n,
                    #[inline(always)]
                    |a: V, b| a.div(b),
                ),
                BinaryOp::Min => zip(
                    operands,
                    strides,
                    n,
                    #[inline(always)]
                    |a: V, b| a.min(b),
                ),
                BinaryOp::Max => zip(
                    operands,
                    strides,
                    n,
                    #[inline(always)]
                    |a: V, b| a.max(b),
                ),
                BinaryOp::Pow => {
                    let ([y, a, b], [y_step, a_step, b_step]) = (operands, strides);
                    if b_step == 0 && *b == 2.0 {
                        return zip(
                            [y, a, a],
                            [y_step, a_step, a_step],
                            n,
                            #[inline(always)]
                            |a: V, b| a.mul(b),
                        );
                    }
                    for i in 0..n {
                        *y.add(i * y_step) = (*a.add(i * a_step)).powf(*b.add(i * b_step));
                    }
                }
            }
        }
    }
}

#[inline(always)]
unsafe fn zip<V: F32Vector>(
    [y, a, b]: [*mut f32; 3],
    [y_step, a_step, b_step]: [usize; 3],
    n: usize,
    f: impl Fn(V, V) -> V,
) {
    let mut i = 0;
    while i < n {
        // SAFETY: the caller's.
        unsafe {
            let a = fetch(a.add(i * a_step), a_step, n - i);
            let b = fetch(b.add(i * b_step), b_step, n - i);
            put(f(a, b), y.add(i * y_step), y_step, n - i);
        }
        i += V::LANES;
    }
}

/// `y = op(x)`; `y` may be `x`.
///
/// # Errors
/// `Shape` when the shapes differ, and what every kernel checks: `OutOfBounds`, `SelfOverlap`, `Overlap`.
pub fn unary(ctx: &mut Context, op: UnaryOp, x: &View, y: &View) -> Result<(), KernelError> {
    x.check_shape("x", &y.shape)?;
    ctx.check_f32(y, &[("x", x)], true)?;
    nest::run(ctx, [y, x], &op);
    Ok(())
}

/// `y = op(a, b)`, broadcasting expressed by strides of 0; `y` may be `a` or `b`.
///
/// # Errors
/// As [`unary`].
pub fn binary(
    ctx: &mut Context,
    op: BinaryOp,
    a: &View,
    b: &View,
    y: &View,
) -> Result<(), KernelError> {
    a.check_shape("a", &y.shape)?;
    b.check_shape("b", &y.shape)?;
    ctx.check_f32(y, &[("a", a), ("b", b)], true)?;
    nest::run(ctx, [y, a, b], &op);
    Ok(())
}

/// `y = x`, whatever the layouts.
///
/// # Errors
/// As [`unary`].
pub fn copy(ctx: &mut Context, x: &View, y: &View) -> Result<(), KernelError> {
    x.check_shape("x", &y.shape)?;
    ctx.check_f32(y, &[("x", x)], true)?;
    if x == y || !transpose::run(ctx, x, y) {
        nest::run(ctx, [y, x], &UnaryOp::Identity);
    }
    Ok(())
}
