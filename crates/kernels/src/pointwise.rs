//! Functions of one value, written once for every instruction set and evaluated in registers.

use crate::simd::{Simd, Vector};

/// An activation function that a convolution applies before it stores.
///
/// Source: ONNX operators of the same names; SiLU is `x * Sigmoid(x)` (arXiv 1702.03118).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Activation {
    /// `x`
    #[default]
    Identity,
    /// `max(x, 0)`
    Relu,
    /// `x` where positive, else `alpha * x`
    LeakyRelu {
        /// Slope of the negative side.
        alpha: f32,
    },
    /// `1 / (1 + exp(-x))`
    Sigmoid,
    /// `x / (1 + exp(-x))`
    Silu,
    /// `x * max(0, min(1, x / 6 + 0.5))`
    HardSwish,
    /// `max(0, min(1, alpha * x + beta))`
    HardSigmoid {
        /// Slope.
        alpha: f32,
        /// Value at 0.
        beta: f32,
    },
    /// Hyperbolic tangent.
    Tanh,
    /// `min(max(x, min), max)`
    Clip {
        /// Least result.
        min: f32,
        /// Greatest result.
        max: f32,
    },
}

/// Quantization followed by its inverse, per tensor: `scale * (q - zero_point)` with
/// `q = clamp(round(x / scale) + zero_point, lo, hi)`, ties to even.
///
/// Source: ONNX QuantizeLinear and DequantizeLinear, opset 13.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FakeQuantize {
    /// Real value of one step.
    pub scale: f32,
    /// Code of the real value 0.
    pub zero_point: i32,
    /// Least code.
    pub lo: i32,
    /// Greatest code.
    pub hi: i32,
}

/// A function of one value.
///
/// Source: ONNX operators of the same names (`Round` is ties to even).
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
#[allow(missing_docs)] // the names are the documentation
pub enum UnaryOp {
    Activation(Activation),
    FakeQuantize(FakeQuantize),
    Exp,
    Log,
    Sqrt,
    Neg,
    Reciprocal,
    Abs,
    Floor,
    Ceil,
    Round,
}

impl From<Activation> for UnaryOp {
    fn from(activation: Activation) -> UnaryOp {
        UnaryOp::Activation(activation)
    }
}

/// A function of one vector.
pub(crate) trait Map: Copy {
    fn map<S: Simd>(self, s: S, x: S::V) -> S::V;
}

/// Code to run with a function that is known at compile time.
pub(crate) trait WithMap<S: Simd> {
    fn run<M: Map>(self, s: S, map: M);
}

macro_rules! maps {
    ($($name:ident |$s:ident, $x:ident| $body:expr;)+) => {$(
        #[derive(Clone, Copy)]
        struct $name;

        maps!(@impl $name, _this, $s, $x, $body);
    )+};
    (@impl $name:ident, $this:ident, $s:ident, $x:ident, $body:expr) => {
        impl Map for $name {
            #[inline(always)]
            fn map<S: Simd>(self, $s: S, $x: S::V) -> S::V {
                let $this = self;
                $body
            }
        }
    };
}

#[derive(Clone, Copy)]
struct LeakyRelu(f32);
#[derive(Clone, Copy)]
struct HardSigmoid(f32, f32);
#[derive(Clone, Copy)]
struct Clip(f32, f32);

maps! {
    Identity |_s, x| x;
    Relu |s, x| s.splat(0.0).max(x);
    Sigmoid |s, x| sigmoid(s, x);
    Silu |s, x| silu(s, x);
    HardSwish |s, x| x.mul(unit(s, x.mul_add(s.splat(1.0 / 6.0), s.splat(0.5))));
    Tanh |s, x| tanh(s, x);
    Exp |s, x| exp(s, x);
    Log |s, x| each_lane(s, x, f32::ln);
    Sqrt |_s, x| x.sqrt();
    Neg |s, x| x.mul(s.splat(-1.0));
    Reciprocal |s, x| s.splat(1.0).div(x);
    Abs |_s, x| x.abs();
    Floor |_s, x| x.floor();
    Ceil |_s, x| x.ceil();
    Round |_s, x| x.round();
}

maps! {@impl LeakyRelu, this, s, x, x.select_less(s.splat(0.0), x.mul(s.splat(this.0)), x)}
maps! {@impl HardSigmoid, this, s, x, unit(s, x.mul_add(s.splat(this.0), s.splat(this.1)))}
maps! {@impl Clip, this, s, x, s.splat(this.1).min(s.splat(this.0).max(x))}
maps! {@impl FakeQuantize, this, s, x, {
    let zero_point = s.splat(this.zero_point as f32);
    let q = x.div(s.splat(this.scale)).round().add(zero_point);
    let q = s.splat(this.hi as f32).min(s.splat(this.lo as f32).max(q));
    q.sub(zero_point).mul(s.splat(this.scale))
}}

