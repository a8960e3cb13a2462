//! NEON: four lanes. Products of u8 and i8 are `usdot` (the i8mm extension), or `sdot` (dotprod) of values less 128.

use super::{InstructionSet, intrinsics};
use crate::vector::{F32Body, F32Vector, I32Body, I32Vector, Pixels};
use std::arch::aarch64::*;
use std::arch::{asm, is_aarch64_feature_detected};
use std::marker::PhantomData;

/// NEON with products of unsigned and signed bytes.
pub(super) struct NeonI8mm;

impl InstructionSet for NeonI8mm {
    const NAME: &'static str = "neon-i8mm";
    type F32 = F32x4;
    type I32 = I32x4<Mixed>;

    fn is_detected() -> bool {
        is_aarch64_feature_detected!("i8mm")
    }
}

/// NEON with products of signed bytes.
pub(super) struct NeonDotprod;

impl InstructionSet for NeonDotprod {
    const NAME: &'static str = "neon-dotprod";
    type F32 = F32x4;
    type I32 = I32x4<Signed>;

    fn is_detected() -> bool {
        is_aarch64_feature_detected!("dotprod")
    }
}

/// Four lanes of f32.
#[derive(Clone, Copy)]
pub(crate) struct F32x4(float32x4_t);

impl F32x4 {
    #[inline(always)]
    fn new(lanes: float32x4_t) -> Self {
        Self(lanes)
    }

    /// `2^self` for integral lanes in -126..=127.
    #[inline(always)]
    fn power_of_two(self) -> Self {
        // SAFETY: a vector exists, so the processor has NEON.
        Self(unsafe {
            let biased = vaddq_s32(vcvtq_s32_f32(self.0), vdupq_n_s32(127));
            vreinterpretq_f32_s32(vshlq_n_s32::<23>(biased))
        })
    }
}

impl F32Vector for F32x4 {
    const LANES: usize = 4;
    const TILES: &'static [usize] = &[12, 12, 8, 6];

    #[target_feature(enable = "neon")]
    unsafe fn run<B: F32Body>(body: &B) {
        // SAFETY: the caller's.
        unsafe { body.run::<Self>() }
    }

    intrinsics! {
        unsafe splat(value: f32) => vdupq_n_f32(value);
        unsafe load(from: *const f32) => vld1q_f32(from);
        unsafe store(a; to: *mut f32) => vst1q_f32(to, a);
    }

    #[inline(always)]
    unsafe fn load_first(from: *const f32, n: usize) -> Self {
        let mut lanes = [0.0f32; 4];
        // SAFETY: the caller's: `n < 4` valid elements.
        unsafe {
            std::ptr::copy_nonoverlapping(from, lanes.as_mut_ptr(), n);
            Self::load(lanes.as_ptr())
        }
    }
    #[inline(always)]
    unsafe fn store_first(self, to: *mut f32, n: usize) {
        let mut lanes = [0.0f32; 4];
        // SAFETY: the caller's: `n < 4` valid elements.
        unsafe {
            self.store(lanes.as_mut_ptr());
            std::ptr::copy_nonoverlapping(lanes.as_ptr(), to, n);
        }
    }
    intrinsics! {
        add(a, b) => vaddq_f32(a, b);
        sub(a, b) => vsubq_f32(a, b);
        mul(a, b) => vmulq_f32(a, b);
        div(a, b) => vdivq_f32(a, b);
        // The machine's own minimum of a NaN is NaN.
        min(a, b) => vbslq_f32(vcltq_f32(a, b), a, b);
        max(a, b) => vbslq_f32(vcgtq_f32(a, b), a, b);
        fma(a, b, c) => vfmaq_f32(c, a, b);
        sqrt(a) => vsqrtq_f32(a);
        abs(a) => vabsq_f32(a);
        round(a) => vrndnq_f32(a);
        floor(a) => vrndmq_f32(a);
        ceil(a) => vrndpq_f32(a);
        select_lt(a, b, yes, no) => vbslq_f32(vcltq_f32(a, b), yes, no);
    }

    #[inline(always)]
    fn scale(self, n: Self) -> Self {
        let half = n.mul(n.constant(0.5)).floor();
        self.mul(half.power_of_two()).mul(n.sub(half).power_of_two())
    }
}

