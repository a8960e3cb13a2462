//! AVX-512: sixteen lanes of f32. Products of u8 and i8 are computed as on AVX2.

use super::avx2::{Avx2, I32x8, Pairs};
use super::{InstructionSet, intrinsics};
use crate::vector::{F32Body, F32Vector};
use std::arch::x86_64::*;

/// AVX-512 F, DQ, VL and BW.
pub(super) struct Avx512;

impl InstructionSet for Avx512 {
    const NAME: &'static str = "avx512";
    type F32 = F32x16;
    type I32 = I32x8<Pairs>;

    fn is_detected() -> bool {
        Avx2::is_detected()
            && is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512bw")
    }
}

/// Sixteen lanes of f32.
#[derive(Clone, Copy)]
pub(crate) struct F32x16(pub(super) __m512);

impl F32x16 {
    #[inline(always)]
    fn new(lanes: __m512) -> Self {
        Self(lanes)
    }
}

/// The lowest `n < 16` lanes.
pub(super) fn mask(n: usize) -> __mmask16 {
    (1u32.wrapping_shl(n as u32).wrapping_sub(1)) as __mmask16
}

impl F32Vector for F32x16 {
    const LANES: usize = 16;
    const TILES: &'static [usize] = &[14, 14, 9, 6];

    #[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512bw,avx2,fma")]
    unsafe fn run<B: F32Body>(body: &B) {
        // SAFETY: the caller's.
        unsafe { body.run::<Self>() }
    }

    intrinsics! {
        unsafe splat(value: f32) => _mm512_set1_ps(value);
        unsafe load(from: *const f32) => _mm512_loadu_ps(from);
        // Lanes that are masked are not touched.
        unsafe load_first(from: *const f32, n: usize) => _mm512_maskz_loadu_ps(mask(n), from);
        unsafe store(a; to: *mut f32) => _mm512_storeu_ps(to, a);
        unsafe store_first(a; to: *mut f32, n: usize) => _mm512_mask_storeu_ps(to, mask(n), a);
        add(a, b) => _mm512_add_ps(a, b);
        sub(a, b) => _mm512_sub_ps(a, b);
        mul(a, b) => _mm512_mul_ps(a, b);
        div(a, b) => _mm512_div_ps(a, b);
        min(a, b) => _mm512_min_ps(a, b);
        max(a, b) => _mm512_max_ps(a, b);
        fma(a, b, c) => _mm512_fmadd_ps(a, b, c);
        sqrt(a) => _mm512_sqrt_ps(a);
        abs(a) => _mm512_abs_ps(a);
        round(a) => _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a);
        floor(a) => _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC }>(a);
        ceil(a) => _mm512_roundscale_ps::<{ _MM_FROUND_TO_POS_INF | _MM_FROUND_NO_EXC }>(a);
        scale(a, n) => _mm512_scalef_ps(a, n);
        select_lt(a, b, yes, no) => {
            _mm512_mask_blend_ps(_mm512_cmp_ps_mask::<_CMP_LT_OQ>(a, b), no, yes)
        };
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
            let mut fours = pairs;
            for k in (0..16).step_by(4) {
                fours[k] = low(pairs[k], pairs[k + 2]);
                fours[k + 1] = high(pairs[k], pairs[k + 2]);
                fours[k + 2] = low(pairs[k + 1], pairs[k + 3]);
                fours[k + 3] = high(pairs[k + 1], pairs[k + 3]);
            }
            for j in 0..4 {
                let [a, b, c, d] = [fours[j], fours[4 + j], fours[8 + j], fours[12 + j]];
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
}
