//! Functions of one value: activations, fake quantization, the exponential.

use crate::vector::F32Vector;

/// An activation function.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Activation {
    /// `x`.
    Identity,
    /// `max(x, 0)`.
    Relu,
    /// `x` where `x >= 0`, else `alpha * x`.
    LeakyRelu {
        /// Slope below zero.
        alpha: f32,
    },
    /// `1 / (1 + exp(-x))`.
    Sigmoid,
    /// `x * Sigmoid(x)`.
    Silu,
    /// `x * clip(x / 6 + 0.5, 0, 1)`.
    HardSwish,
    /// `clip(alpha * x + beta, 0, 1)`.
    HardSigmoid {
        /// Slope.
        alpha: f32,
        /// Value at zero.
        beta: f32,
    },
    /// Hyperbolic tangent.
    Tanh,
    /// `min(max(x, min), max)`.
    Clip {
        /// Lower bound.
        min: f32,
        /// Upper bound.
        max: f32,
    },
}

/// Quantization to integers and back, in float: `(clamp(round(x / scale) + zero_point, q_min, q_max) - zero_point) * scale`,
/// ties to even.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FakeQuantize {
    /// Real value of one step.
    pub scale: f32,
    /// The integer that stands for 0.
    pub zero_point: f32,
    /// Smallest integer.
    pub q_min: f32,
    /// Largest integer.
    pub q_max: f32,
}

impl FakeQuantize {
    #[inline(always)]
    pub(crate) fn apply<V: F32Vector>(&self, x: V) -> V {
        let (scale, zero_point) = (x.constant(self.scale), x.constant(self.zero_point));
        let q = x.div(scale).round().add(zero_point);
        let q = x.constant(self.q_max).min(x.constant(self.q_min).max(q));
        q.sub(zero_point).mul(scale)
    }
}

/// `e^x` to about 1 ulp; infinite and zero where the result overflows and underflows.
///
/// Cody and Waite's reduction, and a least-squares polynomial of degree 6 on |r| <= ln(2)/2.
#[inline(always)]
pub(crate) fn exp<V: F32Vector>(x: V) -> V {
    let x = x.constant(89.0).min(x.constant(-104.0).max(x));
    let n = x.mul(x.constant(std::f32::consts::LOG2_E)).round();
    let r = n.fma(x.constant(-0.693_359_4), x);
    let r = n.fma(x.constant(2.121_944_4e-4), r);
    let p = x.constant(1.375_140_3e-3);
    let p = p.fma(r, x.constant(8.368_918e-3));
    let p = p.fma(r, x.constant(4.166_953_3e-2));
    let p = p.fma(r, x.constant(0.166_665_18));
    let p = p.fma(r, x.constant(0.499_999_9));
    let p = p.fma(r.mul(r), r).add(x.constant(1.0));
    p.scale(n)
}

#[inline(always)]
pub(crate) fn sigmoid<V: F32Vector>(x: V) -> V {
    let one = x.constant(1.0);
    one.div(one.add(exp(x.constant(0.0).sub(x))))
}

#[inline(always)]
fn tanh<V: F32Vector>(x: V) -> V {
    let one = x.constant(1.0);
    let big = one.sub(x.constant(2.0).div(exp(x.add(x)).add(one)));
    // Near zero the difference above cancels; a least-squares odd polynomial does not.
    let z = x.mul(x);
    let p = x.constant(-5.893_947e-3);
    let p = p.fma(z, x.constant(2.079_462e-2));
    let p = p.fma(z, x.constant(-5.378_329_3e-2));
    let p = p.fma(z, x.constant(0.133_319_15));
    let p = p.fma(z, x.constant(-0.333_333));
    let small = p.mul(z).fma(x, x);
    x.abs().select_lt(x.constant(0.6), small, big)
}

/// `x * tanh(ln(1 + e^x))`: the tangent is `n / (n + 2)` with `n = e^x * (e^x + 2)`.
#[inline(always)]
pub(crate) fn mish<V: F32Vector>(x: V) -> V {
    let two = x.constant(2.0);
    // From 20 on the tangent is 1; far below zero the result is -0, and -inf times 0 would be NaN.
    let x = x.constant(-1000.0).max(x);
    let e = exp(x.constant(20.0).min(x));
    let n = e.mul(e.add(two));
    x.mul(n.div(n.add(two)))
}

/// `x` times the share of a normal distribution below `x`.
///
/// Abramowitz and Stegun 7.1.26: the share beyond `|x|`, to 1e-7 or so.
#[inline(always)]
pub(crate) fn gelu<V: F32Vector>(x: V) -> V {
    let (zero, one) = (x.constant(0.0), x.constant(1.0));
    let x = x.constant(-1000.0).max(x);
    let z = x.abs().mul(x.constant(std::f32::consts::FRAC_1_SQRT_2));
    let t = one.div(z.fma(x.constant(0.327_591_1), one));
    let p = x.constant(1.061_405_4);
    let p = p.fma(t, x.constant(-1.453_152));
    let p = p.fma(t, x.constant(1.421_413_7));
    let p = p.fma(t, x.constant(-0.284_496_74));
    let p = p.fma(t, x.constant(0.254_829_6)).mul(t);
    let beyond = p.mul(x.constant(0.5)).mul(exp(zero.sub(z.mul(z))));
    x.mul(x.select_lt(zero, beyond, one.sub(beyond)))
}

/// As [`gelu`], by the hyperbolic tangent of `sqrt(2 / pi) * (x + 0.044715 * x^3)` (arXiv:1606.08415).
#[inline(always)]
pub(crate) fn gelu_tanh<V: F32Vector>(x: V) -> V {
    let x = x.constant(-1000.0).max(x);
    let cubic = x.mul(x).fma(x.constant(0.044_715), x.constant(1.0)).mul(x);
    // (1 + tanh(u)) / 2 is the sigmoid of 2u.
    x.mul(sigmoid(cubic.mul(x.constant(1.595_769))))
}

/// `x` where `x >= 0`, else `alpha * (e^x - 1)`.
#[inline(always)]
pub(crate) fn elu<V: F32Vector>(x: V, alpha: f32) -> V {
    let below = exp(x).sub(x.constant(1.0)).mul(x.constant(alpha));
    x.select_lt(x.constant(0.0), below, x)
}

impl Activation {
    #[inline(always)]
    pub(crate) fn apply<V: F32Vector>(&self, x: V) -> V {
        let (zero, one) = (x.constant(0.0), x.constant(1.0));
        match *self {
            Activation::Identity => x,
            Activation::Relu => zero.max(x),
            Activation::LeakyRelu { alpha } => x.select_lt(zero, x.mul(x.constant(alpha)), x),
            Activation::Sigmoid => sigmoid(x),
            // At -inf the product would be NaN; far below zero the result is -0 either way.
            Activation::Silu => {
                let x = x.constant(-1000.0).max(x);
                x.div(one.add(exp(zero.sub(x))))
            }
            Activation::HardSwish => {
                let gate = x.fma(x.constant(1.0 / 6.0), x.constant(0.5));
                x.constant(-1e30).max(x).mul(one.min(zero.max(gate)))
            }
            Activation::HardSigmoid { alpha, beta } => {
                one.min(zero.max(x.fma(x.constant(alpha), x.constant(beta))))
            }
            Activation::Tanh => tanh(x),
            Activation::Clip { min, max } => x.constant(max).min(x.constant(min).max(x)),
        }
    }
}
