use super::{I32Body, I32Vector, Pixels};
use crate::int8::conv::tile::sorted::Sorted;
use crate::int8::conv::tile::{QTile, QTileFn, Sums, Taps, tile};
use crate::vector::F32x8Avx;
use std::arch::x86_64::*;
use std::marker::PhantomData;

/// How sums of products of quantized values and weights are made.
///
/// # Safety
/// As [`I32Vector`].
pub(super) trait Dot: Copy {
    type Block4: Copy;
    type Weights: Copy;
    const WEIGHT_BYTES: usize;
    unsafe fn spread(quantized: __m256i) -> Self::Block4;
    unsafe fn weights(from: *const i8) -> Self::Weights;
    unsafe fn dot(sums: __m256i, quantized: Self::Block4, weights: Self::Weights) -> __m256i;
    #[inline(always)]
    unsafe fn dot_i16<const N: usize>(
        sums: __m256i,
        quantized: [__m256i; N],
        weights: *const i8,
    ) -> __m256i {
        let mut sums = sums;
        for (i, quantized) in quantized.into_iter().enumerate() {
            // SAFETY: the caller's.
            sums = unsafe {
                let weights = Self::weights(weights.add(i * Self::WEIGHT_BYTES));
                Self::dot(sums, Self::spread(quantized), weights)
            };
        }
        sums
    }
}

/// By pairs of i16, which cannot saturate.
#[derive(Clone, Copy)]
pub(super) struct Pairs;

impl Dot for Pairs {
    type Block4 = [__m256i; 2];
    type Weights = [__m256i; 2];
    const WEIGHT_BYTES: usize = 64;

    #[inline(always)]
    unsafe fn spread(quantized: __m256i) -> [__m256i; 2] {
        // SAFETY: the caller's.
        unsafe {
            let even = _mm256_and_si256(quantized, _mm256_set1_epi16(255));
            [even, _mm256_srli_epi16::<8>(quantized)]
        }
    }

    #[inline(always)]
    unsafe fn weights(from: *const i8) -> [__m256i; 2] {
        // SAFETY: the caller's: 32 valid weights, of two bytes each.
        unsafe {
            [
                _mm256_loadu_si256(from.cast()),
                _mm256_loadu_si256(from.add(32).cast()),
            ]
        }
    }

    #[inline(always)]
    unsafe fn dot(sums: __m256i, quantized: [__m256i; 2], weights: [__m256i; 2]) -> __m256i {
        // SAFETY: the caller's.
        unsafe {
            let even = _mm256_add_epi32(sums, _mm256_madd_epi16(quantized[0], weights[0]));
            _mm256_add_epi32(even, _mm256_madd_epi16(quantized[1], weights[1]))
        }
    }

    #[inline(always)]
    unsafe fn dot_i16<const N: usize>(
        sums: __m256i,
        quantized: [__m256i; N],
        weights: *const i8,
    ) -> __m256i {
        // SAFETY: the caller's: 32 valid weights for each block of four.
        unsafe {
            let mut singles = _mm256_setzero_si256();
            for (i, quantized) in quantized.into_iter().enumerate() {
                let weights = _mm256_loadu_si256(weights.add(32 * i).cast());
                singles = _mm256_add_epi16(singles, _mm256_maddubs_epi16(quantized, weights));
            }
            _mm256_add_epi32(sums, _mm256_madd_epi16(singles, _mm256_set1_epi16(1)))
        }
    }
}

#[inline(always)]
unsafe fn broadcast(from: *const u8) -> __m256i {
    // SAFETY: the caller's: four valid values.
    unsafe { _mm256_set1_epi32(from.cast::<i32>().read_unaligned()) }
}

/// Eight lanes.
#[derive(Clone, Copy)]
pub(super) struct I32x8<D>(__m256i, PhantomData<D>);

impl<D> I32x8<D> {
    #[inline(always)]
    fn of(lanes: __m256i) -> I32x8<D> {
        I32x8(lanes, PhantomData)
    }
}

impl<D: Dot> I32Vector for I32x8<D> {
    type F = F32x8Avx;
    type Block4 = D::Block4;
    type Weights = D::Weights;
    const WEIGHT_BYTES: usize = D::WEIGHT_BYTES;

    #[inline(always)]
    unsafe fn splat(value: i32) -> Self {
        // SAFETY: the caller's.
        Self::of(unsafe { _mm256_set1_epi32(value) })
    }

    #[inline(always)]
    unsafe fn load(from: *const i32) -> Self {
        // SAFETY: the caller's.
        Self::of(unsafe { _mm256_loadu_si256(from.cast()) })
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut i32) {
        // SAFETY: the caller's.
        unsafe { _mm256_storeu_si256(to.cast(), self.0) }
    }

    #[inline(always)]
    unsafe fn block4(from: *const u8) -> D::Block4 {
        // SAFETY: the caller's: four valid values.
        unsafe { D::spread(broadcast(from)) }
    }

