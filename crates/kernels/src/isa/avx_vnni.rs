//! AVX2 with VNNI on 256 bits: as AVX2, but products of u8 and i8 are one instruction, `vpdpbusd`.

use super::InstructionSet;
use super::avx2::{Avx2, Dot, F32x8, I32x8};
use super::avx512_vnni::Avx512Vnni;
use crate::vector::I32Body;
use std::arch::x86_64::*;

/// AVX2, FMA and `vpdpbusd` by whichever encoding the processor has.
pub(super) struct AvxVnni;

impl InstructionSet for AvxVnni {
    const NAME: &'static str = "avx-vnni";
    type F32 = F32x8;
    type I32 = I32x8<Vex>;

    fn is_detected() -> bool {
        Avx2::is_detected() && has_vex() || Avx512Vnni::is_detected()
    }
}

fn has_vex() -> bool {
    is_x86_feature_detected!("avxvnni")
}

/// `vpdpbusd` as AVX-VNNI encodes it; bodies run with [`Evex`] where the processor has only that.
#[derive(Clone, Copy)]
pub(super) struct Vex;

/// `vpdpbusd` as AVX-512 encodes it for 256 bits.
#[derive(Clone, Copy)]
pub(super) struct Evex;

macro_rules! dot {
    ($encoding:ty, $dot:ident) => {
        impl Dot for $encoding {
            type Block4 = __m256i;
            type Weights = __m256i;
            const WEIGHT_BYTES: usize = 32;

            unsafe fn run<B: I32Body>(body: &B) {
                // SAFETY: the caller's: the processor has one of the encodings.
                unsafe { if has_vex() { vex(body) } else { evex(body) } }
            }

            #[inline(always)]
            unsafe fn block4(values: __m256i) -> __m256i {
                values
            }

            #[inline(always)]
            unsafe fn weights(from: *const i8) -> __m256i {
                // SAFETY: the caller's: 32 valid weights.
                unsafe { _mm256_loadu_si256(from.cast()) }
            }

            #[inline(always)]
            unsafe fn dot(sums: __m256i, values: __m256i, weights: __m256i) -> __m256i {
                // SAFETY: the caller's.
                unsafe { $dot(sums, values, weights) }
            }
        }
    };
}

dot!(Vex, _mm256_dpbusd_avx_epi32);
dot!(Evex, _mm256_dpbusd_epi32);

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
