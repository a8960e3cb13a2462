//! AVX2 and FMA: eight lanes. Products of u8 and i8 are sums of pairs of i16.

use super::{InstructionSet, intrinsics};
use crate::vector::{F32Body, F32Vector, I32Body, I32Vector, Pixels};
use std::arch::x86_64::*;
use std::marker::PhantomData;

/// AVX2 and FMA.
pub(super) struct Avx2;

impl InstructionSet for Avx2 {
    const NAME: &'static str = "avx2";
    type F32 = F32x8;
    type I32 = I32x8<Pairs>;

    fn is_detected() -> bool {
        is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")
    }
}

/// Eight lanes of f32.
#[derive(Clone, Copy)]
pub(crate) struct F32x8(__m256);

/// # Safety
/// Needs AVX2; `n <= 8`.
#[inline(always)]
unsafe fn mask(n: usize) -> __m256i {
    // SAFETY: the caller's.
    unsafe {
        _mm256_cmpgt_epi32(_mm256_set1_epi32(n as i32), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7))
    }
}

impl F32x8 {
    #[inline(always)]
    fn new(lanes: __m256) -> Self {
        Self(lanes)
    }

    /// `2^self` for integral lanes in -126..=127.
    #[inline(always)]
    fn power_of_two(self) -> Self {
        // SAFETY: a vector exists, so the processor has AVX2.
        Self(unsafe {
            let biased = _mm256_add_epi32(_mm256_cvtps_epi32(self.0), _mm256_set1_epi32(127));
            _mm256_castsi256_ps(_mm256_slli_epi32::<23>(biased))
        })
    }
}

impl F32Vector for F32x8 {
    const LANES: usize = 8;
    const TILES: &'static [usize] = &[10, 6];

    #[target_feature(enable = "avx2,fma")]
    unsafe fn run<B: F32Body>(body: &B) {
        // SAFETY: the caller's.
        unsafe { body.run::<Self>() }
    }

    intrinsics! {
        unsafe splat(value: f32) => _mm256_set1_ps(value);
        unsafe load(from: *const f32) => _mm256_loadu_ps(from);
        // Lanes that are masked are not touched.
        unsafe load_first(from: *const f32, n: usize) => _mm256_maskload_ps(from, mask(n));
        unsafe store(a; to: *mut f32) => _mm256_storeu_ps(to, a);
        unsafe store_first(a; to: *mut f32, n: usize) => _mm256_maskstore_ps(to, mask(n), a);
        add(a, b) => _mm256_add_ps(a, b);
        sub(a, b) => _mm256_sub_ps(a, b);
        mul(a, b) => _mm256_mul_ps(a, b);
        div(a, b) => _mm256_div_ps(a, b);
        min(a, b) => _mm256_min_ps(a, b);
        max(a, b) => _mm256_max_ps(a, b);
        fma(a, b, c) => _mm256_fmadd_ps(a, b, c);
        sqrt(a) => _mm256_sqrt_ps(a);
        abs(a) => _mm256_andnot_ps(_mm256_set1_ps(-0.0), a);
        round(a) => _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a);
        floor(a) => _mm256_round_ps::<{ _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC }>(a);
        ceil(a) => _mm256_round_ps::<{ _MM_FROUND_TO_POS_INF | _MM_FROUND_NO_EXC }>(a);
        select_lt(a, b, yes, no) => _mm256_blendv_ps(no, yes, _mm256_cmp_ps::<_CMP_LT_OQ>(a, b));
    }

    #[inline(always)]
    fn scale(self, n: Self) -> Self {
        let half = n.mul(n.constant(0.5)).floor();
        self.mul(half.power_of_two()).mul(n.sub(half).power_of_two())
    }
}