    #[inline(always)]
    unsafe fn block4_of(quantized: u32) -> D::Block4 {
        // SAFETY: the caller's.
        unsafe { D::spread(_mm256_set1_epi32(quantized as i32)) }
    }

    #[inline(always)]
    unsafe fn weights(from: *const i8) -> D::Weights {
        // SAFETY: the caller's: 32 valid weights.
        unsafe { D::weights(from) }
    }

    #[inline(always)]
    unsafe fn channel_blocks4(pixels: [*const u8; 4], n: usize) -> [D::Block4; 4] {
        // SAFETY: the caller's: `n` valid values of each pixel.
        unsafe {
            let mut quantized = [_mm256_setzero_si256(); 4];
            for (quantized, pixel) in quantized.iter_mut().zip(pixels) {
                if n < 32 {
                    let mut part = [0u8; 32];
                    std::ptr::copy_nonoverlapping(pixel, part.as_mut_ptr(), n);
                    *quantized = _mm256_loadu_si256(part.as_ptr().cast());
                } else {
                    *quantized = _mm256_loadu_si256(pixel.cast());
                }
            }
            let [a, b, c, d] = quantized;
            let low = (_mm256_unpacklo_epi8(a, b), _mm256_unpacklo_epi8(c, d));
            let high = (_mm256_unpackhi_epi8(a, b), _mm256_unpackhi_epi8(c, d));
            [
                D::spread(_mm256_unpacklo_epi16(low.0, low.1)),
                D::spread(_mm256_unpackhi_epi16(low.0, low.1)),
                D::spread(_mm256_unpacklo_epi16(high.0, high.1)),
                D::spread(_mm256_unpackhi_epi16(high.0, high.1)),
            ]
        }
    }

    #[inline(always)]
    unsafe fn in_order([a, b, c, d]: [Self; 4]) -> [Self; 4] {
        // SAFETY: the caller's.
        unsafe {
            [
                Self::of(_mm256_permute2x128_si256::<0x20>(a.0, b.0)),
                Self::of(_mm256_permute2x128_si256::<0x20>(c.0, d.0)),
                Self::of(_mm256_permute2x128_si256::<0x31>(a.0, b.0)),
                Self::of(_mm256_permute2x128_si256::<0x31>(c.0, d.0)),
            ]
        }
    }

    #[inline(always)]
    unsafe fn dot(self, quantized: D::Block4, weights: D::Weights) -> Self {
        // SAFETY: the caller's.
        Self::of(unsafe { D::dot(self.0, quantized, weights) })
    }

    #[inline(always)]
    unsafe fn dot_i16<const N: usize>(self, quantized: [*const u8; N], weights: *const i8) -> Self {
        // SAFETY: the caller's.
        Self::of(unsafe {
            D::dot_i16(
                self.0,
                quantized.map(|quantized| broadcast(quantized)),
                weights,
            )
        })
    }

    #[inline(always)]
    unsafe fn from_u8(from: *const u8) -> Self {
        // SAFETY: the caller's: eight valid values.
        Self::of(unsafe { _mm256_cvtepu8_epi32(_mm_loadl_epi64(from.cast())) })
    }

    #[inline(always)]
    unsafe fn from_u8_first(from: *const u8, n: usize) -> Self {
        let mut quantized = [0u8; 8];
        // SAFETY: the caller's: `n <= 8` valid values.
        unsafe {
            std::ptr::copy_nonoverlapping(from, quantized.as_mut_ptr(), n);
            Self::from_u8(quantized.as_ptr())
        }
    }

    #[inline(always)]
    unsafe fn add(self, b: Self) -> Self {
        // SAFETY: the caller's.
        Self::of(unsafe { _mm256_add_epi32(self.0, b.0) })
    }

    #[inline(always)]
    unsafe fn to_f32(self) -> F32x8Avx {
        // SAFETY: the caller's.
        F32x8Avx(unsafe { _mm256_cvtepi32_ps(self.0) })
    }

    #[inline(always)]
    unsafe fn round(value: F32x8Avx) -> Self {
        // SAFETY: the caller's; the rounding mode is the default one, to nearest.
        Self::of(unsafe { _mm256_cvtps_epi32(value.0) })
    }

    #[inline(always)]
    unsafe fn fused(a: F32x8Avx, b: F32x8Avx, c: F32x8Avx) -> F32x8Avx {
        // SAFETY: the caller's.
        F32x8Avx(unsafe { _mm256_fmadd_ps(a.0, b.0, c.0) })
    }

    #[inline(always)]
    unsafe fn piece(value: F32x8Avx) -> Self {
        // A permutation reads no more than the low three bits.
        // SAFETY: the caller's.
        Self::of(unsafe { _mm256_srli_epi32::<22>(_mm256_castps_si256(value.0)) })
    }

    #[inline(always)]
    unsafe fn lookup(table: &[f32; 8], index: Self) -> F32x8Avx {
        // SAFETY: the caller's.
        F32x8Avx(unsafe { _mm256_permutevar8x32_ps(_mm256_loadu_ps(table.as_ptr()), index.0) })
    }