/// Clamped to 0..=1.
#[inline(always)]
fn unit<S: Simd>(s: S, x: S::V) -> S::V {
    s.splat(1.0).min(s.splat(0.0).max(x))
}

#[inline(always)]
pub(crate) fn each_lane<S: Simd>(s: S, x: S::V, f: impl Fn(f32) -> f32) -> S::V {
    let mut lanes = [0.0f32; 16];
    // SAFETY: no instruction set has more than 16 lanes.
    unsafe { x.store(lanes.as_mut_ptr()) };
    for lane in lanes.iter_mut().take(S::LANES) {
        *lane = f(*lane);
    }
    // SAFETY: as above.
    unsafe { s.load(lanes.as_ptr()) }
}

/// `e^x`, within 2 units in the last place; 0 and infinity beyond the range, NaN for NaN.
///
/// Source: Cody and Waite's reduction, the polynomial of Cephes `expf`.
#[inline(always)]
#[allow(clippy::excessive_precision)] // the high part of ln 2 is exact in 9 bits
pub(crate) fn exp<S: Simd>(s: S, x: S::V) -> S::V {
    let x = s.splat(89.0).min(s.splat(-104.0).max(x));
    let n = x.mul(s.splat(std::f32::consts::LOG2_E)).round();
    let r = n.mul_add(s.splat(-0.693_359_375), x);
    let r = n.mul_add(s.splat(2.121_944_4e-4), r);
    let mut p = s.splat(1.987_569_15e-4);
    for c in [
        1.398_199_95e-3,
        8.333_451_9e-3,
        4.166_579_6e-2,
        1.666_666_55e-1,
        5.0e-1,
    ] {
        p = p.mul_add(r, s.splat(c));
    }
    p.mul_add(r.mul(r), r.add(s.splat(1.0))).ldexp(n)
}

#[inline(always)]
fn sigmoid<S: Simd>(s: S, x: S::V) -> S::V {
    let one = s.splat(1.0);
    one.div(one.add(exp(s, x.mul(s.splat(-1.0)))))
}

#[inline(always)]
fn silu<S: Simd>(s: S, x: S::V) -> S::V {
    // Below -104 the result is 0 in f32; the bound keeps -inf / inf away.
    let x = s.splat(-104.0).max(x);
    x.div(s.splat(1.0).add(exp(s, x.mul(s.splat(-1.0)))))
}

/// Source: Cephes `tanhf`: a polynomial near 0, where the quotient would cancel.
#[inline(always)]
fn tanh<S: Simd>(s: S, x: S::V) -> S::V {
    let z = x.mul(x);
    let mut p = s.splat(-5.704_988_7e-3);
    for c in [
        2.063_908_9e-2,
        -5.373_971_6e-2,
        1.333_144_2e-1,
        -3.333_328_2e-1,
    ] {
        p = p.mul_add(z, s.splat(c));
    }
    let near = p.mul(z).mul_add(x, x);
    let size = x.abs();
    let far = s
        .splat(1.0)
        .sub(s.splat(2.0).div(exp(s, size.add(size)).add(s.splat(1.0))));
    let far = x.select_less(s.splat(0.0), far.mul(s.splat(-1.0)), far);
    size.select_less(s.splat(0.625), near, far)
}

impl Activation {
    #[inline(always)]
    pub(crate) fn visit<S: Simd>(self, s: S, code: impl WithMap<S>) {
        match self {
            Activation::Identity => code.run(s, Identity),
            Activation::Relu => code.run(s, Relu),
            Activation::LeakyRelu { alpha } => code.run(s, LeakyRelu(alpha)),
            Activation::Sigmoid => code.run(s, Sigmoid),
            Activation::Silu => code.run(s, Silu),
            Activation::HardSwish => code.run(s, HardSwish),
            Activation::HardSigmoid { alpha, beta } => code.run(s, HardSigmoid(alpha, beta)),
            Activation::Tanh => code.run(s, Tanh),
            Activation::Clip { min, max } => code.run(s, Clip(min, max)),
        }
    }
}

impl UnaryOp {
    #[inline(always)]
    pub(crate) fn visit<S: Simd>(self, s: S, code: impl WithMap<S>) {
        match self {
            UnaryOp::Activation(activation) => activation.visit(s, code),
            UnaryOp::FakeQuantize(fake_quantize) => code.run(s, fake_quantize),
            UnaryOp::Exp => code.run(s, Exp),
            UnaryOp::Log => code.run(s, Log),
            UnaryOp::Sqrt => code.run(s, Sqrt),
            UnaryOp::Neg => code.run(s, Neg),
            UnaryOp::Reciprocal => code.run(s, Reciprocal),
            UnaryOp::Abs => code.run(s, Abs),
            UnaryOp::Floor => code.run(s, Floor),
            UnaryOp::Ceil => code.run(s, Ceil),
            UnaryOp::Round => code.run(s, Round),
        }
    }
}
