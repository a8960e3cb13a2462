use super::{F32Body, F32Vector};
use crate::conv::tile::{Tile, TileFn, tile};
use std::arch::aarch64::*;

/// Four lanes.
#[derive(Clone, Copy)]
pub(crate) struct F32x4(pub(crate) float32x4_t);

/// # Safety
/// Needs NEON; lanes in -126..=127.
#[inline(always)]
unsafe fn power_of_two(n: float32x4_t) -> float32x4_t {
    // SAFETY: the caller's.
    unsafe {
        let biased = vaddq_s32(vcvtq_s32_f32(n), vdupq_n_s32(127));
        vreinterpretq_f32_s32(vshlq_n_s32::<23>(biased))
    }
}

impl F32Vector for F32x4 {
    const LANES: usize = 4;
    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        // SAFETY: the caller's.
        F32x4(unsafe { vdupq_n_f32(value) })
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller's.
        F32x4(unsafe { vld1q_f32(from) })
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller's.
        unsafe { vst1q_f32(to, self.0) }
    }
    #[inline(always)]
    unsafe fn load_first(from: *const f32, n: usize) -> Self {
        let mut lanes = [0.0f32; 4];
        // SAFETY: the caller's: `n < 4` valid elements.
        unsafe {
            std::ptr::copy_nonoverlapping(from, lanes.as_mut_ptr(), n);
            Self::load(lanes.as_ptr())
        }
    }
    #[inline(always)]
    unsafe fn store_first(self, to: *mut f32, n: usize) {
        let mut lanes = [0.0f32; 4];
        // SAFETY: the caller's: `n < 4` valid elements.
        unsafe {
            self.store(lanes.as_mut_ptr());
            std::ptr::copy_nonoverlapping(lanes.as_ptr(), to, n);
        }
    }
    #[inline(always)]
    unsafe fn add(self, b: Self) -> Self {
        // SAFETY: the caller's.
        F32x4(unsafe { vaddq_f32(self.0, b.0) })
    }
    #[inline(always)]
    unsafe fn sub(self, b: Self) -> Self {
        // SAFETY: the caller's.
        F32x4(unsafe { vsubq_f32(self.0, b.0) })
    }
    #[inline(always)]
    unsafe fn mul(self, b: Self) -> Self {
        // SAFETY: the caller's.
        F32x4(unsafe { vmulq_f32(self.0, b.0) })
    }
    #[inline(always)]
    unsafe fn div(self, b: Self) -> Self {
        // SAFETY: the caller's.
        F32x4(unsafe { vdivq_f32(self.0, b.0) })
    }
    #[inline(always)]
    unsafe fn min(self, b: Self) -> Self {
        // The machine's own minimum of a NaN is NaN.
        // SAFETY: the caller's.
        F32x4(unsafe { vbslq_f32(vcltq_f32(self.0, b.0), self.0, b.0) })
    }
    #[inline(always)]
    unsafe fn max(self, b: Self) -> Self {
        // SAFETY: the caller's.
        F32x4(unsafe { vbslq_f32(vcgtq_f32(self.0, b.0), self.0, b.0) })
    }
    #[inline(always)]
    unsafe fn fma(self, b: Self, c: Self) -> Self {
        // SAFETY: the caller's.
        F32x4(unsafe { vfmaq_f32(c.0, self.0, b.0) })
    }
    #[inline(always)]
    unsafe fn sqrt(self) -> Self {
        // SAFETY: the caller's.
        F32x4(unsafe { vsqrtq_f32(self.0) })
    }
    #[inline(always)]
    unsafe fn abs(self) -> Self {
        // SAFETY: the caller's.
        F32x4(unsafe { vabsq_f32(self.0) })
    }
    #[inline(always)]
    unsafe fn round(self) -> Self {
        // SAFETY: the caller's.
        F32x4(unsafe { vrndnq_f32(self.0) })
    }
    #[inline(always)]
    unsafe fn floor(self) -> Self {
        // SAFETY: the caller's.
        F32x4(unsafe { vrndmq_f32(self.0) })
    }
    #[inline(always)]
    unsafe fn ceil(self) -> Self {
        // SAFETY: the caller's.
        F32x4(unsafe { vrndpq_f32(self.0) })
    }
    #[inline(always)]
    unsafe fn scale(self, n: Self) -> Self {
        // SAFETY: the caller's.
        unsafe {
            let half = vrndmq_f32(vmulq_n_f32(n.0, 0.5));
            let rest = vsubq_f32(n.0, half);
            let once = vmulq_f32(self.0, power_of_two(half));
            F32x4(vmulq_f32(once, power_of_two(rest)))
        }
    }
    #[inline(always)]
    unsafe fn select_lt(self, b: Self, yes: Self, no: Self) -> Self {
        // SAFETY: the caller's.
        F32x4(unsafe { vbslq_f32(vcltq_f32(self.0, b.0), yes.0, no.0) })
    }
}

/// # Safety
/// The body's pointers are valid.
#[target_feature(enable = "neon")]
pub(super) unsafe fn run<B: F32Body>(body: &B) {
    // SAFETY: the caller's.
    unsafe { body.run::<F32x4>() }
}

#[target_feature(enable = "neon")]
unsafe fn t<const MR: usize, const NV: usize>(args: &Tile, out: *mut f32) {
    // SAFETY: the caller's.
    unsafe { tile::<F32x4, MR, NV>(args, out) }
}

#[rustfmt::skip]
pub(super) static TILES: &[&[TileFn]] = &[
    &[t::<1, 1>, t::<2, 1>, t::<3, 1>, t::<4, 1>, t::<5, 1>, t::<6, 1>, t::<7, 1>, t::<8, 1>, t::<9, 1>, t::<10, 1>,
      t::<11, 1>, t::<12, 1>],
    &[t::<1, 2>, t::<2, 2>, t::<3, 2>, t::<4, 2>, t::<5, 2>, t::<6, 2>, t::<7, 2>, t::<8, 2>, t::<9, 2>, t::<10, 2>,
      t::<11, 2>, t::<12, 2>],
    &[t::<1, 3>, t::<2, 3>, t::<3, 3>, t::<4, 3>, t::<5, 3>, t::<6, 3>, t::<7, 3>, t::<8, 3>],
    &[t::<1, 4>, t::<2, 4>, t::<3, 4>, t::<4, 4>, t::<5, 4>, t::<6, 4>],
];
