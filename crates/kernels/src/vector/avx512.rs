use super::{F32Body, F32Vector};
use crate::conv::tile::{Tile, TileFn, tile};
use std::arch::x86_64::*;

/// Sixteen lanes.
#[derive(Clone, Copy)]
pub(crate) struct F32x16(pub(crate) __m512);

fn mask(n: usize) -> __mmask16 {
    (1u32.wrapping_shl(n as u32).wrapping_sub(1)) as __mmask16
}

impl F32Vector for F32x16 {
    const LANES: usize = 16;
    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        // SAFETY: the caller's.
        F32x16(unsafe { _mm512_set1_ps(value) })
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller's.
        F32x16(unsafe { _mm512_loadu_ps(from) })
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller's.
        unsafe { _mm512_storeu_ps(to, self.0) }
    }
    #[inline(always)]
    unsafe fn columns(from: *const f32, step: usize, columns: &mut [Self; 16]) {
        // SAFETY: the caller's.
        unsafe {
            let rows: [__m512; 16] = std::array::from_fn(|l| _mm512_loadu_ps(from.add(l * step)));
            let mut pairs = rows;
            for k in 0..8 {
                pairs[2 * k] = _mm512_unpacklo_ps(rows[2 * k], rows[2 * k + 1]);
                pairs[2 * k + 1] = _mm512_unpackhi_ps(rows[2 * k], rows[2 * k + 1]);
            }
            let low = |a, b| {
                let (a, b) = (_mm512_castps_pd(a), _mm512_castps_pd(b));
                _mm512_castpd_ps(_mm512_unpacklo_pd(a, b))
            };
            let high = |a, b| {
                let (a, b) = (_mm512_castps_pd(a), _mm512_castps_pd(b));
                _mm512_castpd_ps(_mm512_unpackhi_pd(a, b))
            };
            // Four rows each: `fours[4 * k + j]` holds columns j, 4 + j, 8 + j and 12 + j of rows 4 * k on.
            let mut blocks4 = pairs;
            for k in (0..16).step_by(4) {
                blocks4[k] = low(pairs[k], pairs[k + 2]);
                blocks4[k + 1] = high(pairs[k], pairs[k + 2]);
                blocks4[k + 2] = low(pairs[k + 1], pairs[k + 3]);
                blocks4[k + 3] = high(pairs[k + 1], pairs[k + 3]);
            }
            for j in 0..4 {
                let [a, b, c, d] = [blocks4[j], blocks4[4 + j], blocks4[8 + j], blocks4[12 + j]];
                let first = _mm512_shuffle_f32x4::<0x44>(a, b);
                let second = _mm512_shuffle_f32x4::<0x44>(c, d);
                let third = _mm512_shuffle_f32x4::<0xEE>(a, b);
                let fourth = _mm512_shuffle_f32x4::<0xEE>(c, d);
                columns[j] = F32x16(_mm512_shuffle_f32x4::<0x88>(first, second));
                columns[4 + j] = F32x16(_mm512_shuffle_f32x4::<0xDD>(first, second));
                columns[8 + j] = F32x16(_mm512_shuffle_f32x4::<0x88>(third, fourth));
                columns[12 + j] = F32x16(_mm512_shuffle_f32x4::<0xDD>(third, fourth));
            }
        }
    }
    #[inline(always)]
    unsafe fn load_first(from: *const f32, n: usize) -> Self {
        // SAFETY: the caller's; masked lanes are not touched.
        F32x16(unsafe { _mm512_maskz_loadu_ps(mask(n), from) })
    }
    #[inline(always)]
    unsafe fn store_first(self, to: *mut f32, n: usize) {
        // SAFETY: the caller's; masked lanes are not touched.
        unsafe { _mm512_mask_storeu_ps(to, mask(n), self.0) }
    }
    #[inline(always)]
    unsafe fn add(self, b: Self) -> Self {
        // SAFETY: the caller's.
        F32x16(unsafe { _mm512_add_ps(self.0, b.0) })
    }
    #[inline(always)]
    unsafe fn sub(self, b: Self) -> Self {
        // SAFETY: the caller's.
        F32x16(unsafe { _mm512_sub_ps(self.0, b.0) })
    }
    #[inline(always)]
    unsafe fn mul(self, b: Self) -> Self {
        // SAFETY: the caller's.
        F32x16(unsafe { _mm512_mul_ps(self.0, b.0) })
    }
    #[inline(always)]
    unsafe fn div(self, b: Self) -> Self {
        // SAFETY: the caller's.
        F32x16(unsafe { _mm512_div_ps(self.0, b.0) })
    }
    #[inline(always)]
    unsafe fn min(self, b: Self) -> Self {
        // SAFETY: the caller's.
        F32x16(unsafe { _mm512_min_ps(self.0, b.0) })
    }
    #[inline(always)]
    unsafe fn max(self, b: Self) -> Self {
        // SAFETY: the caller's.
        F32x16(unsafe { _mm512_max_ps(self.0, b.0) })
    }
    #[inline(always)]
    unsafe fn fma(self, b: Self, c: Self) -> Self {
        // SAFETY: the caller's.
        F32x16(unsafe { _mm512_fmadd_ps(self.0, b.0, c.0) })
    }
    #[inline(always)]
    unsafe fn sqrt(self) -> Self {
        // SAFETY: the caller's.
        F32x16(unsafe { _mm512_sqrt_ps(self.0) })
    }
    #[inline(always)]
    unsafe fn abs(self) -> Self {
        // SAFETY: the caller's.
        F32x16(unsafe { _mm512_abs_ps(self.0) })
    }
    #[inline(always)]
    unsafe fn round(self) -> Self {
        // SAFETY: the caller's.
        F32x16(unsafe {
            _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(self.0)
        })
    }
    #[inline(always)]
    unsafe fn floor(self) -> Self {
        // SAFETY: the caller's.
        F32x16(unsafe {
            _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC }>(self.0)
        })
    }
    #[inline(always)]
    unsafe fn ceil(self) -> Self {
        // SAFETY: the caller's.
        F32x16(unsafe {
            _mm512_roundscale_ps::<{ _MM_FROUND_TO_POS_INF | _MM_FROUND_NO_EXC }>(self.0)
        })
    }
    #[inline(always)]
    unsafe fn scale(self, n: Self) -> Self {
        // SAFETY: the caller's.
        F32x16(unsafe { _mm512_scalef_ps(self.0, n.0) })
    }
    #[inline(always)]
    unsafe fn select_lt(self, b: Self, yes: Self, no: Self) -> Self {
        // SAFETY: the caller's.
        F32x16(unsafe {
            _mm512_mask_blend_ps(_mm512_cmp_ps_mask::<_CMP_LT_OQ>(self.0, b.0), no.0, yes.0)
        })
    }
}

