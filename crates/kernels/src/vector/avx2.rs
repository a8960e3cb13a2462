use super::{F32Body, F32Vector};
use crate::conv::tile::{Tile, TileFn, tile};
use std::arch::x86_64::*;

/// Eight lanes.
#[derive(Clone, Copy)]
pub(crate) struct F32x8(pub(crate) __m256);

/// # Safety
/// Needs AVX2; `n <= 8`.
#[inline(always)]
unsafe fn mask(n: usize) -> __m256i {
    // SAFETY: the caller's.
    unsafe {
        _mm256_cmpgt_epi32(
            _mm256_set1_epi32(n as i32),
            _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7),
        )
    }
}

/// # Safety
/// Needs AVX2; lanes in -126..=127.
#[inline(always)]
unsafe fn power_of_two(n: __m256) -> __m256 {
    // SAFETY: the caller's.
    unsafe {
        let biased = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
        _mm256_castsi256_ps(_mm256_slli_epi32::<23>(biased))
    }
}

impl F32Vector for F32x8 {
    const LANES: usize = 8;
    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        // SAFETY: the caller's.
        F32x8(unsafe { _mm256_set1_ps(value) })
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller's.
        F32x8(unsafe { _mm256_loadu_ps(from) })
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller's.
        unsafe { _mm256_storeu_ps(to, self.0) }
    }
    #[inline(always)]
    unsafe fn load_first(from: *const f32, n: usize) -> Self {
        // SAFETY: the caller's; masked lanes are not touched.
        F32x8(unsafe { _mm256_maskload_ps(from, mask(n)) })
    }
    #[inline(always)]
    unsafe fn store_first(self, to: *mut f32, n: usize) {
        // SAFETY: the caller's; masked lanes are not touched.
        unsafe { _mm256_maskstore_ps(to, mask(n), self.0) }
    }
    #[inline(always)]
    unsafe fn add(self, b: Self) -> Self {
        // SAFETY: the caller's.
        F32x8(unsafe { _mm256_add_ps(self.0, b.0) })
    }
    #[inline(always)]
    unsafe fn sub(self, b: Self) -> Self {
        // SAFETY: the caller's.
        F32x8(unsafe { _mm256_sub_ps(self.0, b.0) })
    }
    #[inline(always)]
    unsafe fn mul(self, b: Self) -> Self {
        // SAFETY: the caller's.
        F32x8(unsafe { _mm256_mul_ps(self.0, b.0) })
    }
    #[inline(always)]
    unsafe fn div(self, b: Self) -> Self {
        // SAFETY: the caller's.
        F32x8(unsafe { _mm256_div_ps(self.0, b.0) })
    }
    #[inline(always)]
    unsafe fn min(self, b: Self) -> Self {
        // SAFETY: the caller's.
        F32x8(unsafe { _mm256_min_ps(self.0, b.0) })
    }
    #[inline(always)]
    unsafe fn max(self, b: Self) -> Self {
        // SAFETY: the caller's.
        F32x8(unsafe { _mm256_max_ps(self.0, b.0) })
    }
    #[inline(always)]
    unsafe fn fma(self, b: Self, c: Self) -> Self {
        // SAFETY: the caller's.
        F32x8(unsafe { _mm256_fmadd_ps(self.0, b.0, c.0) })
    }
    #[inline(always)]
    unsafe fn sqrt(self) -> Self {
        // SAFETY: the caller's.
        F32x8(unsafe { _mm256_sqrt_ps(self.0) })
    }
    #[inline(always)]
    unsafe fn abs(self) -> Self {
        // SAFETY: the caller's.
        F32x8(unsafe { _mm256_andnot_ps(_mm256_set1_ps(-0.0), self.0) })
    }
    #[inline(always)]
    unsafe fn round(self) -> Self {
        // SAFETY: the caller's.
        F32x8(unsafe {
            _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(self.0)
        })
    }
    #[inline(always)]
    unsafe fn floor(self) -> Self {
        // SAFETY: the caller's.
        F32x8(unsafe { _mm256_round_ps::<{ _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC }>(self.0) })
    }
    #[inline(always)]
    unsafe fn ceil(self) -> Self {
        // SAFETY: the caller's.
        F32x8(unsafe { _mm256_round_ps::<{ _MM_FROUND_TO_POS_INF | _MM_FROUND_NO_EXC }>(self.0) })
    }
    #[inline(always)]
    unsafe fn scale(self, n: Self) -> Self {
        // SAFETY: the caller's.
        unsafe {
            let half = _mm256_floor_ps(_mm256_mul_ps(n.0, _mm256_set1_ps(0.5)));
            let rest = _mm256_sub_ps(n.0, half);
            F32x8(_mm256_mul_ps(
                _mm256_mul_ps(self.0, power_of_two(half)),
                power_of_two(rest),
            ))
        }
    }
    #[inline(always)]
    unsafe fn select_lt(self, b: Self, yes: Self, no: Self) -> Self {
        // SAFETY: the caller's.
        F32x8(unsafe { _mm256_blendv_ps(no.0, yes.0, _mm256_cmp_ps::<_CMP_LT_OQ>(self.0, b.0)) })
    }
}

/// # Safety
/// The processor has AVX2 and FMA; the body's pointers are valid.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn run<B: F32Body>(body: &B) {
    // SAFETY: the caller's.
    unsafe { body.run::<F32x8>() }
}

#[target_feature(enable = "avx2,fma")]
unsafe fn t<const MR: usize, const NV: usize>(args: &Tile, out: *mut f32) {
    // SAFETY: the caller's.
    unsafe { tile::<F32x8, MR, NV>(args, out) }
}

#[rustfmt::skip]
pub(super) static TILES: &[&[TileFn]] = &[
    &[t::<1, 1>, t::<2, 1>, t::<3, 1>, t::<4, 1>, t::<5, 1>, t::<6, 1>, t::<7, 1>, t::<8, 1>, t::<9, 1>, t::<10, 1>],
    &[t::<1, 2>, t::<2, 2>, t::<3, 2>, t::<4, 2>, t::<5, 2>, t::<6, 2>],
];
