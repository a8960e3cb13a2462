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
}

fn erf(x: f32) -> f32 {
    let t = 1.0 / (1.0 + 0.327_591_1 * f64::from(x.abs()));
    let p = 1.061_405_429f64.mul_add(t, -1.453_152_027).mul_add(t, 1.421_413_741);
    let p = p.mul_add(t, -0.284_496_736).mul_add(t, 0.254_829_592) * t;
    let y = 1.0 - p * (-f64::from(x) * f64::from(x)).exp();
    y.copysign(f64::from(x)) as f32
}

fn softplus(x: f32) -> f32 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

impl Row<2> for UnaryOp {
    #[inline(always)]
    unsafe fn row<V: F32Vector>(&self, operands: [*mut f32; 2], strides: [usize; 2], n: usize) {
        /// One loop for each function, so that its constants stay in registers.
        macro_rules! row {
            (|$x:ident| $y:expr) => {
                map(
                    operands,
                    strides,
                    n,
                    #[inline(always)]
                    |$x: V| $y,
                )
            };
        }
        // SAFETY: the caller's.
        unsafe {
            match *self {
                UnaryOp::Activation(activation) => row!(|x| activation.apply(x)),
                UnaryOp::FakeQuantize(quantize) => row!(|x| quantize.apply(x)),
                UnaryOp::Identity => row!(|x| x),
                UnaryOp::Exp => row!(|x| exp(x)),
                UnaryOp::Log => row!(|x| per_lane(x, f32::ln)),
                UnaryOp::Sqrt => row!(|x| x.sqrt()),
                UnaryOp::Neg => row!(|x| x.mul(x.constant(-1.0))),
                UnaryOp::Reciprocal => row!(|x| x.constant(1.0).div(x)),
                UnaryOp::Abs => row!(|x| x.abs()),
                UnaryOp::Floor => row!(|x| x.floor()),
                UnaryOp::Ceil => row!(|x| x.ceil()),
                UnaryOp::Round => row!(|x| x.round()),
                UnaryOp::Erf => row!(|x| per_lane(x, erf)),
                UnaryOp::Softplus => row!(|x| per_lane(x, softplus)),
                UnaryOp::Mish => row!(|x| mish(x)),
                UnaryOp::Gelu => row!(|x| gelu(x)),
                UnaryOp::GeluTanh => row!(|x| gelu_tanh(x)),
                UnaryOp::Elu { alpha } => row!(|x| elu(x, alpha)),
            }
        }
    }
}

