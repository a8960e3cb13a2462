use super::F32Vector;
use crate::conv::tile::{Tile, TileFn, tile};

/// Eight lanes in plain Rust.
#[derive(Clone, Copy)]
pub(crate) struct F32x8(pub(crate) [f32; 8]);

impl F32x8 {
    #[inline(always)]
    fn map(self, f: impl Fn(f32) -> f32) -> F32x8 {
        F32x8(self.0.map(f))
    }

    #[inline(always)]
    fn zip(self, b: F32x8, f: impl Fn(f32, f32) -> f32) -> F32x8 {
        F32x8(std::array::from_fn(|i| f(self.0[i], b.0[i])))
    }
}

fn power_of_two(n: f32) -> f32 {
    f32::from_bits(((n as i32 + 127) as u32) << 23)
}

impl F32Vector for F32x8 {
    const LANES: usize = 8;

    #[inline(always)]
    unsafe fn splat(value: f32) -> F32x8 {
        F32x8([value; 8])
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> F32x8 {
        // SAFETY: the caller's: eight valid elements, any alignment.
        F32x8(unsafe { from.cast::<[f32; 8]>().read_unaligned() })
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller's: eight valid elements, any alignment.
        unsafe { to.cast::<[f32; 8]>().write_unaligned(self.0) }
    }

    #[inline(always)]
    unsafe fn load_first(from: *const f32, n: usize) -> F32x8 {
        let mut lanes = [0.0; 8];
        for (i, lane) in lanes.iter_mut().enumerate().take(n) {
            // SAFETY: the caller's: `n` valid elements.
            *lane = unsafe { *from.add(i) };
        }
        F32x8(lanes)
    }

    #[inline(always)]
    unsafe fn store_first(self, to: *mut f32, n: usize) {
        for (i, lane) in self.0.iter().enumerate().take(n) {
            // SAFETY: the caller's: `n` valid elements.
            unsafe { *to.add(i) = *lane };
        }
    }

    #[inline(always)]
    unsafe fn add(self, b: F32x8) -> F32x8 {
        self.zip(b, |a, b| a + b)
    }

    #[inline(always)]
    unsafe fn sub(self, b: F32x8) -> F32x8 {
        self.zip(b, |a, b| a - b)
    }

    #[inline(always)]
    unsafe fn mul(self, b: F32x8) -> F32x8 {
        self.zip(b, |a, b| a * b)
    }

    #[inline(always)]
    unsafe fn div(self, b: F32x8) -> F32x8 {
        self.zip(b, |a, b| a / b)
    }

    #[inline(always)]
    unsafe fn min(self, b: F32x8) -> F32x8 {
        self.zip(b, |a, b| if a < b { a } else { b })
    }

    #[inline(always)]
    unsafe fn max(self, b: F32x8) -> F32x8 {
        self.zip(b, |a, b| if a > b { a } else { b })
    }

    #[inline(always)]
    unsafe fn fma(self, b: F32x8, c: F32x8) -> F32x8 {
        F32x8(std::array::from_fn(|i| self.0[i] * b.0[i] + c.0[i]))
    }

    #[inline(always)]
    unsafe fn sqrt(self) -> F32x8 {
        self.map(f32::sqrt)
    }

    #[inline(always)]
    unsafe fn abs(self) -> F32x8 {
        self.map(f32::abs)
    }

    #[inline(always)]
    unsafe fn round(self) -> F32x8 {
        self.map(f32::round_ties_even)
    }

    #[inline(always)]
    unsafe fn floor(self) -> F32x8 {
        self.map(f32::floor)
    }

    #[inline(always)]
    unsafe fn ceil(self) -> F32x8 {
        self.map(f32::ceil)
    }

    #[inline(always)]
    unsafe fn scale(self, n: F32x8) -> F32x8 {
        self.zip(n, |a, n| {
            let half = (n * 0.5).floor();
            a * power_of_two(half) * power_of_two(n - half)
        })
    }

    #[inline(always)]
    unsafe fn select_lt(self, b: F32x8, yes: F32x8, no: F32x8) -> F32x8 {
        F32x8(std::array::from_fn(|i| {
            if self.0[i] < b.0[i] {
                yes.0[i]
            } else {
                no.0[i]
            }
        }))
    }
}

unsafe fn wrapped<const MR: usize, const NV: usize>(args: &Tile, out: *mut f32) {
    // SAFETY: the caller's.
    unsafe { tile::<F32x8, MR, NV>(args, out) }
}

pub(super) static TILES: &[&[TileFn]] = &[&[
    wrapped::<1, 1>,
    wrapped::<2, 1>,
    wrapped::<3, 1>,
    wrapped::<4, 1>,
]];
