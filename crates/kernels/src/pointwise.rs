//! Functions of one value: activations, fake quantization, the exponential.

use crate::vector::Vector;

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
    pub(crate) unsafe fn apply<V: Vector>(&self, x: V) -> V {
        // SAFETY: the caller has the instruction set.
        unsafe {
            let (scale, zero_point) = (V::splat(self.scale), V::splat(self.zero_point));
            let q = x.div(scale).round().add(zero_point);
            let q = V::splat(self.q_max).min(V::splat(self.q_min).max(q));
            q.sub(zero_point).mul(scale)
        }
    }
}

/// `e^x` to about 1 ulp; infinite and zero where the result overflows and underflows.
///
/// Cody and Waite's reduction, and a least-squares polynomial of degree 6 on |r| <= ln(2)/2.
#[inline(always)]
pub(crate) unsafe fn exp<V: Vector>(x: V) -> V {
    // SAFETY: the caller has the instruction set.
    unsafe {
        let x = V::splat(89.0).min(V::splat(-104.0).max(x));
        let n = x.mul(V::splat(std::f32::consts::LOG2_E)).round();
        let r = n.fma(V::splat(-0.693_359_4), x);
        let r = n.fma(V::splat(2.121_944_4e-4), r);
        let p = V::splat(1.375_140_3e-3);
        let p = p.fma(r, V::splat(8.368_918e-3));
        let p = p.fma(r, V::splat(4.166_953_3e-2));
        let p = p.fma(r, V::splat(0.166_665_18));
        let p = p.fma(r, V::splat(0.499_999_9));
        let p = p.fma(r.mul(r), r).add(V::splat(1.0));
        p.scale(n)
    }
}

#[inline(always)]
unsafe fn sigmoid<V: Vector>(x: V) -> V {
    // SAFETY: the caller has the instruction set.
    unsafe {
        let one = V::splat(1.0);
        one.div(one.add(exp(V::splat(0.0).sub(x))))
    }
}

#[inline(always)]
unsafe fn tanh<V: Vector>(x: V) -> V {
    // SAFETY: the caller has the instruction set.
    unsafe {
        let one = V::splat(1.0);
        let big = one.sub(V::splat(2.0).div(exp(x.add(x)).add(one)));
        // Near zero the difference above cancels; a least-squares odd polynomial does not.
        let z = x.mul(x);
        let p = V::splat(-5.893_947e-3);
        let p = p.fma(z, V::splat(2.079_462e-2));
        let p = p.fma(z, V::splat(-5.378_329_3e-2));
        let p = p.fma(z, V::splat(0.133_319_15));
        let p = p.fma(z, V::splat(-0.333_333));
        let small = p.mul(z).fma(x, x);
        x.abs().select_lt(V::splat(0.6), small, big)
    }
}

impl Activation {
    #[inline(always)]
    pub(crate) unsafe fn apply<V: Vector>(&self, x: V) -> V {
        // SAFETY: the caller has the instruction set.
        unsafe {
            let (zero, one) = (V::splat(0.0), V::splat(1.0));
            match *self {
                Activation::Identity => x,
                Activation::Relu => zero.max(x),
                Activation::LeakyRelu { alpha } => x.select_lt(zero, x.mul(V::splat(alpha)), x),
                Activation::Sigmoid => sigmoid(x),
                // At -inf the product would be NaN; far below zero the result is -0 either way.
                Activation::Silu => {
                    let x = V::splat(-1000.0).max(x);
                    x.div(one.add(exp(zero.sub(x))))
                }
                Activation::HardSwish => {
                    let gate = x.fma(V::splat(1.0 / 6.0), V::splat(0.5));
                    V::splat(-1e30).max(x).mul(one.min(zero.max(gate)))
                }
                Activation::HardSigmoid { alpha, beta } => {
                    one.min(zero.max(x.fma(V::splat(alpha), V::splat(beta))))
                }
                Activation::Tanh => tanh(x),
                Activation::Clip { min, max } => V::splat(max).min(V::splat(min).max(x)),
            }
        }
    }
}
