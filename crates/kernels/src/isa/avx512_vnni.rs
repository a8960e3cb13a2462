//! AVX-512 with VNNI: sixteen lanes, products of u8 and i8 in one instruction, `vpdpbusd`; VBMI where it is there.

use super::avx2::interleave;
use super::avx512::{Avx512, F32x16, mask};
use super::{InstructionSet, intrinsics};
use crate::vector::{I32Body, I32Vector, Pixels};
use std::arch::x86_64::*;

/// AVX-512 with VNNI.
pub(super) struct Avx512Vnni;

impl InstructionSet for Avx512Vnni {
    const NAME: &'static str = "avx512-vnni";
    type F32 = F32x16;
    type I32 = I32x16;

    fn is_detected() -> bool {
        Avx512::is_detected() && is_x86_feature_detected!("avx512vnni")
    }
}

/// Sixteen lanes of sums.
#[derive(Clone, Copy)]
pub(crate) struct I32x16(__m512i);

impl I32x16 {
    #[inline(always)]
    fn new(lanes: __m512i) -> Self {
        Self(lanes)
    }
}

/// The lowest `n < 64` bits.
fn first(n: usize) -> u64 {
    (1u64 << (n % 64)) - 1
}

impl I32Vector for I32x16 {
    type F = F32x16;
    type Block4 = __m512i;
    type Weights = __m512i;
    const WEIGHT_BYTES: usize = 64;
    const TILES: &'static [usize] = &[24, 12, 8, 6];

    #[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512bw,avx512vnni,avx2,fma")]
    unsafe fn run<B: I32Body>(body: &B) {
        // SAFETY: the caller's.
        unsafe { body.run::<Self>() }
    }