    #[inline(always)]
    unsafe fn interleave(planes: [*const u8; 3], to: *mut u8) {
        // SAFETY: the caller's.
        unsafe { interleave(planes, to) }
    }

    #[inline(always)]
    unsafe fn store_u8<const N: usize, const NV: usize>(
        steps: [Self; N],
        zero_point: u8,
        pixels: Pixels,
    ) {
        // SAFETY: the caller's: valid values of valid pixels.
        unsafe {
            let zero_point = _mm256_set1_epi16(i16::from(zero_point));
            let pair = |a: usize, b: usize| {
                let packed = _mm256_packs_epi32(steps[a.min(N - 1)].0, steps[b.min(N - 1)].0);
                _mm256_adds_epi16(packed, zero_point)
            };
            let low = pair(0, 1);
            let high = if N > 2 { pair(2, 3) } else { low };
            // Packing works within 128 bits: four lanes of each vector side by side.
            let order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
            let quantized = _mm256_permutevar8x32_epi32(_mm256_packus_epi16(low, high), order);
            if NV == 4 && pixels.channels >= 32 {
                _mm256_storeu_si256(pixels.to.cast(), quantized);
                return;
            }
            let mut all = [0u8; 32];
            if pixels.channels < NV * 8 || NV > 2 {
                _mm256_storeu_si256(all.as_mut_ptr().cast(), quantized);
                for pixel in 0..N / NV {
                    let (from, to) = (
                        all.as_ptr().add(pixel * NV * 8),
                        pixels.to.add(pixel * pixels.step),
                    );
                    std::ptr::copy_nonoverlapping(from, to, pixels.channels.min(NV * 8));
                }
                return;
            }
            let halves = [
                _mm256_castsi256_si128(quantized),
                _mm256_extracti128_si256::<1>(quantized),
            ];
            for pixel in 0..N / NV {
                let to = pixels.to.add(pixel * pixels.step);
                match (NV, pixel % 2) {
                    (2, _) => _mm_storeu_si128(to.cast(), halves[pixel]),
                    (_, 0) => _mm_storel_epi64(to.cast(), halves[pixel / 2]),
                    _ => {
                        let half = _mm_unpackhi_epi64(halves[pixel / 2], halves[pixel / 2]);
                        _mm_storel_epi64(to.cast(), half);
                    }
                }
            }
        }
    }
}

/// For each vector of 16 out of 48 interleaved quantized values, where each plane's quantized values go; 128 and more make zero.
const SPREAD: [[[u8; 16]; 3]; 3] = {
    let mut spread = [[[128; 16]; 3]; 3];
    let mut i = 0;
    while i < 48 {
        spread[i / 16][i % 3][i % 16] = (i / 3) as u8;
        i += 1;
    }
    spread
};

/// # Safety
/// Needs AVX2; 16 valid values of each plane, 48 at `to`.
#[inline(always)]
pub(super) unsafe fn interleave(planes: [*const u8; 3], to: *mut u8) {
    // SAFETY: the caller's.
    unsafe {
        let mut quantized = [_mm_setzero_si128(); 3];
        for (quantized, plane) in quantized.iter_mut().zip(planes) {
            *quantized = _mm_loadu_si128(plane.cast());
        }
        for (i, spread) in SPREAD.iter().enumerate() {
            let mut pixels = _mm_setzero_si128();
            for (quantized, spread) in quantized.iter().zip(spread) {
                let spread = _mm_loadu_si128(spread.as_ptr().cast());
                pixels = _mm_or_si128(pixels, _mm_shuffle_epi8(*quantized, spread));
            }
            _mm_storeu_si128(to.add(16 * i).cast(), pixels);
        }
    }
}

/// # Safety
/// The processor has AVX2 and FMA; the body's pointers are valid.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn run<B: I32Body>(body: &B) {
    // SAFETY: the caller's.
    unsafe { body.run::<I32x8<Pairs>>() }
}

#[target_feature(enable = "avx2,fma")]
unsafe fn t<S: Sums<I32x8<Pairs>>, const MR: usize, const NV: usize>(args: &QTile) {
    // SAFETY: the caller's.
    unsafe { tile::<I32x8<Pairs>, S, MR, NV>(args) }
}

macro_rules! tiles {
    ($s:ty) => {
        &[
            &[
                t::<$s, 1, 1>,
                t::<$s, 2, 1>,
                t::<$s, 3, 1>,
                t::<$s, 4, 1>,
                t::<$s, 5, 1>,
                t::<$s, 6, 1>,
                t::<$s, 7, 1>,
                t::<$s, 8, 1>,
            ],
            &[t::<$s, 1, 2>, t::<$s, 2, 2>, t::<$s, 3, 2>, t::<$s, 4, 2>],
        ]
    };
}

pub(super) static TILES: &[&[QTileFn]] = tiles!(Taps);
pub(super) static SORTED_TILES: &[&[QTileFn]] = tiles!(Sorted);
