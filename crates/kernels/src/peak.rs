//! The processor's ceiling, to judge kernels by.

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
