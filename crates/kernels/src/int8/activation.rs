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
    /// `x * Sigmoid(x)`, piecewise quartic: 1.8e-5 off at most.
    Silu,
    /// `1 / (1 + exp(-x))`, piecewise quartic: 5e-6 off at most.
    Sigmoid,
}

/// A function of `0 <= u < 15` in eight quartic pieces, narrower near zero: the piece is the low two bits of the exponent
/// and the high one of the mantissa of `u + 1`. Coefficients of `u^0` to `u^4`, each of eight lanes: one permutation looks
/// it up for as many values.
#[derive(Clone, Copy)]
#[repr(align(32))]
struct Quartic([[f32; 8]; 5]);

/// Largest `u`, far enough from 15 for a rounding.
const U_MAX: f32 = 14.9999;

/// `-u / (1 + e^u)`, which is `Silu(u) - u` and `Silu(-u)`.
#[rustfmt::skip]
static SILU_BELOW: Quartic = Quartic([
    [1.9901779e-2, -3.315952e-2, -5.203789e-1, -7.7135783e-1, -3.417027e-1, -4.138596e-2, 0.0, 1.0688339e-3],
    [-5.755172e-1, -4.8754048e-1, 1.3180694e-1, 3.6467078e-1, 1.2911262e-1, 1.1557314e-2, -5.000117e-1, -5.074136e-1],
    [3.6388275e-1, 3.1128415e-1, 1.3296698e-2, -6.7307405e-2, -1.855532e-2, -1.216982e-3, 2.5021017e-1, 2.6992372e-1],
    [-8.405999e-2, -7.097597e-2, -6.6316524e-3, 5.713956e-3, 1.1983449e-3, 5.720927e-5, -1.1203174e-3, -2.5286408e-2],
    [6.8545192e-3, 5.7814703e-3, 5.1909883e-4, -1.8723037e-4, -2.926931e-5, -1.0121288e-6, -1.8834872e-2, -7.234242e-3],
]);

/// `1 / (1 + e^u)`, which is `Sigmoid(-u)`.
#[rustfmt::skip]
static SIGMOID_BELOW: Quartic = Quartic([
    [5.0478166e-1, 5.546413e-1, 5.4213506e-1, 2.8933215e-1, 6.7312784e-2, 4.649715e-3, 5.0e-1, 4.9985936e-1],
    [-2.648352e-1, -3.6531e-1, -3.5957295e-1, -1.5370817e-1, -2.6321702e-2, -1.3140939e-3, -2.49992e-1, -2.4889109e-1],
    [1.5749097e-2, 9.26116e-2, 9.486825e-2, 3.149916e-2, 3.8953254e-3, 1.3983525e-4, -1.5824096e-4, -3.5559991e-3],
    [1.6358824e-2, -1.0091444e-2, -1.1670954e-2, -2.9345702e-3, -2.5796052e-4, -6.6346934e-6, 2.1809382e-2, 2.6723942e-2],
    [-3.1110747e-3, 3.4170997e-4, 5.5934396e-4, 1.0438824e-4, 6.4378232e-6, 1.1834481e-7, -2.3971756e-3, -5.1947893e-3],
]);

/// An activation whose argument and result are counted in steps of a scale.
pub(crate) struct StepActivation {
    activation: QActivation,
    scale: f32,
    inv_scale: f32,
    below: Quartic,
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
        let squared = scale * scale;
        let factors = [inv_scale, 1.0, scale, squared, squared * scale];
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
        let (mut piece, [c0, c1, c2, c3, c4]) = ([V::piece(like); N], &self.below.0);
        for i in 0..N {
            u[i] = V::least_magnitude(u[i], u_max);
            piece[i] = V::piece(V::fused(u[i], scale, one));
        }
        let mut sum = u;
        for i in 0..N {
            sum[i] = V::lookup(c4, piece[i]);
        }
        for c in [c3, c2, c1, c0] {
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