/// # Safety
/// The processor has AVX-512; the body's pointers are valid.
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512bw,avx2,fma")]
pub(super) unsafe fn run<B: F32Body>(body: &B) {
    // SAFETY: the caller's.
    unsafe { body.run::<F32x16>() }
}

#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512bw,avx2,fma")]
unsafe fn t<const MR: usize, const NV: usize>(args: &Tile, out: *mut f32) {
    // SAFETY: the caller's.
    unsafe { tile::<F32x16, MR, NV>(args, out) }
}

#[rustfmt::skip]
pub(super) static TILES: &[&[TileFn]] = &[
    &[t::<1, 1>, t::<2, 1>, t::<3, 1>, t::<4, 1>, t::<5, 1>, t::<6, 1>, t::<7, 1>, t::<8, 1>, t::<9, 1>, t::<10, 1>,
      t::<11, 1>, t::<12, 1>, t::<13, 1>, t::<14, 1>],
    &[t::<1, 2>, t::<2, 2>, t::<3, 2>, t::<4, 2>, t::<5, 2>, t::<6, 2>, t::<7, 2>, t::<8, 2>, t::<9, 2>, t::<10, 2>,
      t::<11, 2>, t::<12, 2>, t::<13, 2>, t::<14, 2>],
    &[t::<1, 3>, t::<2, 3>, t::<3, 3>, t::<4, 3>, t::<5, 3>, t::<6, 3>, t::<7, 3>, t::<8, 3>, t::<9, 3>],
    &[t::<1, 4>, t::<2, 4>, t::<3, 4>, t::<4, 4>, t::<5, 4>, t::<6, 4>],
];
