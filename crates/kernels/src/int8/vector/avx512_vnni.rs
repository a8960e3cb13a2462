use super::{I32Body, I32Vector, Pixels};
use crate::int8::conv::tile::{QTile, QTileFn, Taps, tile};
use crate::vector::F32x16;
use std::arch::x86_64::*;

/// Sixteen lanes.
#[derive(Clone, Copy)]
pub(super) struct I32x16(__m512i);

fn mask(n: usize) -> __mmask16 {
    (1u32.wrapping_shl(n as u32).wrapping_sub(1)) as __mmask16
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

    #[inline(always)]
    unsafe fn splat(value: i32) -> Self {
        // SAFETY: the caller's.
        I32x16(unsafe { _mm512_set1_epi32(value) })
    }

    #[inline(always)]
    unsafe fn load(from: *const i32) -> Self {
        // SAFETY: the caller's.
        I32x16(unsafe { _mm512_loadu_epi32(from) })
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut i32) {
        // SAFETY: the caller's.
        unsafe { _mm512_storeu_epi32(to, self.0) }
    }

    #[inline(always)]
    unsafe fn block4(from: *const u8) -> __m512i {
        // SAFETY: the caller's: four valid values.
        unsafe { _mm512_set1_epi32(from.cast::<i32>().read_unaligned()) }
    }

    #[inline(always)]
    unsafe fn block4_of(quantized: u32) -> __m512i {
        // SAFETY: the caller's.
        unsafe { _mm512_set1_epi32(quantized as i32) }
    }

    #[inline(always)]
    unsafe fn weights(from: *const i8) -> __m512i {
        // SAFETY: the caller's: 64 valid weights.
        unsafe { _mm512_loadu_si512(from.cast()) }
    }

    #[inline(always)]
    unsafe fn channel_blocks4(pixels: [*const u8; 4], n: usize) -> [__m512i; 4] {
        // SAFETY: the caller's; masked lanes are not touched.
        unsafe {
            let mut quantized = [_mm512_setzero_si512(); 4];
            for (quantized, pixel) in quantized.iter_mut().zip(pixels) {
                *quantized = match n < 64 {
                    true => _mm512_maskz_loadu_epi8(first(n), pixel.cast()),
                    false => _mm512_loadu_si512(pixel.cast()),
                };
            }
            let [a, b, c, d] = quantized;
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
    unsafe fn in_order([a, b, c, d]: [Self; 4]) -> [Self; 4] {
        // Four by four blocks of 128 bits, transposed.
        // SAFETY: the caller's.
        unsafe {
            let low = (
                _mm512_shuffle_i32x4::<0x44>(a.0, b.0),
                _mm512_shuffle_i32x4::<0x44>(c.0, d.0),
            );
            let high = (
                _mm512_shuffle_i32x4::<0xEE>(a.0, b.0),
                _mm512_shuffle_i32x4::<0xEE>(c.0, d.0),
            );
            [
                I32x16(_mm512_shuffle_i32x4::<0x88>(low.0, low.1)),
                I32x16(_mm512_shuffle_i32x4::<0xDD>(low.0, low.1)),
                I32x16(_mm512_shuffle_i32x4::<0x88>(high.0, high.1)),
                I32x16(_mm512_shuffle_i32x4::<0xDD>(high.0, high.1)),
            ]
        }
    }

    #[inline(always)]
    unsafe fn dot(self, quantized: __m512i, weights: __m512i) -> Self {
        // SAFETY: the caller's.
        I32x16(unsafe { _mm512_dpbusd_epi32(self.0, quantized, weights) })
    }

    #[inline(always)]
    unsafe fn from_u8(from: *const u8) -> Self {
        // SAFETY: the caller's: 16 valid values.
        I32x16(unsafe { _mm512_cvtepu8_epi32(_mm_loadu_si128(from.cast())) })
    }

    #[inline(always)]
    unsafe fn from_u8_first(from: *const u8, n: usize) -> Self {
        // SAFETY: the caller's; masked lanes are not touched.
        I32x16(unsafe { _mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(mask(n), from.cast())) })
    }

    #[inline(always)]
    unsafe fn add(self, b: Self) -> Self {
        // SAFETY: the caller's.
        I32x16(unsafe { _mm512_add_epi32(self.0, b.0) })
    }

    #[inline(always)]
    unsafe fn to_f32(self) -> F32x16 {
        // SAFETY: the caller's.
        F32x16(unsafe { _mm512_cvtepi32_ps(self.0) })
    }

    #[inline(always)]
    unsafe fn round(value: F32x16) -> Self {
        // SAFETY: the caller's.
        I32x16(unsafe {
            _mm512_cvt_roundps_epi32::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(value.0)
        })
    }

    #[inline(always)]
    unsafe fn fused(a: F32x16, b: F32x16, c: F32x16) -> F32x16 {
        // SAFETY: the caller's.
        F32x16(unsafe { _mm512_fmadd_ps(a.0, b.0, c.0) })
    }

    #[inline(always)]
    unsafe fn least_magnitude(a: F32x16, b: F32x16) -> F32x16 {
        // The lesser of magnitudes, sign cleared.
        // SAFETY: the caller's.
        F32x16(unsafe { _mm512_range_ps::<0b1010>(a.0, b.0) })
    }

    #[inline(always)]
    unsafe fn piece(value: F32x16) -> Self {
        // The permutation reads no more than the low four bits, and both halves of the table are the same.
        // SAFETY: the caller's.
        I32x16(unsafe { _mm512_srli_epi32::<22>(_mm512_castps_si512(value.0)) })
    }

    #[inline(always)]
    unsafe fn lookup(table: &[f32; 8], index: Self) -> F32x16 {
        // SAFETY: the caller's.
        unsafe {
            let twice = _mm512_broadcast_f32x8(_mm256_loadu_ps(table.as_ptr()));
            F32x16(_mm512_permutexvar_ps(index.0, twice))
        }
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
    unsafe fn interleave(planes: [*const u8; 3], to: *mut u8) {
        // SAFETY: the caller's.
        unsafe { super::avx2::interleave(planes, to) }
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
            let quantized = _mm512_permutexvar_epi32(order, _mm512_packus_epi16(low, high));
            let to = |pixel: usize| pixels.to.add(pixel * pixels.step).cast::<i8>();
            let n = pixels.channels;
            match NV {
                1 => {
                    let parts = [
                        _mm512_castsi512_si128(quantized),
                        _mm512_extracti32x4_epi32::<1>(quantized),
                        _mm512_extracti32x4_epi32::<2>(quantized),
                        _mm512_extracti32x4_epi32::<3>(quantized),
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
                    let parts = [
                        _mm512_castsi512_si256(quantized),
                        _mm512_extracti64x4_epi64::<1>(quantized),
                    ];
                    for (pixel, part) in parts.into_iter().enumerate().take(N / 2) {
                        if n >= 32 {
                            _mm256_storeu_si256(to(pixel).cast(), part);
                        } else {
                            _mm256_mask_storeu_epi8(to(pixel), first(n) as __mmask32, part);
                        }
                    }
                }
                3 if n >= 48 => {
                    _mm256_storeu_si256(to(0).cast(), _mm512_castsi512_si256(quantized));
                    let rest = _mm512_extracti32x4_epi32::<2>(quantized);
                    _mm_storeu_si128(pixels.to.add(32).cast(), rest);
                }
                4 if n >= 64 => _mm512_storeu_si512(to(0).cast(), quantized),
                _ => _mm512_mask_storeu_epi8(to(0), first(n), quantized),
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
            let quantized = _mm512_maskz_loadu_epi8(mask, from.add(at).cast());
            let low = _mm512_permutex2var_epi8(a, quantized, b);
            let high = _mm512_permutex2var_epi8(c, quantized, d);
            let quantized = _mm512_mask_blend_epi8(_mm512_movepi8_mask(quantized), low, high);
            _mm512_mask_storeu_epi8(to.add(at).cast(), mask, quantized);
            at += 64;
        }
    }
}

/// # Safety
/// The processor has AVX-512 with VNNI; the body's pointers are valid.
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512bw,avx512vnni,avx2,fma")]
pub(super) unsafe fn run<B: I32Body>(body: &B) {
    // SAFETY: the caller's.
    unsafe { body.run::<I32x16>() }
}

#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512bw,avx512vnni,avx2,fma")]
unsafe fn t<const MR: usize, const NV: usize>(args: &QTile) {
    // SAFETY: the caller's.
    unsafe { tile::<I32x16, Taps, MR, NV>(args) }
}

#[rustfmt::skip]
pub(super) static TILES: &[&[QTileFn]] = &[
    &[t::<1, 1>, t::<2, 1>, t::<3, 1>, t::<4, 1>, t::<5, 1>, t::<6, 1>, t::<7, 1>, t::<8, 1>, t::<9, 1>, t::<10, 1>,
      t::<11, 1>, t::<12, 1>, t::<13, 1>, t::<14, 1>, t::<15, 1>, t::<16, 1>, t::<17, 1>, t::<18, 1>, t::<19, 1>,
      t::<20, 1>, t::<21, 1>, t::<22, 1>, t::<23, 1>, t::<24, 1>],
    &[t::<1, 2>, t::<2, 2>, t::<3, 2>, t::<4, 2>, t::<5, 2>, t::<6, 2>, t::<7, 2>, t::<8, 2>, t::<9, 2>, t::<10, 2>,
      t::<11, 2>, t::<12, 2>],
    &[t::<1, 3>, t::<2, 3>, t::<3, 3>, t::<4, 3>, t::<5, 3>, t::<6, 3>, t::<7, 3>, t::<8, 3>],
    &[t::<1, 4>, t::<2, 4>, t::<3, 4>, t::<4, 4>, t::<5, 4>, t::<6, 4>],
];