    intrinsics! {
        unsafe splat(value: i32) => _mm512_set1_epi32(value);
        unsafe load(from: *const i32) => _mm512_loadu_epi32(from);
        unsafe from_u8(from: *const u8) => _mm512_cvtepu8_epi32(_mm_loadu_si128(from.cast()));
        // Lanes that are masked are not touched.
        unsafe from_u8_first(from: *const u8, n: usize) => {
            _mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(mask(n), from.cast()))
        };
        unsafe store(a; to: *mut i32) => _mm512_storeu_epi32(to, a);
        unsafe block4(from: *const u8) -> __m512i => {
            _mm512_set1_epi32(from.cast::<i32>().read_unaligned())
        };
        unsafe block4_from(values: u32) -> __m512i => _mm512_set1_epi32(values as i32);
        unsafe weights(from: *const i8) -> __m512i => _mm512_loadu_si512(from.cast());
        unsafe interleave(channels: [*const u8; 3], to: *mut u8) -> () => interleave(channels, to);
    }

    #[inline(always)]
    unsafe fn channel_blocks4(pixels: [*const u8; 4], n: usize) -> [__m512i; 4] {
        // SAFETY: the caller's; masked lanes are not touched.
        unsafe {
            let mut values = [_mm512_setzero_si512(); 4];
            for (values, pixel) in values.iter_mut().zip(pixels) {
                *values = if n < 64 {
                    _mm512_maskz_loadu_epi8(first(n), pixel.cast())
                } else {
                    _mm512_loadu_si512(pixel.cast())
                };
            }
            let [a, b, c, d] = values;
            let low = (_mm512_unpacklo_epi8(a, b), _mm512_unpacklo_epi8(c, d));
            let high = (_mm512_unpackhi_epi8(a, b), _mm512_unpackhi_epi8(c, d));
            [
                _mm512_unpacklo_epi16(low.0, low.1),
                _mm512_unpackhi_epi16(low.0, low.1),
                _mm512_unpacklo_epi16(high.0, high.1),
                _mm512_unpackhi_epi16(high.0, high.1),
            ]
        }
    }

    #[inline(always)]
    fn in_order([a, b, c, d]: [Self; 4]) -> [Self; 4] {
        // Four by four blocks of 128 bits, transposed.
        // SAFETY: vectors exist, so the processor has AVX-512.
        unsafe {
            let low =
                (_mm512_shuffle_i32x4::<0x44>(a.0, b.0), _mm512_shuffle_i32x4::<0x44>(c.0, d.0));
            let high =
                (_mm512_shuffle_i32x4::<0xEE>(a.0, b.0), _mm512_shuffle_i32x4::<0xEE>(c.0, d.0));
            [
                Self::new(_mm512_shuffle_i32x4::<0x88>(low.0, low.1)),
                Self::new(_mm512_shuffle_i32x4::<0xDD>(low.0, low.1)),
                Self::new(_mm512_shuffle_i32x4::<0x88>(high.0, high.1)),
                Self::new(_mm512_shuffle_i32x4::<0xDD>(high.0, high.1)),
            ]
        }
    }

    #[inline(always)]
    fn dot(self, values: __m512i, weights: __m512i) -> Self {
        // SAFETY: a vector exists, so the processor has VNNI.
        Self(unsafe { _mm512_dpbusd_epi32(self.0, values, weights) })
    }

    intrinsics! {
        add(a, b) => _mm512_add_epi32(a, b);
        low_u16(a) => _mm512_and_si512(a, _mm512_set1_epi32(0xFFFF));
        high_u16(a) => _mm512_srli_epi32::<16>(a);
        to_f32(a) -> F32x16 => F32x16(_mm512_cvtepi32_ps(a));
        round(value: F32x16) -> Self => Self(_mm512_cvt_roundps_epi32::<{
            _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC
        }>(value.0));
        fused(a: F32x16, b: F32x16, c: F32x16) -> F32x16 => F32x16(_mm512_fmadd_ps(a.0, b.0, c.0));
        // The lesser of magnitudes, sign cleared.
        least_magnitude(a: F32x16, b: F32x16) -> F32x16 => F32x16(_mm512_range_ps::<0b1010>(a.0, b.0));
        // The permutation reads no more than the low four bits, and both halves of the table are the same.
        piece(value: F32x16) -> Self => Self(_mm512_srli_epi32::<22>(_mm512_castps_si512(value.0)));
        lookup(table: &[f32; 8], index: Self) -> F32x16 => {
            let twice = _mm512_broadcast_f32x8(_mm256_loadu_ps(table.as_ptr()));
            F32x16(_mm512_permutexvar_ps(index.0, twice))
        };
    }

    #[inline(always)]
    unsafe fn map(table: &[u8; 256], from: *const u8, to: *mut u8, n: usize) {
        // SAFETY: the caller's.
        unsafe {
            if is_x86_feature_detected!("avx512vbmi") {
                map_vbmi(table, from, to, n);
            } else {
                for i in 0..n {
                    *to.add(i) = table[usize::from(*from.add(i))];
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn store_u8<const N: usize, const NV: usize>(
        steps: [Self; N],
        zero_point: u8,
        pixels: Pixels,
    ) {
        // SAFETY: the caller's; masked lanes are not touched.
        unsafe {
            let zero_point = _mm512_set1_epi16(i16::from(zero_point));
            let pair = |a: usize, b: usize| {
                let packed = _mm512_packs_epi32(steps[a.min(N - 1)].0, steps[b.min(N - 1)].0);
                _mm512_adds_epi16(packed, zero_point)
            };
            let low = pair(0, 1);
            let high = if N > 2 { pair(2, 3) } else { low };
            // Packing works within 128 bits: four lanes of each vector side by side.
            let order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
            let values = _mm512_permutexvar_epi32(order, _mm512_packus_epi16(low, high));
            let to = |pixel: usize| pixels.to.add(pixel * pixels.step).cast::<i8>();
            let n = pixels.channels;
            match NV {
                1 => {
                    let parts = [
                        _mm512_castsi512_si128(values),
                        _mm512_extracti32x4_epi32::<1>(values),
                        _mm512_extracti32x4_epi32::<2>(values),
                        _mm512_extracti32x4_epi32::<3>(values),
                    ];
                    for (pixel, part) in parts.into_iter().enumerate().take(N) {
                        if n >= 16 {
                            _mm_storeu_si128(to(pixel).cast(), part);
                        } else {
                            _mm_mask_storeu_epi8(to(pixel), mask(n), part);
                        }
                    }
                }
                2 => {
                    let parts =
                        [_mm512_castsi512_si256(values), _mm512_extracti64x4_epi64::<1>(values)];
                    for (pixel, part) in parts.into_iter().enumerate().take(N / 2) {
                        if n >= 32 {
                            _mm256_storeu_si256(to(pixel).cast(), part);
                        } else {
                            _mm256_mask_storeu_epi8(to(pixel), first(n) as __mmask32, part);
                        }
                    }
                }
                3 if n >= 48 => {
                    _mm256_storeu_si256(to(0).cast(), _mm512_castsi512_si256(values));
                    let rest = _mm512_extracti32x4_epi32::<2>(values);
                    _mm_storeu_si128(pixels.to.add(32).cast(), rest);
                }
                4 if n >= 64 => _mm512_storeu_si512(to(0).cast(), values),
                _ => _mm512_mask_storeu_epi8(to(0), first(n), values),
            }
        }
    }
}

/// # Safety
/// The processor has AVX-512 with VBMI; `n` valid values at both pointers.
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
unsafe fn map_vbmi(table: &[u8; 256], from: *const u8, to: *mut u8, n: usize) {
    // SAFETY: the caller's; masked lanes are not touched.
    unsafe {
        let part = |i: usize| _mm512_loadu_si512(table.as_ptr().add(64 * i).cast());
        let (a, b, c, d) = (part(0), part(1), part(2), part(3));
        let mut at = 0;
        while at < n {
            let mask = if n - at < 64 { first(n - at) } else { u64::MAX };
            let values = _mm512_maskz_loadu_epi8(mask, from.add(at).cast());
            let low = _mm512_permutex2var_epi8(a, values, b);
            let high = _mm512_permutex2var_epi8(c, values, d);
            let values = _mm512_mask_blend_epi8(_mm512_movepi8_mask(values), low, high);
            _mm512_mask_storeu_epi8(to.add(at).cast(), mask, values);
            at += 64;
        }
    }
}
