//! AVX-512: 16 lanes, 32 registers.

use super::{Kernel, Simd, TileShape, Vector, tile_table};
use std::arch::x86_64::*;

/// Proof that this processor executes AVX-512 F, DQ, VL and BW.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Avx512(());

impl Avx512 {
    /// The proof, where the processor has the instructions.
    pub fn detect() -> Option<Self> {
        (is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma"))
        .then_some(Self(()))
    }
}

#[derive(Clone, Copy)]
pub(crate) struct F32x16(__m512);

/// Evaluates intrinsics that need nothing but the instruction set.
macro_rules! intrinsic {
    ($value:expr) => {
        // SAFETY: an `Avx512`, or a vector made by one, is in hand, so the processor has the instructions.
        unsafe { $value }
    };
}

#[inline(always)]
fn first(n: usize) -> __mmask16 {
    ((1u32 << n) - 1) as __mmask16
}

impl Simd for Avx512 {
    type V = F32x16;
    const LANES: usize = 16;
    const TILES: &'static [TileShape] = &[
        TileShape { nv: 4, mr_max: 6 },
        TileShape { nv: 3, mr_max: 9 },
        TileShape { nv: 2, mr_max: 14 },
        TileShape { nv: 1, mr_max: 28 },
    ];

    fn enter<K: Kernel>(self, kernel: K) {
        #[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512bw,avx2,fma")]
        fn body<K: Kernel>(token: Avx512, kernel: K) {
            kernel.run(token);
        }
        intrinsic!(body(self, kernel))
    }

    tile_table! {
        1: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28;
        2: 1 2 3 4 5 6 7 8 9 10 11 12 13 14;
        3: 1 2 3 4 5 6 7 8 9;
        4: 1 2 3 4 5 6;
    }

    #[inline(always)]
    fn splat(self, x: f32) -> F32x16 {
        F32x16(intrinsic!(_mm512_set1_ps(x)))
    }

    #[inline(always)]
    unsafe fn load(self, p: *const f32) -> F32x16 {
        // SAFETY: the caller says that 16 elements are readable; the token proves the instructions.
        F32x16(unsafe { _mm512_loadu_ps(p) })
    }

    #[inline(always)]
    unsafe fn load_first(self, p: *const f32, n: usize) -> F32x16 {
        // SAFETY: the caller says that n elements are readable; masked lanes are not touched.
        F32x16(unsafe { _mm512_maskz_loadu_ps(first(n), p) })
    }

    #[inline(always)]
    unsafe fn transpose_8x8(self, x: *const f32, x_step: usize, y: *mut f32, y_step: usize) {
        // SAFETY: the caller vouches for both blocks; this token's detection includes AVX2.
        unsafe { super::avx2::transpose_8x8(x, x_step, y, y_step) }
    }
}

impl Vector for F32x16 {
    #[inline(always)]
    unsafe fn store(self, p: *mut f32) {
        // SAFETY: the caller says that 16 elements are writable.
        unsafe { _mm512_storeu_ps(p, self.0) }
    }

    #[inline(always)]
    unsafe fn store_first(self, p: *mut f32, n: usize) {
        // SAFETY: the caller says that n elements are writable; masked lanes are not touched.
        unsafe { _mm512_mask_storeu_ps(p, first(n), self.0) }
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Self(intrinsic!(_mm512_add_ps(self.0, other.0)))
    }

    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        Self(intrinsic!(_mm512_sub_ps(self.0, other.0)))
    }

    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        Self(intrinsic!(_mm512_mul_ps(self.0, other.0)))
    }

    #[inline(always)]
    fn div(self, other: Self) -> Self {
        Self(intrinsic!(_mm512_div_ps(self.0, other.0)))
    }

    #[inline(always)]
    fn mul_add(self, b: Self, c: Self) -> Self {
        Self(intrinsic!(_mm512_fmadd_ps(self.0, b.0, c.0)))
    }

    #[inline(always)]
    fn min(self, other: Self) -> Self {
        Self(intrinsic!(_mm512_min_ps(self.0, other.0)))
    }

    #[inline(always)]
    fn max(self, other: Self) -> Self {
        Self(intrinsic!(_mm512_max_ps(self.0, other.0)))
    }

    #[inline(always)]
    fn sqrt(self) -> Self {
        Self(intrinsic!(_mm512_sqrt_ps(self.0)))
    }

    #[inline(always)]
    fn floor(self) -> Self {
        Self(intrinsic!(_mm512_roundscale_ps::<0x09>(self.0)))
    }

    #[inline(always)]
    fn ceil(self) -> Self {
        Self(intrinsic!(_mm512_roundscale_ps::<0x0a>(self.0)))
    }

    #[inline(always)]
    fn round(self) -> Self {
        Self(intrinsic!(_mm512_roundscale_ps::<0x08>(self.0)))
    }

    #[inline(always)]
    fn abs(self) -> Self {
        Self(intrinsic!(_mm512_abs_ps(self.0)))
    }

    #[inline(always)]
    fn select_less(self, other: Self, yes: Self, no: Self) -> Self {
        Self(intrinsic!(_mm512_mask_blend_ps(
            _mm512_cmp_ps_mask::<_CMP_LT_OQ>(self.0, other.0),
            no.0,
            yes.0
        )))
    }

    #[inline(always)]
    fn ldexp(self, n: Self) -> Self {
        Self(intrinsic!(_mm512_scalef_ps(self.0, n.0)))
    }
}
