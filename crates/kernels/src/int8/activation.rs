//! Activations of INT8 convolutions: the same operations, hence the same bits, on every instruction set.

use crate::vector::{F32Vector, I32Vector};

/// An activation between the sums of an INT8 convolution and their quantization.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum QActivation {
    /// `x`.
    Identity,
    /// `max(x, 0)`.
    Relu,
    /// `x` where `x >= 0`, else `alpha * x`.
    LeakyRelu {
        /// Slope below zero.
        alpha: f32,
    },
    /// `min(max(x, min), max)`.
    Clip {
        /// Lower bound.
        min: f32,
        /// Upper bound.
        max: f32,
    },
    /// `x * clip(x / 6 + 0.5, 0, 1)`.
    HardSwish,
    /// `x * Sigmoid(x)`, piecewise cubic: 6.8e-5 off at most.
    Silu,
    /// `1 / (1 + exp(-x))`, piecewise cubic: 7.1e-5 off at most.
    Sigmoid,
}

/// A function of `0 <= u < 15` in eight cubic pieces, narrower near zero: the piece is the low two bits of the exponent
/// and the high one of the mantissa of `u + 1`. Coefficients of `u^0` to `u^3`, each of eight lanes: one permutation looks
/// it up for as many values.
#[derive(Clone, Copy)]
#[repr(align(32))]
struct Cubic([[f32; 8]; 4]);

/// Largest `u`, far enough from 15 for a rounding.
const U_MAX: f32 = 14.9999;

/// `-u / (1 + e^u)`, which is `Silu(u) - u` and `Silu(-u)`.
#[rustfmt::skip]
static SILU_BELOW: Cubic = Cubic([
    [-1.1329341e-2, -2.4896128e-1, -6.4083034e-1, -5.3614163e-1, -1.6222712e-1, -1.3535999e-2, 0.0, 3.0749808e-3],
    [-4.8742566e-1, -1.3471183e-1, 2.5727275e-1, 2.0551541e-1, 4.6944134e-2, 2.8557011e-3, -5.004394e-1, -5.188067e-1],
    [2.7258858e-1, 9.644506e-2, -3.5181902e-2, -2.7114296e-2, -4.568435e-3, -2.0152457e-4, 2.5542492e-1, 2.936989e-1],
    [-4.2829208e-2, -1.3230803e-2, 1.6038605e-3, 1.2238495e-3, 1.4913401e-4, 4.7528756e-6, -1.9168809e-2, -4.6905056e-2],
]);

/// `1 / (1 + e^u)`, which is `Sigmoid(-u)`.
#[rustfmt::skip]
static SIGMOID_BELOW: Cubic = Cubic([
    [5.186222e-1, 5.4154694e-1, 4.088858e-1, 1.5883385e-1, 2.8014842e-2, 1.3986581e-3, 5.0e-1, 5.013249e-1],
    [-3.041102e-1, -3.4404388e-1, -2.2168157e-1, -6.529906e-2, -8.309516e-3, -2.9789325e-4, -2.500498e-1, -2.571784e-1],
    [5.67013e-2, 7.9748414e-2, 4.194092e-2, 9.14463e-3, 8.257452e-4, 2.1198019e-5, 5.268797e-4, 1.3662741e-2],
    [-2.2474541e-3, -6.656592e-3, -2.7390267e-3, -4.341964e-4, -2.7439215e-5, -5.036284e-7, 1.9481903e-2, 1.1134743e-2],
]);

/// An activation whose argument and result are counted in steps of a scale.
pub(crate) struct StepActivation {
    activation: QActivation,
    scale: f32,
    inv_scale: f32,
    below: Cubic,
    /// Whether the pieces are of f32 values: powers of this scale would leave f32. Else they are of steps, argument and result.
    on_real_values: bool,
}

impl StepActivation {
    pub(crate) fn new(activation: QActivation, scale: f32) -> StepActivation {
        let inv_scale = 1.0 / scale;
        let mut below = match activation {
            QActivation::Sigmoid => SIGMOID_BELOW,
            _ => SILU_BELOW,
        };
        let on_real_values = !(1e-6..=1e6).contains(&scale);
        let factors = [inv_scale, 1.0, scale, scale * scale];
        for (coefficients, factor) in below.0.iter_mut().zip(factors) {
            for coefficient in coefficients {
                *coefficient *= if on_real_values { 1.0 } else { factor };
            }
        }
        let activation = match activation {
            QActivation::Clip { min, max } => {
                QActivation::Clip { min: min * inv_scale, max: max * inv_scale }
            }
            other => other,
        };
        StepActivation { activation, scale, inv_scale, below, on_real_values }
    }

    /// Of several vectors: each operation for all of them, since those of one would wait for each other.
    #[inline(always)]
    pub(crate) fn apply<V: I32Vector, const N: usize>(&self, mut x: [V::F; N]) -> [V::F; N] {
        let zero = x[0].constant(0.0);
        match self.activation {
            QActivation::Identity => {}
            QActivation::Silu => {
                let below = self.below::<V, N>(x);
                for (x, below) in x.iter_mut().zip(below) {
                    *x = x.max(zero).add(below);
                }
            }
            QActivation::Sigmoid => {
                let one = zero.constant(self.inv_scale);
                let below = self.below::<V, N>(x);
                for (x, below) in x.iter_mut().zip(below) {
                    *x = x.select_lt(zero, below, one.sub(below));
                }
            }
            other => {
                for x in &mut x {
                    *x = self.simple::<V>(other, *x);
                }
            }
        }
        x
    }

    #[inline(always)]
    fn simple<V: I32Vector>(&self, activation: QActivation, x: V::F) -> V::F {
        let (zero, one) = (x.constant(0.0), x.constant(1.0));
        match activation {
            QActivation::Relu => zero.max(x),
            QActivation::LeakyRelu { alpha } => x.select_lt(zero, x.mul(x.constant(alpha)), x),
            QActivation::Clip { min, max } => x.constant(max).min(x.constant(min).max(x)),
            QActivation::HardSwish => {
                let slope = x.constant(self.scale * (1.0 / 6.0));
                let gate = V::fused(x, slope, x.constant(0.5));
                x.constant(-1e30).max(x).mul(one.min(zero.max(gate)))
            }
            _ => x,
        }
    }

    #[inline(always)]
    fn below<V: I32Vector, const N: usize>(&self, mut u: [V::F; N]) -> [V::F; N] {
        let (mut u_max, mut scale) = (U_MAX * self.inv_scale, self.scale);
        if self.on_real_values {
            (u_max, scale) = (U_MAX, 1.0);
            for u in &mut u {
                *u = u.mul(u.constant(self.scale));
            }
        }
        let like = u[0];
        let (u_max, scale, one) = (like.constant(u_max), like.constant(scale), like.constant(1.0));
        let (mut piece, [c0, c1, c2, c3]) = ([V::piece(like); N], &self.below.0);
        for i in 0..N {
            u[i] = V::least_magnitude(u[i], u_max);
            piece[i] = V::piece(V::fused(u[i], scale, one));
        }
        let mut sum = u;
        for i in 0..N {
            sum[i] = V::lookup(c3, piece[i]);
        }
        for c in [c2, c1, c0] {
            for i in 0..N {
                sum[i] = V::fused(sum[i], u[i], V::lookup(c, piece[i]));
            }
        }
        if self.on_real_values {
            for sum in &mut sum {
                *sum = sum.mul(sum.constant(self.inv_scale));
            }
        }
        sum
    }
}
