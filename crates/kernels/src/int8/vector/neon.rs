use super::{I32Body, I32Vector, Pixels};
use crate::int8::conv::tile::{QTile, QTileFn, Taps, tile};
use crate::vector::F32x4;
use std::arch::aarch64::*;
use std::arch::asm;
use std::marker::PhantomData;

/// How sums of products of quantized values and weights are made.
///
/// # Safety
/// As [`I32Vector`].
pub(super) trait Dot: Copy {
    /// Quantized values as the products read them.
    unsafe fn spread(quantized: uint8x16_t) -> uint8x16_t;
    unsafe fn dot(sums: int32x4_t, quantized: uint8x16_t, weights: int8x16_t) -> int32x4_t;
}

/// `sdot`, signed by signed: quantized values less 128, which the initial sums make good for.
#[derive(Clone, Copy)]
pub(super) struct Signed;

impl Dot for Signed {
    #[inline(always)]
    unsafe fn spread(quantized: uint8x16_t) -> uint8x16_t {
        // SAFETY: the caller's.
        unsafe { veorq_u8(quantized, vdupq_n_u8(128)) }
    }

    #[inline(always)]
    unsafe fn dot(mut sums: int32x4_t, quantized: uint8x16_t, weights: int8x16_t) -> int32x4_t {
        // SAFETY: the caller has the instruction; only registers are touched.
        unsafe {
            asm!(
                ".arch_extension dotprod",
                "sdot {0:v}.4s, {1:v}.16b, {2:v}.16b",
                inout(vreg) sums, in(vreg) quantized, in(vreg) weights,
                options(pure, nomem, nostack, preserves_flags)
            );
        }
        sums
    }
}

/// `usdot`, unsigned by signed.
#[derive(Clone, Copy)]
pub(super) struct Mixed;

impl Dot for Mixed {
    #[inline(always)]
    unsafe fn spread(quantized: uint8x16_t) -> uint8x16_t {
        quantized
    }

    #[inline(always)]
    unsafe fn dot(mut sums: int32x4_t, quantized: uint8x16_t, weights: int8x16_t) -> int32x4_t {
        // SAFETY: the caller has the instruction; only registers are touched.
        unsafe {
            asm!(
                ".arch_extension i8mm",
                "usdot {0:v}.4s, {1:v}.16b, {2:v}.16b",
                inout(vreg) sums, in(vreg) quantized, in(vreg) weights,
                options(pure, nomem, nostack, preserves_flags)
            );
        }
        sums
    }
}

/// Four lanes.
#[derive(Clone, Copy)]
pub(super) struct I32x4<D>(int32x4_t, PhantomData<D>);

impl<D> I32x4<D> {
    #[inline(always)]
    fn of(lanes: int32x4_t) -> I32x4<D> {
        I32x4(lanes, PhantomData)
    }
}

impl<D: Dot> I32Vector for I32x4<D> {
    type F = F32x4;
    type Block4 = uint8x16_t;
    type Weights = int8x16_t;
    const WEIGHT_BYTES: usize = 16;

    #[inline(always)]
    unsafe fn splat(value: i32) -> Self {
        // SAFETY: the caller's.
        Self::of(unsafe { vdupq_n_s32(value) })
    }

    #[inline(always)]
    unsafe fn load(from: *const i32) -> Self {
        // SAFETY: the caller's.
        Self::of(unsafe { vld1q_s32(from) })
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut i32) {
        // SAFETY: the caller's.
        unsafe { vst1q_s32(to, self.0) }
    }

    #[inline(always)]
    unsafe fn block4(from: *const u8) -> uint8x16_t {
        // SAFETY: the caller's: four valid values.
        unsafe { Self::block4_of(from.cast::<u32>().read_unaligned()) }
    }

    #[inline(always)]
    unsafe fn block4_of(quantized: u32) -> uint8x16_t {
        // SAFETY: the caller's.
        unsafe { D::spread(vreinterpretq_u8_u32(vdupq_n_u32(quantized))) }
    }

    #[inline(always)]
    unsafe fn weights(from: *const i8) -> int8x16_t {
        // SAFETY: the caller's: 16 valid weights.
        unsafe { vld1q_s8(from) }
    }

