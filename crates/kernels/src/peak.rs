//! The processor's ceiling, to judge kernels by.

use crate::codes::vector::{CodeBody, CodeVector, code_lanes, dispatch_codes};
use crate::vector::{Body, Vector, dispatch};
use crate::{Isa, KernelError};
use std::cell::Cell;

const CHAINS: usize = 12;

struct Loop {
    rounds: usize,
    sum: Cell<f32>,
}

impl Body for Loop {
    #[inline(always)]
    unsafe fn run<V: Vector>(&self) {
        // SAFETY: the caller has the instruction set; the array holds the widest vector.
        unsafe {
            let (factor, term) = (V::splat(0.999_999), V::splat(std::hint::black_box(1e-6)));
            let mut acc = [term; CHAINS];
            for _ in 0..self.rounds {
                for a in &mut acc {
                    *a = a.fma(factor, term);
                }
            }
            let mut lanes = [0.0f32; 16];
            acc.into_iter()
                .fold(term, |a, b| a.add(b))
                .store(lanes.as_mut_ptr());
            self.sum.set(lanes[0]);
        }
    }
}

/// Runs `rounds` of independent multiply-adds in registers; returns how many floating-point operations that was and a
/// value that depends on all of them.
///
/// # Errors
/// `IsaUnavailable`.
pub fn fma_loop(isa: Isa, rounds: usize) -> Result<(u64, f32), KernelError> {
    isa.check()?;
    let body = Loop {
        rounds,
        sum: Cell::new(0.0),
    };
    // SAFETY: the instruction set is checked.
    unsafe { dispatch(isa, &body) };
    Ok((
        (2 * CHAINS * rounds * crate::vector::lanes(isa)) as u64,
        body.sum.get(),
    ))
}

/// Chains of the loop over products of codes: each quad with each vector of weights.
const QUADS: usize = 4;
const WEIGHTS: usize = 3;

struct DotLoop {
    rounds: usize,
    sum: Cell<i32>,
}

impl CodeBody for DotLoop {
    #[inline(always)]
    unsafe fn run<V: CodeVector>(&self) {
        let (codes, weights) = ([3u8; 4 * QUADS], [1i8; WEIGHTS * 64]);
        // SAFETY: the caller has the instruction set; the arrays hold the widest vectors.
        unsafe {
            let mut acc = [[V::splat(0); WEIGHTS]; QUADS];
            for _ in 0..self.rounds {
                // Read anew, so that no product is made just once.
                let codes = std::hint::black_box(codes.as_ptr());
                let weights = std::hint::black_box(weights.as_ptr());
                let mut w = [V::weights(weights); WEIGHTS];
                for (n, w) in w.iter_mut().enumerate() {
                    *w = V::weights(weights.add(n * V::WEIGHT_BYTES));
                }
                for (m, row) in acc.iter_mut().enumerate() {
                    let quad = V::quad(codes.add(4 * m));
                    for (a, w) in row.iter_mut().zip(w) {
                        *a = a.dot(quad, w);
                    }
                }
            }
            let mut lanes = [0i32; 16];
            let mut sum = V::splat(0);
            for a in acc.as_flattened() {
                sum = sum.add(*a);
            }
            sum.store(lanes.as_mut_ptr());
            self.sum.set(lanes[0]);
        }
    }
}

/// Runs `rounds` of independent products of codes and weights in registers (`vpdpbusd` where the processor has it);
/// returns how many integer operations that was, two for each product, and a value that depends on all of them.
///
/// # Errors
/// `IsaUnavailable`.
pub fn vnni_loop(isa: Isa, rounds: usize) -> Result<(u64, i32), KernelError> {
    isa.check()?;
    let body = DotLoop {
        rounds,
        sum: Cell::new(0),
    };
    // SAFETY: the instruction set is checked.
    unsafe { dispatch_codes(isa, &body) };
    Ok((
        (2 * 4 * QUADS * WEIGHTS * rounds * code_lanes(isa)) as u64,
        body.sum.get(),
    ))
}
