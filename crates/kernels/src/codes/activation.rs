//! Activations between sums and codes: the same operations, hence the same bits, on every instruction set.

use super::vector::CodeVector;
use crate::vector::Vector;

/// An activation on the way from sums to codes.
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
    /// `x * Sigmoid(x)`, piecewise cubic: 1.2e-5 off at most.
    Silu,
    /// `1 / (1 + exp(-x))`, piecewise cubic: 6e-6 off at most.
    Sigmoid,
}

/// A function of `0 <= u < 15` in sixteen cubic pieces, narrower near zero: the piece is the low two bits of the exponent
/// and the high two of the mantissa of `u + 1`. Coefficients of `u^0`, `u^1`, `u^2`, `u^3`.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Cubic([[f32; 16]; 4]);

/// Largest `u`, far enough from 15 for a rounding.
const U_MAX: f32 = 14.9999;

/// `-u / (1 + e^u)`, which is `Silu(u) - u` and `Silu(-u)`.
#[rustfmt::skip]
static SILU_BELOW: Cubic = Cubic([
    [2.5467353e-3, -4.6503186e-2, -1.7442204e-1, -3.5175964e-1, -5.773446e-1, -6.909901e-1, -6.050308e-1, -4.451964e-1,
     -2.3831989e-1, -7.9665475e-2, -2.2480775e-2, -5.6555993e-3, 0.0, 3.157894e-4, 1.9989405e-3, 4.8614307e-3],
    [-5.198609e-1, -4.2409062e-1, -2.3257275e-1, -1.8797725e-2, 2.0307985e-1, 2.9313508e-1, 2.4254522e-1, 1.6241913e-1,
     7.519312e-2, 2.1017345e-2, 5.0732335e-3, 1.1130538e-3, -5.000585e-1, -5.0362825e-1, -5.136996e-1, -5.2534634e-1],
    [2.974639e-1, 2.3489945e-1, 1.3907658e-1, 5.3034846e-2, -1.9865444e-2, -4.366324e-2, -3.3728644e-2, -2.032421e-2,
     -8.045261e-3, -1.8678397e-3, -3.8433674e-4, -7.3389725e-5, 2.514258e-1, 2.6543486e-1, 2.857343e-1, 3.0160013e-1],
    [-4.9093157e-2, -3.5415415e-2, -1.9393513e-2, -7.831133e-3, 1.7056834e-4, 2.267454e-3, 1.6164656e-3, 8.681414e-4,
     2.910075e-4, 5.582348e-5, 9.764467e-6, 1.6201296e-6, -9.897026e-3, -2.904174e-2, -4.2821743e-2, -5.0056487e-2],
]);

/// `1 / (1 + e^u)`, which is `Sigmoid(-u)`.
#[rustfmt::skip]
static SIGMOID_BELOW: Cubic = Cubic([
    [5.113358e-1, 5.313039e-1, 5.445861e-1, 5.327309e-1, 4.6468514e-1, 3.2582897e-1, 1.9991401e-1, 1.1268832e-1,
     4.5375217e-2, 1.1108828e-2, 2.4659415e-3, 5.105529e-4, 5.0000006e-1, 5.0005174e-1, 5.0062776e-1, 5.028611e-1],
    [-2.8684098e-1, -3.2727098e-1, -3.4794447e-1, -3.3422264e-1, -2.6876572e-1, -1.638217e-1, -8.7442264e-2, -4.3363284e-2,
     -1.4768321e-2, -2.9822504e-3, -5.6269e-4, -1.0125016e-4, -2.5000453e-1, -2.5055185e-1, -2.538986e-1, -2.6273474e-1],
    [4.3254245e-2, 7.066462e-2, 8.1406966e-2, 7.611257e-2, 5.5086024e-2, 2.8580219e-2, 1.31113725e-2, 5.6781163e-3,
     1.622477e-3, 2.6905976e-4, 4.3044995e-5, 6.7215196e-6, 7.845706e-5, 2.0552669e-3, 8.59681e-3, 2.0302216e-2],
    [1.1944326e-3, -5.027071e-3, -6.890254e-3, -6.2092794e-3, -3.9534084e-3, -1.7162891e-3, -6.7036337e-4, -2.5207718e-4,
     -6.0026625e-5, -8.147147e-6, -1.1030263e-6, -1.4928625e-7, 2.046255e-2, 1.8009342e-2, 1.3705363e-2, 8.5130185e-3],
]);

/// An activation whose argument and result are counted in steps of a scale.
pub(crate) struct StepActivation {
    activation: QActivation,
    scale: f32,
    inv_scale: f32,
    /// Of steps: its result and its argument.
    below: Cubic,
}

impl StepActivation {
    pub(crate) fn new(activation: QActivation, scale: f32) -> StepActivation {
        let inv_scale = 1.0 / scale;
        let mut below = match activation {
            QActivation::Sigmoid => SIGMOID_BELOW,
            _ => SILU_BELOW,
        };
        let factors = [inv_scale, 1.0, scale, scale * scale];
        for (coefficients, factor) in below.0.iter_mut().zip(factors) {
            for coefficient in coefficients {
                *coefficient *= factor;
            }
        }
        let activation = match activation {
            QActivation::Clip { min, max } => QActivation::Clip {
                min: min * inv_scale,
                max: max * inv_scale,
            },
            other => other,
        };
        StepActivation {
            activation,
            scale,
            inv_scale,
            below,
        }
    }

    /// Of several vectors: each operation for all of them, since those of one would wait for each other.
    ///
    /// # Safety
    /// Needs `V`'s instruction set.
    #[inline(always)]
    pub(crate) unsafe fn apply<V: CodeVector, const N: usize>(
        &self,
        mut x: [V::F; N],
    ) -> [V::F; N] {
        // SAFETY: the caller has the instruction set.
        unsafe {
            let zero = V::F::splat(0.0);
            match self.activation {
                QActivation::Identity => {}
                QActivation::Silu => {
                    let below = self.below::<V, N>(x);
                    for (x, below) in x.iter_mut().zip(below) {
                        *x = x.max(zero).add(below);
                    }
                }
                QActivation::Sigmoid => {
                    let one = V::F::splat(self.inv_scale);
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
    }

    #[inline(always)]
    unsafe fn simple<V: CodeVector>(&self, activation: QActivation, x: V::F) -> V::F {
        // SAFETY: the caller has the instruction set.
        unsafe {
            let (zero, one) = (V::F::splat(0.0), V::F::splat(1.0));
            match activation {
                QActivation::Relu => zero.max(x),
                QActivation::LeakyRelu { alpha } => x.select_lt(zero, x.mul(V::F::splat(alpha)), x),
                QActivation::Clip { min, max } => V::F::splat(max).min(V::F::splat(min).max(x)),
                QActivation::HardSwish => {
                    let slope = V::F::splat(self.scale * (1.0 / 6.0));
                    let gate = V::fused(x, slope, V::F::splat(0.5));
                    V::F::splat(-1e30).max(x).mul(one.min(zero.max(gate)))
                }
                _ => x,
            }
        }
    }

    #[inline(always)]
    unsafe fn below<V: CodeVector, const N: usize>(&self, mut u: [V::F; N]) -> [V::F; N] {
        // SAFETY: the caller has the instruction set.
        unsafe {
            let u_max = V::F::splat(U_MAX * self.inv_scale);
            let (scale, one) = (V::F::splat(self.scale), V::F::splat(1.0));
            let (mut piece, [c0, c1, c2, c3]) = ([V::splat(0); N], &self.below.0);
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
            sum
        }
    }
}