    #[inline(always)]
    unsafe fn channel_blocks4(pixels: [*const u8; 4], n: usize) -> [uint8x16_t; 4] {
        // SAFETY: the caller's: `n` valid values of each pixel.
        unsafe {
            let mut quantized = [vdupq_n_u8(0); 4];
            for (quantized, pixel) in quantized.iter_mut().zip(pixels) {
                if n < 16 {
                    let mut part = [0u8; 16];
                    std::ptr::copy_nonoverlapping(pixel, part.as_mut_ptr(), n);
                    *quantized = vld1q_u8(part.as_ptr());
                } else {
                    *quantized = vld1q_u8(pixel);
                }
            }
            let [a, b, c, d] = quantized;
            let pair = |a, b| vreinterpretq_u16_u8(vzip1q_u8(a, b));
            let high_pair = |a, b| vreinterpretq_u16_u8(vzip2q_u8(a, b));
            let (low, high) = ((pair(a, b), pair(c, d)), (high_pair(a, b), high_pair(c, d)));
            let spread = |blocks4| D::spread(vreinterpretq_u8_u16(blocks4));
            [
                spread(vzip1q_u16(low.0, low.1)),
                spread(vzip2q_u16(low.0, low.1)),
                spread(vzip1q_u16(high.0, high.1)),
                spread(vzip2q_u16(high.0, high.1)),
            ]
        }
    }

    #[inline(always)]
    unsafe fn in_order(sums: [Self; 4]) -> [Self; 4] {
        sums
    }

    #[inline(always)]
    unsafe fn dot(self, quantized: uint8x16_t, weights: int8x16_t) -> Self {
        // SAFETY: the caller's.
        Self::of(unsafe { D::dot(self.0, quantized, weights) })
    }

    #[inline(always)]
    unsafe fn from_u8(from: *const u8) -> Self {
        // SAFETY: the caller's: four valid values.
        unsafe {
            let quantized = vcreate_u8(u64::from(from.cast::<u32>().read_unaligned()));
            let wide = vmovl_u16(vget_low_u16(vmovl_u8(quantized)));
            Self::of(vreinterpretq_s32_u32(wide))
        }
    }

    #[inline(always)]
    unsafe fn from_u8_first(from: *const u8, n: usize) -> Self {
        let mut quantized = [0u8; 4];
        // SAFETY: the caller's: `n < 4` valid values.
        unsafe {
            std::ptr::copy_nonoverlapping(from, quantized.as_mut_ptr(), n);
            Self::from_u8(quantized.as_ptr())
        }
    }

    #[inline(always)]
    unsafe fn add(self, b: Self) -> Self {
        // SAFETY: the caller's.
        Self::of(unsafe { vaddq_s32(self.0, b.0) })
    }

    #[inline(always)]
    unsafe fn to_f32(self) -> F32x4 {
        // SAFETY: the caller's.
        F32x4(unsafe { vcvtq_f32_s32(self.0) })
    }

    #[inline(always)]
    unsafe fn round(value: F32x4) -> Self {
        // SAFETY: the caller's.
        Self::of(unsafe { vcvtnq_s32_f32(value.0) })
    }

    #[inline(always)]
    unsafe fn fused(a: F32x4, b: F32x4, c: F32x4) -> F32x4 {
        // SAFETY: the caller's.
        F32x4(unsafe { vfmaq_f32(c.0, a.0, b.0) })
    }

    #[inline(always)]
    unsafe fn piece(value: F32x4) -> Self {
        // As the four bytes' places in a table of eight floats.
        // SAFETY: the caller's.
        unsafe {
            let bits = vshrq_n_u32::<22>(vreinterpretq_u32_f32(value.0));
            let piece = vandq_u32(bits, vdupq_n_u32(7));
            let bytes = vmlaq_n_u32(vdupq_n_u32(0x0302_0100), piece, 0x0404_0404);
            Self::of(vreinterpretq_s32_u32(bytes))
        }
    }

    #[inline(always)]
    unsafe fn lookup(table: &[f32; 8], index: Self) -> F32x4 {
        // SAFETY: the caller's.
        unsafe {
            let table = vld1q_u8_x2(table.as_ptr().cast());
            let value = vqtbl2q_u8(table, vreinterpretq_u8_s32(index.0));
            F32x4(vreinterpretq_f32_u8(value))
        }
    }

    #[inline(always)]
    unsafe fn interleave(planes: [*const u8; 3], to: *mut u8) {
        // SAFETY: the caller's: 16 valid values of each plane, 48 at `to`.
        unsafe {
            let [a, b, c] = planes;
            vst3q_u8(to, uint8x16x3_t(vld1q_u8(a), vld1q_u8(b), vld1q_u8(c)));
        }
    }

