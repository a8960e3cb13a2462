//! The matrices of F(4x4, 3x3), applied to vectors of channels.
//!
//! Polynomials are evaluated at 0, a, -a, b, -b and infinity. With a = 3/4 and b = 3/2 the rounding errors are half of those with the
//! usual 1 and 2. All factors but those of the filters are exact.

use crate::vector::F32Vector;

/// Outputs along one axis that are computed together.
pub(super) const TILE: usize = 4;
/// Inputs along one axis that these see.
pub(super) const PATCH: usize = 6;
/// Products that a tile takes for each pair of channels.
pub(in crate::conv) const POSITIONS: usize = PATCH * PATCH;

const A: f32 = 0.75;
const B: f32 = 1.5;
const A2: f32 = A * A;
const B2: f32 = B * B;
const A3: f32 = A * A2;
const B3: f32 = B * B2;

/// Both transforms of a square, down and across.
#[inline(always)]
pub(super) fn square<V: F32Vector, const N: usize, const M: usize>(
    zero: V,
    square: &[[V; N]; N],
    transform: impl Fn([V; N]) -> [V; M],
) -> [[V; M]; M] {
    let mut half = [[zero; N]; M];
    for column in 0..N {
        let mut values = [zero; N];
        for (value, row) in values.iter_mut().zip(square) {
            *value = row[column];
        }
        let values = transform(values);
        for (row, value) in half.iter_mut().zip(values) {
            row[column] = value;
        }
    }
    let mut whole = [[zero; M]; M];
    for (to, row) in whole.iter_mut().zip(half) {
        *to = transform(row);
    }
    whole
}

/// Inputs to what is multiplied.
#[inline(always)]
pub(super) fn input<V: F32Vector>(d: [V; PATCH]) -> [V; PATCH] {
    let [a, b] = [d[0].constant(A), d[0].constant(B)];
    let [minus_a2, minus_b2] = [d[0].constant(-A2), d[0].constant(-B2)];
    let [product, minus_sum] = [d[0].constant(A2 * B2), d[0].constant(-(A2 + B2))];
    let (even_a, odd_a) = (d[2].fma(minus_b2, d[4]), d[1].fma(minus_b2, d[3]));
    let (even_b, odd_b) = (d[2].fma(minus_a2, d[4]), d[1].fma(minus_a2, d[3]));
    let (odd_a, odd_b) = (odd_a.mul(a), odd_b.mul(b));
    [
        d[0].fma(product, d[2].fma(minus_sum, d[4])),
        even_a.add(odd_a),
        even_a.sub(odd_a),
        even_b.add(odd_b),
        even_b.sub(odd_b),
        d[1].fma(product, d[3].fma(minus_sum, d[5])),
    ]
}

/// Products to outputs.
#[inline(always)]
pub(super) fn output<V: F32Vector>(m: [V; PATCH]) -> [V; TILE] {
    let [a, a2, a3] = [m[0].constant(A), m[0].constant(A2), m[0].constant(A3)];
    let [b, b2, b3] = [m[0].constant(B), m[0].constant(B2), m[0].constant(B3)];
    let (even_a, odd_a) = (m[1].add(m[2]), m[1].sub(m[2]));
    let (even_b, odd_b) = (m[3].add(m[4]), m[3].sub(m[4]));
    [
        m[0].add(even_a.add(even_b)),
        odd_a.fma(a, odd_b.mul(b)),
        even_a.fma(a2, even_b.mul(b2)),
        odd_a.fma(a3, odd_b.fma(b3, m[5])),
    ]
}

/// Filters to what is multiplied.
#[inline(always)]
pub(super) fn filter<V: F32Vector>(g: [V; 3]) -> [V; PATCH] {
    let at_a = [1.0, A, A2].map(|power| power / (2.0 * A2 * (A2 - B2)));
    let at_b = [1.0, B, B2].map(|power| power / (2.0 * B2 * (B2 - A2)));
    let even = |at: [f32; 3]| g[0].fma(g[0].constant(at[0]), g[2].mul(g[2].constant(at[2])));
    let odd = |at: [f32; 3]| g[1].mul(g[1].constant(at[1]));
    let (even_a, odd_a, even_b, odd_b) = (even(at_a), odd(at_a), even(at_b), odd(at_b));
    [
        g[0].mul(g[0].constant(1.0 / (A2 * B2))),
        even_a.add(odd_a),
        even_a.sub(odd_a),
        even_b.add(odd_b),
        even_b.sub(odd_b),
        g[2],
    ]
}

/// Gradients of outputs to those of products: [`output`], transposed.
#[inline(always)]
pub(super) fn output_gradient<V: F32Vector>(d: [V; TILE]) -> [V; PATCH] {
    let [a, a2, a3] = [d[0].constant(A), d[0].constant(A2), d[0].constant(A3)];
    let [b, b2, b3] = [d[0].constant(B), d[0].constant(B2), d[0].constant(B3)];
    let (even_a, odd_a) = (d[2].fma(a2, d[0]), d[3].fma(a3, d[1].mul(a)));
    let (even_b, odd_b) = (d[2].fma(b2, d[0]), d[3].fma(b3, d[1].mul(b)));
    [d[0], even_a.add(odd_a), even_a.sub(odd_a), even_b.add(odd_b), even_b.sub(odd_b), d[3]]
}

/// Gradients of what filters became to those of the filters: [`filter`], transposed.
#[inline(always)]
pub(super) fn filter_gradient<V: F32Vector>(u: [V; PATCH]) -> [V; 3] {
    let at_a = [1.0, A, A2].map(|power| power / (2.0 * A2 * (A2 - B2)));
    let at_b = [1.0, B, B2].map(|power| power / (2.0 * B2 * (B2 - A2)));
    let constant = |value: f32| u[0].constant(value);
    let (even_a, odd_a) = (u[1].add(u[2]), u[1].sub(u[2]));
    let (even_b, odd_b) = (u[3].add(u[4]), u[3].sub(u[4]));
    let pairs =
        |power: usize, a: V, b: V| a.fma(constant(at_a[power]), b.mul(constant(at_b[power])));
    [
        u[0].fma(constant(1.0 / (A2 * B2)), pairs(0, even_a, even_b)),
        pairs(1, odd_a, odd_b),
        u[5].add(pairs(2, even_a, even_b)),
    ]
}
