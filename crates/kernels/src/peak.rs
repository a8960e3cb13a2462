//! The processor's ceiling, to judge kernels by.

use crate::Isa;
use crate::vector::{F32Body, F32Vector, I32Body, I32Vector};
use std::cell::Cell;

const CHAINS: usize = 12;

struct Loop {
    rounds: usize,
    sum: Cell<f32>,
}

impl F32Body for Loop {
    #[inline(always)]
    unsafe fn run<V: F32Vector>(&self) {
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
            acc.into_iter().fold(term, |a, b| a.add(b)).store(lanes.as_mut_ptr());
            self.sum.set(lanes[0]);
        }
    }
}

/// Runs `rounds` of independent multiply-adds in registers; returns how many floating-point operations that was and a
/// value that depends on all of them.
pub fn fma_loop(isa: Isa, rounds: usize) -> (u64, f32) {
    let body = Loop { rounds, sum: Cell::new(0.0) };
    // SAFETY: the body has no pointers of its caller's.
    unsafe { isa.run_f32(&body) };
    ((2 * CHAINS * rounds * isa.f32().lanes) as u64, body.sum.get())
}

/// Each of `M` times `K` blocks of four with each of `N` times `K` vectors of weights, `K` summed together.
struct DotLoop<const M: usize, const N: usize, const K: usize> {
    rounds: usize,
    sum: Cell<i32>,
}

impl<const M: usize, const N: usize, const K: usize> I32Body for DotLoop<M, N, K> {
    #[inline(always)]
    unsafe fn run<V: I32Vector>(&self) {
        let (quantized, weights) = ([[[3u8; 4]; K]; M], [[[1i8; 64]; K]; N]);
        // SAFETY: the caller has the instruction set; the arrays hold the widest vectors.
        unsafe {
            let mut acc = [[V::splat(0); N]; M];
            for _ in 0..self.rounds {
                // Read anew, so that no product is made just once.
                let quantized = std::hint::black_box(quantized.as_ptr());
                let weights = std::hint::black_box(weights.as_ptr());
                for (m, row) in acc.iter_mut().enumerate() {
                    let first = quantized.add(m).cast::<u8>();
                    let blocks4: [*const u8; K] = std::array::from_fn(|k| first.add(4 * k));
                    for (n, sum) in row.iter_mut().enumerate() {
                        *sum = sum.dot_i16(blocks4, weights.add(n).cast());
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

impl<const M: usize, const N: usize, const K: usize> DotLoop<M, N, K> {
    fn repeat(isa: Isa, rounds: usize) -> (u64, i32) {
        let body = DotLoop::<M, N, K> { rounds, sum: Cell::new(0) };
        // SAFETY: the body has no pointers of its caller's.
        unsafe { isa.run_i32(&body) };
        let operations = 2 * 4 * M * N * K * rounds * isa.int8().lanes;
        (operations as u64, body.sum.get())
    }
}

/// Runs `rounds` of independent products of u8 and i8 in registers, by the instructions that convolutions use (`vpdpbusd`
/// or its like, on AVX2 `vpmaddubsw` of pairs of blocks); returns how many integer operations that was, two for each
/// product, and a value that depends on all of them.
pub fn dot_loop(isa: Isa, rounds: usize) -> (u64, i32) {
    // As many accumulators as leave registers for what pairs of blocks need.
    if isa.int8().sums_i16 {
        DotLoop::<3, 2, 2>::repeat(isa, rounds)
    } else {
        DotLoop::<4, 3, 1>::repeat(isa, rounds)
    }
}
