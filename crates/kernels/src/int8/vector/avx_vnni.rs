use super::I32Body;
use super::avx2::{Dot, I32x8};
use crate::int8::conv::tile::{QTile, QTileFn, Taps, tile};
use std::arch::x86_64::*;

/// `vpdpbusd` as AVX-VNNI encodes it.
#[derive(Clone, Copy)]
struct Vex;

/// `vpdpbusd` as AVX-512 encodes it for 256 bits.
#[derive(Clone, Copy)]
struct Evex;

macro_rules! dot {
    ($encoding:ty, $dot:ident) => {
        impl Dot for $encoding {
            type Block4 = __m256i;
            type Weights = __m256i;
            const WEIGHT_BYTES: usize = 32;

            #[inline(always)]
            unsafe fn spread(quantized: __m256i) -> __m256i {
                quantized
            }

            #[inline(always)]
            unsafe fn weights(from: *const i8) -> __m256i {
                // SAFETY: the caller's: 32 valid weights.
                unsafe { _mm256_loadu_si256(from.cast()) }
            }

            #[inline(always)]
            unsafe fn dot(sums: __m256i, quantized: __m256i, weights: __m256i) -> __m256i {
                // SAFETY: the caller's.
                unsafe { $dot(sums, quantized, weights) }
            }
        }
    };
}

dot!(Vex, _mm256_dpbusd_avx_epi32);
dot!(Evex, _mm256_dpbusd_epi32);

fn has_vex() -> bool {
    is_x86_feature_detected!("avxvnni")
}

/// # Safety
/// The processor has AVX2, FMA and VNNI in one of its encodings; the body's pointers are valid.
pub(super) unsafe fn run<B: I32Body>(body: &B) {
    // SAFETY: the caller's.
    unsafe { if has_vex() { vex(body) } else { evex(body) } }
}

#[target_feature(enable = "avx2,fma,avxvnni")]
unsafe fn vex<B: I32Body>(body: &B) {
    // SAFETY: the caller's.
    unsafe { body.run::<I32x8<Vex>>() }
}

#[target_feature(enable = "avx2,fma,avx512vnni,avx512vl")]
unsafe fn evex<B: I32Body>(body: &B) {
    // SAFETY: the caller's.
    unsafe { body.run::<I32x8<Evex>>() }
}

#[target_feature(enable = "avx2,fma,avxvnni")]
unsafe fn v<const MR: usize, const NV: usize>(args: &QTile) {
    // SAFETY: the caller's.
    unsafe { tile::<I32x8<Vex>, Taps, MR, NV>(args) }
}

#[target_feature(enable = "avx2,fma,avx512vnni,avx512vl")]
unsafe fn e<const MR: usize, const NV: usize>(args: &QTile) {
    // SAFETY: the caller's.
    unsafe { tile::<I32x8<Evex>, Taps, MR, NV>(args) }
}

#[rustfmt::skip]
static VEX: &[&[QTileFn]] = &[
    &[v::<1, 1>, v::<2, 1>, v::<3, 1>, v::<4, 1>, v::<5, 1>, v::<6, 1>, v::<7, 1>, v::<8, 1>, v::<9, 1>, v::<10, 1>,
      v::<11, 1>, v::<12, 1>],
    &[v::<1, 2>, v::<2, 2>, v::<3, 2>, v::<4, 2>, v::<5, 2>, v::<6, 2>],
];

#[rustfmt::skip]
static EVEX: &[&[QTileFn]] = &[
    &[e::<1, 1>, e::<2, 1>, e::<3, 1>, e::<4, 1>, e::<5, 1>, e::<6, 1>, e::<7, 1>, e::<8, 1>, e::<9, 1>, e::<10, 1>,
      e::<11, 1>, e::<12, 1>],
    &[e::<1, 2>, e::<2, 2>, e::<3, 2>, e::<4, 2>, e::<5, 2>, e::<6, 2>],
];

pub(super) fn tiles() -> &'static [&'static [QTileFn]] {
    if has_vex() { VEX } else { EVEX }
}
