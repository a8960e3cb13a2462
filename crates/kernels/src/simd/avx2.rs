//! AVX2 with FMA: 8 lanes, 16 registers.

use super::{Kernel, Simd, TileShape, Vector, tile_table};
use std::arch::x86_64::*;

/// Proof that this processor executes AVX2 and FMA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Avx2(());

impl Avx2 {
    /// The proof, where the processor has the instructions.
    pub fn detect() -> Option<Self> {
        (is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")).then_some(Self(()))
    }
}

#[derive(Clone, Copy)]
pub(crate) struct F32x8(__m256);

/// Evaluates intrinsics that need nothing but the instruction set.
macro_rules! intrinsic {
    ($value:expr) => {
        // SAFETY: an `Avx2`, or a vector made by one, is in hand, so the processor has the instructions.
        unsafe { $value }
    };
}

#[inline(always)]
fn first(n: usize) -> __m256i {
    intrinsic!(_mm256_cmpgt_epi32(
        _mm256_set1_epi32(n as i32),
        _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7)
    ))
}

#[inline(always)]
fn power_of_two(n: __m256i) -> __m256 {
    intrinsic!(_mm256_castsi256_ps(_mm256_slli_epi32::<23>(
        _mm256_add_epi32(n, _mm256_set1_epi32(127))
    )))
}

/// `y[r, c] = x[c, r]` for 8 by 8 elements.
///
/// # Safety
/// Those elements are readable at `x` and writable at `y`; the processor has AVX2.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) unsafe fn transpose_8x8(x: *const f32, x_step: usize, y: *mut f32, y_step: usize) {
    // SAFETY: the caller vouches for eight rows of eight elements in both blocks.
    unsafe {
        let mut rows = [_mm256_setzero_ps(); 8];
        for (c, row) in rows.iter_mut().enumerate() {
            *row = _mm256_loadu_ps(x.add(c * x_step));
        }
        // Pairs, then fours, then halves change places.
        let mut pairs = rows;
        for c in [0, 2, 4, 6] {
            pairs[c] = _mm256_unpacklo_ps(rows[c], rows[c + 1]);
            pairs[c + 1] = _mm256_unpackhi_ps(rows[c], rows[c + 1]);
        }
        let mut fours = pairs;
        for c in [0, 4] {
            fours[c] = _mm256_shuffle_ps::<0x44>(pairs[c], pairs[c + 2]);
            fours[c + 1] = _mm256_shuffle_ps::<0xee>(pairs[c], pairs[c + 2]);
            fours[c + 2] = _mm256_shuffle_ps::<0x44>(pairs[c + 1], pairs[c + 3]);
            fours[c + 3] = _mm256_shuffle_ps::<0xee>(pairs[c + 1], pairs[c + 3]);
        }
        for r in 0..4 {
            let (low, high) = (fours[r], fours[r + 4]);
            _mm256_storeu_ps(y.add(r * y_step), _mm256_permute2f128_ps::<0x20>(low, high));
            _mm256_storeu_ps(
                y.add((r + 4) * y_step),
                _mm256_permute2f128_ps::<0x31>(low, high),
            );
        }
    }
}