/// How products of u8 and i8 are made.
///
/// # Safety
/// As [`I32Vector`].
pub(crate) trait Dot: Copy {
    const X_OFFSET: u8;
    /// As [`I32Vector::run`].
    unsafe fn run<B: I32Body>(body: &B);
    /// Values as the products read them.
    unsafe fn block4(values: uint8x16_t) -> uint8x16_t;
    unsafe fn dot(sums: int32x4_t, values: uint8x16_t, weights: int8x16_t) -> int32x4_t;
}

/// `sdot`, signed by signed: values less 128, which the initial sums make good for.
#[derive(Clone, Copy)]
pub(super) struct Signed;

impl Dot for Signed {
    const X_OFFSET: u8 = 128;

    #[target_feature(enable = "neon,dotprod")]
    unsafe fn run<B: I32Body>(body: &B) {
        // SAFETY: the caller's.
        unsafe { body.run::<I32x4<Self>>() }
    }

    #[inline(always)]
    unsafe fn block4(values: uint8x16_t) -> uint8x16_t {
        // SAFETY: the caller's.
        unsafe { veorq_u8(values, vdupq_n_u8(128)) }
    }

    #[inline(always)]
    unsafe fn dot(mut sums: int32x4_t, values: uint8x16_t, weights: int8x16_t) -> int32x4_t {
        // SAFETY: the caller has the instruction; only registers are touched.
        unsafe {
            asm!(
                ".arch_extension dotprod",
                "sdot {0:v}.4s, {1:v}.16b, {2:v}.16b",
                inout(vreg) sums, in(vreg) values, in(vreg) weights,
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
    const X_OFFSET: u8 = 0;

    #[target_feature(enable = "neon,i8mm")]
    unsafe fn run<B: I32Body>(body: &B) {
        // SAFETY: the caller's.
        unsafe { body.run::<I32x4<Self>>() }
    }

    #[inline(always)]
    unsafe fn block4(values: uint8x16_t) -> uint8x16_t {
        values
    }

    #[inline(always)]
    unsafe fn dot(mut sums: int32x4_t, values: uint8x16_t, weights: int8x16_t) -> int32x4_t {
        // SAFETY: the caller has the instruction; only registers are touched.
        unsafe {
            asm!(
                ".arch_extension i8mm",
                "usdot {0:v}.4s, {1:v}.16b, {2:v}.16b",
                inout(vreg) sums, in(vreg) values, in(vreg) weights,
                options(pure, nomem, nostack, preserves_flags)
            );
        }
        sums
    }
}

/// Four lanes of sums of products, made as `D` says.
#[derive(Clone, Copy)]
pub(crate) struct I32x4<D>(int32x4_t, PhantomData<D>);

impl<D> I32x4<D> {
    #[inline(always)]
    fn new(lanes: int32x4_t) -> Self {
        I32x4(lanes, PhantomData)
    }
}

impl<D: Dot> I32Vector for I32x4<D> {
    type F = F32x4;
    type Block4 = uint8x16_t;
    type Weights = int8x16_t;
    const WEIGHT_BYTES: usize = 16;
    const X_OFFSET: u8 = D::X_OFFSET;
    const TILES: &'static [usize] = &[12, 12, 8, 6];

    unsafe fn run<B: I32Body>(body: &B) {
        // SAFETY: the caller's.
        unsafe { D::run(body) }
    }

    intrinsics! {
        unsafe splat(value: i32) => vdupq_n_s32(value);
        unsafe load(from: *const i32) => vld1q_s32(from);
        unsafe store(a; to: *mut i32) => vst1q_s32(to, a);
        unsafe block4(from: *const u8) -> uint8x16_t => {
            Self::block4_from(from.cast::<u32>().read_unaligned())
        };
        unsafe block4_from(values: u32) -> uint8x16_t => {
            D::block4(vreinterpretq_u8_u32(vdupq_n_u32(values)))
        };
        unsafe weights(from: *const i8) -> int8x16_t => vld1q_s8(from);
    }

    #[inline(always)]
    unsafe fn channel_blocks4(pixels: [*const u8; 4], n: usize) -> [uint8x16_t; 4] {
        // SAFETY: the caller's: `n` valid values of each pixel.
        unsafe {
            let mut values = [vdupq_n_u8(0); 4];
            for (values, pixel) in values.iter_mut().zip(pixels) {
                if n < 16 {
                    let mut part = [0u8; 16];
                    std::ptr::copy_nonoverlapping(pixel, part.as_mut_ptr(), n);
                    *values = vld1q_u8(part.as_ptr());
                } else {
                    *values = vld1q_u8(pixel);
                }
            }
            let [a, b, c, d] = values;
            let pair = |a, b| vreinterpretq_u16_u8(vzip1q_u8(a, b));
            let high_pair = |a, b| vreinterpretq_u16_u8(vzip2q_u8(a, b));
            let (low, high) = ((pair(a, b), pair(c, d)), (high_pair(a, b), high_pair(c, d)));
            let block4 = |pairs| D::block4(vreinterpretq_u8_u16(pairs));
            [
                block4(vzip1q_u16(low.0, low.1)),
                block4(vzip2q_u16(low.0, low.1)),
                block4(vzip1q_u16(high.0, high.1)),
                block4(vzip2q_u16(high.0, high.1)),
            ]
        }
    }

    #[inline(always)]
    fn in_order(sums: [Self; 4]) -> [Self; 4] {
        sums
    }

    #[inline(always)]
    fn dot(self, values: uint8x16_t, weights: int8x16_t) -> Self {
        // SAFETY: a vector exists, so the processor has what `D` uses.
        Self::new(unsafe { D::dot(self.0, values, weights) })
    }

    #[inline(always)]
    unsafe fn from_u8(from: *const u8) -> Self {
        // SAFETY: the caller's: four valid values.
        unsafe {
            let values = vcreate_u8(u64::from(from.cast::<u32>().read_unaligned()));
            let wide = vmovl_u16(vget_low_u16(vmovl_u8(values)));
            Self::new(vreinterpretq_s32_u32(wide))
        }
    }

    #[inline(always)]
    unsafe fn from_u8_first(from: *const u8, n: usize) -> Self {
        let mut values = [0u8; 4];
        // SAFETY: the caller's: `n < 4` valid values.
        unsafe {
            std::ptr::copy_nonoverlapping(from, values.as_mut_ptr(), n);
            Self::from_u8(values.as_ptr())
        }
    }

    intrinsics! {
        add(a, b) => vaddq_s32(a, b);
        low_u16(a) => vandq_s32(a, vdupq_n_s32(0xFFFF));
        high_u16(a) => vreinterpretq_s32_u32(vshrq_n_u32::<16>(vreinterpretq_u32_s32(a)));
        to_f32(a) -> F32x4 => F32x4(vcvtq_f32_s32(a));
        round(value: F32x4) -> Self => Self::new(vcvtnq_s32_f32(value.0));
        fused(a: F32x4, b: F32x4, c: F32x4) -> F32x4 => F32x4(vfmaq_f32(c.0, a.0, b.0));
    }

    #[inline(always)]
    fn piece(value: F32x4) -> Self {
        // As the four bytes' places in a table of eight floats.
        // SAFETY: a vector exists, so the processor has NEON.
        unsafe {
            let bits = vshrq_n_u32::<22>(vreinterpretq_u32_f32(value.0));
            let piece = vandq_u32(bits, vdupq_n_u32(7));
            let bytes = vmlaq_n_u32(vdupq_n_u32(0x0302_0100), piece, 0x0404_0404);
            Self::new(vreinterpretq_s32_u32(bytes))
        }
    }

    #[inline(always)]
    fn lookup(table: &[f32; 8], index: Self) -> F32x4 {
        // SAFETY: a vector exists, so the processor has NEON; the table holds eight numbers.
        unsafe {
            let table = vld1q_u8_x2(table.as_ptr().cast());
            let value = vqtbl2q_u8(table, vreinterpretq_u8_s32(index.0));
            F32x4(vreinterpretq_f32_u8(value))
        }
    }

    #[inline(always)]
    unsafe fn interleave(channels: [*const u8; 3], to: *mut u8) {
        // SAFETY: the caller's: 16 valid values of each channel, 48 at `to`.
        unsafe {
            let [a, b, c] = channels;
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
            let values = vcombine_u8(low, if N > 2 { pair(2, 3) } else { low });
            if NV == 4 && pixels.channels >= 16 {
                vst1q_u8(pixels.to, values);
                return;
            }
            let mut all = [0u8; 16];
            vst1q_u8(all.as_mut_ptr(), values);
            for pixel in 0..N / NV {
                let from = all.as_ptr().add(pixel * NV * 4);
                let to = pixels.to.add(pixel * pixels.step);
                std::ptr::copy_nonoverlapping(from, to, pixels.channels.min(NV * 4));
            }
        }
    }
}