/// A function that has no form for vectors, lane by lane.
#[inline(always)]
fn per_lane<V: F32Vector>(x: V, f: impl Fn(f32) -> f32) -> V {
    let mut lanes = [0.0f32; 16];
    // SAFETY: a vector exists, so the processor executes its instruction set; the array holds the widest.
    unsafe {
        x.store(lanes.as_mut_ptr());
        for lane in &mut lanes[..V::LANES] {
            *lane = f(*lane);
        }
        V::load(lanes.as_ptr())
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
pub(crate) unsafe fn put<V: F32Vector>(value: V, y: *mut f32, step: usize, n: usize) {
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

impl BinaryOp {
    /// Of one value each.
    #[inline(always)]
    pub(crate) fn apply(self, a: f32, b: f32) -> f32 {
        match self {
            BinaryOp::Add => a + b,
            BinaryOp::Sub => a - b,
            BinaryOp::Mul => a * b,
            BinaryOp::Div => a / b,
            BinaryOp::Pow => a.powf(b),
        }
    }

    /// Of vectors.
    #[inline(always)]
    pub(crate) fn apply_lanes<V: F32Vector>(self, a: V, b: V) -> V {
        match self {
            BinaryOp::Add => a.add(b),
            BinaryOp::Sub => a.sub(b),
            BinaryOp::Mul => a.mul(b),
            BinaryOp::Div => a.div(b),
            BinaryOp::Pow => {
                let mut lanes = [[0.0f32; 16]; 2];
                // SAFETY: a vector exists, so the processor executes its instruction set; the arrays hold the widest.
                unsafe {
                    a.store(lanes[0].as_mut_ptr());
                    b.store(lanes[1].as_mut_ptr());
                    let [bases, exponents] = &mut lanes;
                    for (base, exponent) in bases.iter_mut().zip(exponents).take(V::LANES) {
                        *base = base.powf(*exponent);
                    }
                    V::load(lanes[0].as_ptr())
                }
            }
        }
    }
}

impl Row<3> for BinaryOp {
    #[inline(always)]
    unsafe fn row<V: F32Vector>(&self, operands: [*mut f32; 3], strides: [usize; 3], n: usize) {
        let ([y, a, b], [y_step, a_step, b_step]) = (operands, strides);
        // SAFETY: the caller's.
        unsafe {
            // Squares are products. A call of this function by itself would not be inlined.
            let is_square = *self == BinaryOp::Pow && b_step == 0 && *b == 2.0;
            let (op, operands, strides) = if is_square {
                (BinaryOp::Mul, [y, a, a], [y_step, a_step, a_step])
            } else {
                (*self, operands, strides)
            };
            /// One loop for each operation.
            macro_rules! row {
                ($op:expr) => {
                    zip(
                        operands,
                        strides,
                        n,
                        #[inline(always)]
                        |a: V, b: V| $op.apply_lanes(a, b),
                    )
                };
            }
            match op {
                BinaryOp::Add => row!(BinaryOp::Add),
                BinaryOp::Sub => row!(BinaryOp::Sub),
                BinaryOp::Mul => row!(BinaryOp::Mul),
                BinaryOp::Div => row!(BinaryOp::Div),
                BinaryOp::Pow => row!(BinaryOp::Pow),
            }
        }
    }
}

#[inline(always)]
pub(crate) unsafe fn zip<V: F32Vector>(
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
/// # Shapes
/// `x` and `y`: of one shape, f32, any layouts.
///
/// # Errors
/// `Shape` when the shapes differ, and what every kernel checks: `OutOfBounds`, `SelfOverlap`, `Overlap`.
pub fn unary(ctx: &mut Context, op: UnaryOp, x: &View, y: &View) -> Result<(), KernelError> {
    x.check_shape("x", &y.shape)?;
    ctx.check_f32(y, &[("x", x)], true)?;
    nest::run(ctx, [y, x], &op);
    Ok(())
}

/// A function that has no form for vectors.
struct PerElement<'f>(&'f (dyn Fn(f32) -> f32 + Sync));

impl Row<2> for PerElement<'_> {
    unsafe fn row<V: F32Vector>(&self, [y, x]: [*mut f32; 2], strides: [usize; 2], n: usize) {
        for i in 0..n {
            // SAFETY: the caller's: `n` valid elements at the strides.
            unsafe { *y.add(i * strides[0]) = (self.0)(*x.add(i * strides[1])) };
        }
    }
}

/// `y = f(x)`, element by element: for functions that [`UnaryOp`] does not have; `y` may be `x`.
///
/// # Errors
/// As [`unary`].
pub fn map_elements(
    ctx: &mut Context,
    f: &(dyn Fn(f32) -> f32 + Sync),
    x: &View,
    y: &View,
) -> Result<(), KernelError> {
    x.check_shape("x", &y.shape)?;
    ctx.check_f32(y, &[("x", x)], true)?;
    nest::run(ctx, [y, x], &PerElement(f));
    Ok(())
}

/// `y = op(a, b)`, broadcasting expressed by strides of 0; `y` may be `a` or `b`.
///
/// # Shapes
/// `a`, `b` and `y`: of one shape, f32, any layouts.
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
/// # Shapes
/// `x` and `y`: of one shape, f32, any layouts.
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