impl Simd for Avx2 {
    type V = F32x8;
    const LANES: usize = 8;
    const TILES: &'static [TileShape] = &[
        TileShape { nv: 3, mr_max: 4 },
        TileShape { nv: 2, mr_max: 6 },
        TileShape { nv: 1, mr_max: 12 },
    ];

    fn enter<K: Kernel>(self, kernel: K) {
        #[target_feature(enable = "avx2,fma")]
        fn body<K: Kernel>(token: Avx2, kernel: K) {
            kernel.run(token);
        }
        intrinsic!(body(self, kernel))
    }

    tile_table! {
        1: 1 2 3 4 5 6 7 8 9 10 11 12;
        2: 1 2 3 4 5 6;
        3: 1 2 3 4;
    }

    #[inline(always)]
    fn splat(self, x: f32) -> F32x8 {
        F32x8(intrinsic!(_mm256_set1_ps(x)))
    }

    #[inline(always)]
    unsafe fn load(self, p: *const f32) -> F32x8 {
        // SAFETY: the caller says that 8 elements are readable; the token proves the instructions.
        F32x8(unsafe { _mm256_loadu_ps(p) })
    }

    #[inline(always)]
    unsafe fn load_first(self, p: *const f32, n: usize) -> F32x8 {
        // SAFETY: the caller says that n elements are readable; masked lanes are not touched.
        F32x8(unsafe { _mm256_maskload_ps(p, first(n)) })
    }

    #[inline(always)]
    unsafe fn transpose_8x8(self, x: *const f32, x_step: usize, y: *mut f32, y_step: usize) {
        // SAFETY: the caller vouches for both blocks; the token proves the instructions.
        unsafe { transpose_8x8(x, x_step, y, y_step) }
    }
}

impl Vector for F32x8 {
    #[inline(always)]
    unsafe fn store(self, p: *mut f32) {
        // SAFETY: the caller says that 8 elements are writable.
        unsafe { _mm256_storeu_ps(p, self.0) }
    }

    #[inline(always)]
    unsafe fn store_first(self, p: *mut f32, n: usize) {
        // SAFETY: the caller says that n elements are writable; masked lanes are not touched.
        unsafe { _mm256_maskstore_ps(p, first(n), self.0) }
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Self(intrinsic!(_mm256_add_ps(self.0, other.0)))
    }

    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        Self(intrinsic!(_mm256_sub_ps(self.0, other.0)))
    }

    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        Self(intrinsic!(_mm256_mul_ps(self.0, other.0)))
    }

    #[inline(always)]
    fn div(self, other: Self) -> Self {
        Self(intrinsic!(_mm256_div_ps(self.0, other.0)))
    }

    #[inline(always)]
    fn mul_add(self, b: Self, c: Self) -> Self {
        Self(intrinsic!(_mm256_fmadd_ps(self.0, b.0, c.0)))
    }

    #[inline(always)]
    fn min(self, other: Self) -> Self {
        Self(intrinsic!(_mm256_min_ps(self.0, other.0)))
    }

    #[inline(always)]
    fn max(self, other: Self) -> Self {
        Self(intrinsic!(_mm256_max_ps(self.0, other.0)))
    }

    #[inline(always)]
    fn sqrt(self) -> Self {
        Self(intrinsic!(_mm256_sqrt_ps(self.0)))
    }

    #[inline(always)]
    fn floor(self) -> Self {
        Self(intrinsic!(_mm256_floor_ps(self.0)))
    }

    #[inline(always)]
    fn ceil(self) -> Self {
        Self(intrinsic!(_mm256_ceil_ps(self.0)))
    }

    #[inline(always)]
    fn round(self) -> Self {
        Self(intrinsic!(_mm256_round_ps::<
            { _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC },
        >(self.0)))
    }

    #[inline(always)]
    fn abs(self) -> Self {
        Self(intrinsic!(_mm256_andnot_ps(_mm256_set1_ps(-0.0), self.0)))
    }

    #[inline(always)]
    fn select_less(self, other: Self, yes: Self, no: Self) -> Self {
        Self(intrinsic!(_mm256_blendv_ps(
            no.0,
            yes.0,
            _mm256_cmp_ps::<_CMP_LT_OQ>(self.0, other.0)
        )))
    }

    #[inline(always)]
    fn ldexp(self, n: Self) -> Self {
        // Two factors: one power of two cannot reach the subnormals.
        let whole = intrinsic!(_mm256_cvtps_epi32(n.0));
        let half = intrinsic!(_mm256_srai_epi32::<1>(whole));
        let rest = intrinsic!(_mm256_sub_epi32(whole, half));
        self.mul(Self(power_of_two(half)))
            .mul(Self(power_of_two(rest)))
    }
}