/// How products of u8 and i8 are summed in eight lanes.
///
/// # Safety
/// As [`I32Vector`].
pub(crate) trait Dot: Copy {
    type Block4: Copy;
    type Weights: Copy;
    const WEIGHT_BYTES: usize;
    const SUMS_I16: bool = false;
    const TILES: &'static [usize] = &[12, 6];
    /// As [`I32Vector::run`].
    unsafe fn run<B: I32Body>(body: &B);
    fn pack(weights: &[[i8; 4]], to: &mut [i8]) {
        to.copy_from_slice(weights.as_flattened());
    }
    unsafe fn block4(values: __m256i) -> Self::Block4;
    unsafe fn weights(from: *const i8) -> Self::Weights;
    unsafe fn dot(sums: __m256i, values: Self::Block4, weights: Self::Weights) -> __m256i;
    #[inline(always)]
    unsafe fn dot_i16<const N: usize>(
        mut sums: __m256i,
        blocks: [__m256i; N],
        weights: *const i8,
    ) -> __m256i {
        for (i, values) in blocks.into_iter().enumerate() {
            // SAFETY: the caller's.
            sums = unsafe {
                let weights = Self::weights(weights.add(i * Self::WEIGHT_BYTES));
                Self::dot(sums, Self::block4(values), weights)
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
    const SUMS_I16: bool = true;
    const TILES: &'static [usize] = &[8, 4];

    #[target_feature(enable = "avx2,fma")]
    unsafe fn run<B: I32Body>(body: &B) {
        // SAFETY: the caller's.
        unsafe { body.run::<I32x8<Self>>() }
    }

    /// Weights 0 and 2 of eight lanes as i16, then weights 1 and 3.
    fn pack(weights: &[[i8; 4]], to: &mut [i8]) {
        for (lane, [a, b, c, d]) in weights.iter().copied().enumerate() {
            let at = lane / 8 * 64 + lane % 8 * 4;
            for (at, weight) in [(at, a), (at + 2, c), (at + 32, b), (at + 34, d)] {
                let [low, high] = i16::from(weight).to_le_bytes();
                (to[at], to[at + 1]) = (low as i8, high as i8);
            }
        }
    }

    #[inline(always)]
    unsafe fn block4(values: __m256i) -> [__m256i; 2] {
        // SAFETY: the caller's.
        unsafe {
            let even = _mm256_and_si256(values, _mm256_set1_epi16(255));
            [even, _mm256_srli_epi16::<8>(values)]
        }
    }

    #[inline(always)]
    unsafe fn weights(from: *const i8) -> [__m256i; 2] {
        // SAFETY: the caller's: 32 valid weights, of two bytes each.
        unsafe { [_mm256_loadu_si256(from.cast()), _mm256_loadu_si256(from.add(32).cast())] }
    }

    #[inline(always)]
    unsafe fn dot(sums: __m256i, values: [__m256i; 2], weights: [__m256i; 2]) -> __m256i {
        // SAFETY: the caller's.
        unsafe {
            let even = _mm256_add_epi32(sums, _mm256_madd_epi16(values[0], weights[0]));
            _mm256_add_epi32(even, _mm256_madd_epi16(values[1], weights[1]))
        }
    }

    #[inline(always)]
    unsafe fn dot_i16<const N: usize>(
        sums: __m256i,
        blocks: [__m256i; N],
        weights: *const i8,
    ) -> __m256i {
        // SAFETY: the caller's: 32 valid weights for each block.
        unsafe {
            let mut pairs = _mm256_setzero_si256();
            for (i, values) in blocks.into_iter().enumerate() {
                let weights = _mm256_loadu_si256(weights.add(32 * i).cast());
                pairs = _mm256_add_epi16(pairs, _mm256_maddubs_epi16(values, weights));
            }
            _mm256_add_epi32(sums, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
        }
    }
}

/// # Safety
/// Needs AVX2; four valid values.
#[inline(always)]
unsafe fn broadcast(from: *const u8) -> __m256i {
    // SAFETY: the caller's.
    unsafe { _mm256_set1_epi32(from.cast::<i32>().read_unaligned()) }
}

/// Eight lanes of sums of products, made as `D` says.
#[derive(Clone, Copy)]
pub(crate) struct I32x8<D>(__m256i, PhantomData<D>);

impl<D> I32x8<D> {
    #[inline(always)]
    fn new(lanes: __m256i) -> Self {
        I32x8(lanes, PhantomData)
    }
}

impl<D: Dot> I32Vector for I32x8<D> {
    type F = F32x8;
    type Block4 = D::Block4;
    type Weights = D::Weights;
    const WEIGHT_BYTES: usize = D::WEIGHT_BYTES;
    const SUMS_I16: bool = D::SUMS_I16;
    const TILES: &'static [usize] = D::TILES;

    unsafe fn run<B: I32Body>(body: &B) {
        // SAFETY: the caller's.
        unsafe { D::run(body) }
    }

    fn pack(weights: &[[i8; 4]], to: &mut [i8]) {
        D::pack(weights, to);
    }

    intrinsics! {
        unsafe splat(value: i32) => _mm256_set1_epi32(value);
        unsafe load(from: *const i32) => _mm256_loadu_si256(from.cast());
        unsafe from_u8(from: *const u8) => _mm256_cvtepu8_epi32(_mm_loadl_epi64(from.cast()));
        unsafe store(a; to: *mut i32) => _mm256_storeu_si256(to.cast(), a);
        unsafe block4(from: *const u8) -> D::Block4 => D::block4(broadcast(from));
        unsafe block4_from(values: u32) -> D::Block4 => D::block4(_mm256_set1_epi32(values as i32));
        unsafe weights(from: *const i8) -> D::Weights => D::weights(from);
        unsafe interleave(channels: [*const u8; 3], to: *mut u8) -> () => interleave(channels, to);
    }

    #[inline(always)]
    unsafe fn from_u8_first(from: *const u8, n: usize) -> Self {
        let mut values = [0u8; 8];
        // SAFETY: the caller's: `n <= 8` valid values.
        unsafe {
            std::ptr::copy_nonoverlapping(from, values.as_mut_ptr(), n);
            Self::from_u8(values.as_ptr())
        }
    }

    #[inline(always)]
    unsafe fn channel_blocks4(pixels: [*const u8; 4], n: usize) -> [D::Block4; 4] {
        // SAFETY: the caller's: `n` valid values of each pixel.
        unsafe {
            let mut values = [_mm256_setzero_si256(); 4];
            for (values, pixel) in values.iter_mut().zip(pixels) {
                if n < 32 {
                    let mut part = [0u8; 32];
                    std::ptr::copy_nonoverlapping(pixel, part.as_mut_ptr(), n);
                    *values = _mm256_loadu_si256(part.as_ptr().cast());
                } else {
                    *values = _mm256_loadu_si256(pixel.cast());
                }
            }
            let [a, b, c, d] = values;
            let low = (_mm256_unpacklo_epi8(a, b), _mm256_unpacklo_epi8(c, d));
            let high = (_mm256_unpackhi_epi8(a, b), _mm256_unpackhi_epi8(c, d));
            [
                D::block4(_mm256_unpacklo_epi16(low.0, low.1)),
                D::block4(_mm256_unpackhi_epi16(low.0, low.1)),
                D::block4(_mm256_unpacklo_epi16(high.0, high.1)),
                D::block4(_mm256_unpackhi_epi16(high.0, high.1)),
            ]
        }
    }

    #[inline(always)]
    fn in_order([a, b, c, d]: [Self; 4]) -> [Self; 4] {
        // SAFETY: vectors exist, so the processor has AVX2.
        unsafe {
            [
                Self::new(_mm256_permute2x128_si256::<0x20>(a.0, b.0)),
                Self::new(_mm256_permute2x128_si256::<0x20>(c.0, d.0)),
                Self::new(_mm256_permute2x128_si256::<0x31>(a.0, b.0)),
                Self::new(_mm256_permute2x128_si256::<0x31>(c.0, d.0)),
            ]
        }
    }

    #[inline(always)]
    fn dot(self, values: D::Block4, weights: D::Weights) -> Self {
        // SAFETY: a vector exists, so the processor has what `D` uses.
        Self::new(unsafe { D::dot(self.0, values, weights) })
    }

    #[inline(always)]
    unsafe fn dot_i16<const N: usize>(self, blocks: [*const u8; N], weights: *const i8) -> Self {
        // SAFETY: the caller's.
        Self::new(unsafe { D::dot_i16(self.0, blocks.map(|block| broadcast(block)), weights) })
    }

    intrinsics! {
        add(a, b) => _mm256_add_epi32(a, b);
        low_u16(a) => _mm256_and_si256(a, _mm256_set1_epi32(0xFFFF));
        high_u16(a) => _mm256_srli_epi32::<16>(a);
        to_f32(a) -> F32x8 => F32x8(_mm256_cvtepi32_ps(a));
        // The rounding mode is the default one, to nearest.
        round(value: F32x8) -> Self => Self::new(_mm256_cvtps_epi32(value.0));
        fused(a: F32x8, b: F32x8, c: F32x8) -> F32x8 => F32x8(_mm256_fmadd_ps(a.0, b.0, c.0));
        // A permutation reads no more than the low three bits.
        piece(value: F32x8) -> Self => {
            Self::new(_mm256_srli_epi32::<22>(_mm256_castps_si256(value.0)))
        };
        lookup(table: &[f32; 8], index: Self) -> F32x8 => {
            F32x8(_mm256_permutevar8x32_ps(_mm256_loadu_ps(table.as_ptr()), index.0))
        };
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
            let values = _mm256_permutevar8x32_epi32(_mm256_packus_epi16(low, high), order);
            if NV == 4 && pixels.channels >= 32 {
                _mm256_storeu_si256(pixels.to.cast(), values);
                return;
            }
            let mut all = [0u8; 32];
            if pixels.channels < NV * 8 || NV > 2 {
                _mm256_storeu_si256(all.as_mut_ptr().cast(), values);
                for pixel in 0..N / NV {
                    let (from, to) =
                        (all.as_ptr().add(pixel * NV * 8), pixels.to.add(pixel * pixels.step));
                    std::ptr::copy_nonoverlapping(from, to, pixels.channels.min(NV * 8));
                }
                return;
            }
            let halves = [_mm256_castsi256_si128(values), _mm256_extracti128_si256::<1>(values)];
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

/// For each vector of 16 out of 48 interleaved values, where each channel's values go; 128 and more make zero.
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
/// Needs AVX2; 16 valid values of each channel, 48 at `to`.
#[inline(always)]
pub(super) unsafe fn interleave(channels: [*const u8; 3], to: *mut u8) {
    // SAFETY: the caller's.
    unsafe {
        let mut values = [_mm_setzero_si128(); 3];
        for (values, channel) in values.iter_mut().zip(channels) {
            *values = _mm_loadu_si128(channel.cast());
        }
        for (i, spread) in SPREAD.iter().enumerate() {
            let mut pixels = _mm_setzero_si128();
            for (values, spread) in values.iter().zip(spread) {
                let spread = _mm_loadu_si128(spread.as_ptr().cast());
                pixels = _mm_or_si128(pixels, _mm_shuffle_epi8(*values, spread));
            }
            _mm_storeu_si128(to.add(16 * i).cast(), pixels);
        }
    }
}