    #[inline(always)]
    unsafe fn store_u8<const N: usize, const NV: usize>(
        steps: [Self; N],
        zero_point: u8,
        pixels: Pixels,
    ) {
        // SAFETY: the caller's: valid values of valid pixels.
        unsafe {
            let zero_point = vdupq_n_s16(i16::from(zero_point));
            let pair = |a: usize, b: usize| {
                let low = vqmovn_s32(steps[a.min(N - 1)].0);
                let packed = vcombine_s16(low, vqmovn_s32(steps[b.min(N - 1)].0));
                vqmovun_s16(vqaddq_s16(packed, zero_point))
            };
            let low = pair(0, 1);
            let quantized = vcombine_u8(low, if N > 2 { pair(2, 3) } else { low });
            if NV == 4 && pixels.channels >= 16 {
                vst1q_u8(pixels.to, quantized);
                return;
            }
            let mut all = [0u8; 16];
            vst1q_u8(all.as_mut_ptr(), quantized);
            for pixel in 0..N / NV {
                let from = all.as_ptr().add(pixel * NV * 4);
                let to = pixels.to.add(pixel * pixels.step);
                std::ptr::copy_nonoverlapping(from, to, pixels.channels.min(NV * 4));
            }
        }
    }
}

/// # Safety
/// The processor has `sdot`; the body's pointers are valid.
#[target_feature(enable = "neon,dotprod")]
pub(super) unsafe fn run_signed<B: I32Body>(body: &B) {
    // SAFETY: the caller's.
    unsafe { body.run::<I32x4<Signed>>() }
}

/// # Safety
/// The processor has `usdot`; the body's pointers are valid.
#[target_feature(enable = "neon,i8mm")]
pub(super) unsafe fn run_mixed<B: I32Body>(body: &B) {
    // SAFETY: the caller's.
    unsafe { body.run::<I32x4<Mixed>>() }
}

#[target_feature(enable = "neon,dotprod")]
unsafe fn s<const MR: usize, const NV: usize>(args: &QTile) {
    // SAFETY: the caller's.
    unsafe { tile::<I32x4<Signed>, Taps, MR, NV>(args) }
}

#[target_feature(enable = "neon,i8mm")]
unsafe fn m<const MR: usize, const NV: usize>(args: &QTile) {
    // SAFETY: the caller's.
    unsafe { tile::<I32x4<Mixed>, Taps, MR, NV>(args) }
}

#[rustfmt::skip]
pub(super) static SIGNED: &[&[QTileFn]] = &[
    &[s::<1, 1>, s::<2, 1>, s::<3, 1>, s::<4, 1>, s::<5, 1>, s::<6, 1>, s::<7, 1>, s::<8, 1>, s::<9, 1>, s::<10, 1>,
      s::<11, 1>, s::<12, 1>],
    &[s::<1, 2>, s::<2, 2>, s::<3, 2>, s::<4, 2>, s::<5, 2>, s::<6, 2>, s::<7, 2>, s::<8, 2>, s::<9, 2>, s::<10, 2>,
      s::<11, 2>, s::<12, 2>],
    &[s::<1, 3>, s::<2, 3>, s::<3, 3>, s::<4, 3>, s::<5, 3>, s::<6, 3>, s::<7, 3>, s::<8, 3>],
    &[s::<1, 4>, s::<2, 4>, s::<3, 4>, s::<4, 4>, s::<5, 4>, s::<6, 4>],
];

#[rustfmt::skip]
pub(super) static MIXED: &[&[QTileFn]] = &[
    &[m::<1, 1>, m::<2, 1>, m::<3, 1>, m::<4, 1>, m::<5, 1>, m::<6, 1>, m::<7, 1>, m::<8, 1>, m::<9, 1>, m::<10, 1>,
      m::<11, 1>, m::<12, 1>],
    &[m::<1, 2>, m::<2, 2>, m::<3, 2>, m::<4, 2>, m::<5, 2>, m::<6, 2>, m::<7, 2>, m::<8, 2>, m::<9, 2>, m::<10, 2>,
      m::<11, 2>, m::<12, 2>],
    &[m::<1, 3>, m::<2, 3>, m::<3, 3>, m::<4, 3>, m::<5, 3>, m::<6, 3>, m::<7, 3>, m::<8, 3>],
    &[m::<1, 4>, m::<2, 4>, m::<3, 4>, m::<4, 4>, m::<5, 4>, m::<6, 4>],
];
