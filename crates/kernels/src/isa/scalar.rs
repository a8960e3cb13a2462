//! Plain Rust, for any processor, and the reference that all others must equal.

use super::InstructionSet;
use crate::vector::{F32Body, F32Vector, I32Body, I32Vector, Pixels};

/// No instructions but those that the compiler chooses.
pub(super) struct Scalar;

impl InstructionSet for Scalar {
    const NAME: &'static str = "scalar";
    type F32 = F32x8;
    type I32 = I32x8;

    fn is_detected() -> bool {
        true
    }
}

/// Eight lanes in plain Rust.
#[derive(Clone, Copy)]
pub(crate) struct F32x8(pub(crate) [f32; 8]);

impl F32x8 {
    #[inline(always)]
    fn map(self, f: impl Fn(f32) -> f32) -> F32x8 {
        F32x8(self.0.map(f))
    }

    #[inline(always)]
    fn zip(self, b: F32x8, f: impl Fn(f32, f32) -> f32) -> F32x8 {
        F32x8(std::array::from_fn(|i| f(self.0[i], b.0[i])))
    }
}

fn power_of_two(n: f32) -> f32 {
    f32::from_bits(((n as i32 + 127) as u32) << 23)
}

impl F32Vector for F32x8 {
    const LANES: usize = 8;
    const TILES: &'static [usize] = &[4];

    unsafe fn run<B: F32Body>(body: &B) {
        // SAFETY: the caller's.
        unsafe { body.run::<Self>() }
    }

    #[inline(always)]
    unsafe fn splat(value: f32) -> F32x8 {
        F32x8([value; 8])
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> F32x8 {
        // SAFETY: the caller's: eight valid elements, any alignment.
        F32x8(unsafe { from.cast::<[f32; 8]>().read_unaligned() })
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller's: eight valid elements, any alignment.
        unsafe { to.cast::<[f32; 8]>().write_unaligned(self.0) }
    }

    #[inline(always)]
    unsafe fn load_first(from: *const f32, n: usize) -> F32x8 {
        let mut lanes = [0.0; 8];
        for (i, lane) in lanes.iter_mut().enumerate().take(n) {
            // SAFETY: the caller's: `n` valid elements.
            *lane = unsafe { *from.add(i) };
        }
        F32x8(lanes)
    }

    #[inline(always)]
    unsafe fn store_first(self, to: *mut f32, n: usize) {
        for (i, lane) in self.0.iter().enumerate().take(n) {
            // SAFETY: the caller's: `n` valid elements.
            unsafe { *to.add(i) = *lane };
        }
    }

    #[inline(always)]
    fn add(self, b: F32x8) -> F32x8 {
        self.zip(b, |a, b| a + b)
    }

    #[inline(always)]
    fn sub(self, b: F32x8) -> F32x8 {
        self.zip(b, |a, b| a - b)
    }

    #[inline(always)]
    fn mul(self, b: F32x8) -> F32x8 {
        self.zip(b, |a, b| a * b)
    }

    #[inline(always)]
    fn div(self, b: F32x8) -> F32x8 {
        self.zip(b, |a, b| a / b)
    }

    #[inline(always)]
    fn min(self, b: F32x8) -> F32x8 {
        self.zip(b, |a, b| if a < b { a } else { b })
    }

    #[inline(always)]
    fn max(self, b: F32x8) -> F32x8 {
        self.zip(b, |a, b| if a > b { a } else { b })
    }

    #[inline(always)]
    fn fma(self, b: F32x8, c: F32x8) -> F32x8 {
        F32x8(std::array::from_fn(|i| self.0[i] * b.0[i] + c.0[i]))
    }

    #[inline(always)]
    fn sqrt(self) -> F32x8 {
        self.map(f32::sqrt)
    }

    #[inline(always)]
    fn abs(self) -> F32x8 {
        self.map(f32::abs)
    }

    #[inline(always)]
    fn round(self) -> F32x8 {
        self.map(f32::round_ties_even)
    }

    #[inline(always)]
    fn floor(self) -> F32x8 {
        self.map(f32::floor)
    }

    #[inline(always)]
    fn ceil(self) -> F32x8 {
        self.map(f32::ceil)
    }

    #[inline(always)]
    fn scale(self, n: F32x8) -> F32x8 {
        self.zip(n, |a, n| {
            let half = (n * 0.5).floor();
            a * power_of_two(half) * power_of_two(n - half)
        })
    }

    #[inline(always)]
    fn select_lt(self, b: F32x8, yes: F32x8, no: F32x8) -> F32x8 {
        F32x8(std::array::from_fn(|i| if self.0[i] < b.0[i] { yes.0[i] } else { no.0[i] }))
    }
}

/// Eight sums in plain Rust.
#[derive(Clone, Copy)]
pub(crate) struct I32x8([i32; 8]);

/// Four u8 values for each lane.
#[derive(Clone, Copy)]
pub(crate) struct ChannelBlock4([[u8; 4]; 8]);

impl I32x8 {
    #[inline(always)]
    fn zip(self, b: I32x8, f: impl Fn(i32, i32) -> i32) -> I32x8 {
        I32x8(std::array::from_fn(|i| f(self.0[i], b.0[i])))
    }
}

impl I32Vector for I32x8 {
    type F = F32x8;
    type Block4 = ChannelBlock4;
    type Weights = [[i8; 4]; 8];
    const WEIGHT_BYTES: usize = 32;
    const TILES: &'static [usize] = &[4];

    unsafe fn run<B: I32Body>(body: &B) {
        // SAFETY: the caller's.
        unsafe { body.run::<Self>() }
    }

    #[inline(always)]
    unsafe fn splat(value: i32) -> Self {
        I32x8([value; 8])
    }

    #[inline(always)]
    unsafe fn load(from: *const i32) -> Self {
        // SAFETY: the caller's: eight valid elements, any alignment.
        I32x8(unsafe { from.cast::<[i32; 8]>().read_unaligned() })
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut i32) {
        // SAFETY: the caller's: eight valid elements, any alignment.
        unsafe { to.cast::<[i32; 8]>().write_unaligned(self.0) }
    }

    #[inline(always)]
    unsafe fn block4(from: *const u8) -> ChannelBlock4 {
        // SAFETY: the caller's: four valid values.
        ChannelBlock4([unsafe { from.cast::<[u8; 4]>().read_unaligned() }; 8])
    }

    #[inline(always)]
    unsafe fn block4_from(values: u32) -> ChannelBlock4 {
        ChannelBlock4([values.to_le_bytes(); 8])
    }

    #[inline(always)]
    unsafe fn weights(from: *const i8) -> [[i8; 4]; 8] {
        // SAFETY: the caller's: 32 valid weights.
        unsafe { from.cast::<[[i8; 4]; 8]>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn channel_blocks4(pixels: [*const u8; 4], n: usize) -> [Self::Block4; 4] {
        let block4 = |c: usize| {
            if c < n {
                // SAFETY: the caller's: `n` valid values of each pixel.
                pixels.map(|pixel| unsafe { *pixel.add(c) })
            } else {
                [0; 4]
            }
        };
        std::array::from_fn(|j| {
            ChannelBlock4(std::array::from_fn(|l| block4(16 * (l / 4) + 4 * j + l % 4)))
        })
    }

    #[inline(always)]
    fn in_order(sums: [Self; 4]) -> [Self; 4] {
        std::array::from_fn(|v| {
            I32x8(std::array::from_fn(|i| {
                let c = 8 * v + i;
                sums[c % 16 / 4].0[c / 16 * 4 + c % 4]
            }))
        })
    }

    #[inline(always)]
    fn dot(self, values: ChannelBlock4, weights: [[i8; 4]; 8]) -> Self {
        I32x8(std::array::from_fn(|lane| {
            let products = values.0[lane].iter().zip(weights[lane]);
            products
                .fold(self.0[lane], |sum, (&x, w)| sum.wrapping_add(i32::from(x) * i32::from(w)))
        }))
    }

    #[inline(always)]
    unsafe fn from_u8(from: *const u8) -> Self {
        // SAFETY: the caller's: eight valid values.
        I32x8(unsafe { from.cast::<[u8; 8]>().read_unaligned() }.map(i32::from))
    }

    #[inline(always)]
    unsafe fn from_u8_first(from: *const u8, n: usize) -> Self {
        let mut lanes = [0; 8];
        for (i, lane) in lanes.iter_mut().enumerate().take(n) {
            // SAFETY: the caller's: `n` valid values.
            *lane = i32::from(unsafe { *from.add(i) });
        }
        I32x8(lanes)
    }

    #[inline(always)]
    fn add(self, b: Self) -> Self {
        self.zip(b, i32::wrapping_add)
    }

    #[inline(always)]
    fn low_u16(self) -> Self {
        I32x8(self.0.map(|lane| lane & 0xFFFF))
    }

    #[inline(always)]
    fn high_u16(self) -> Self {
        I32x8(self.0.map(|lane| lane >> 16 & 0xFFFF))
    }

    #[inline(always)]
    fn to_f32(self) -> F32x8 {
        F32x8(self.0.map(|sum| sum as f32))
    }

    #[inline(always)]
    fn round(value: F32x8) -> Self {
        I32x8(value.0.map(|v| {
            let v = v.round_ties_even();
            if (-2_147_483_648.0..2_147_483_648.0).contains(&v) { v as i32 } else { i32::MIN }
        }))
    }

    #[inline(always)]
    fn fused(a: F32x8, b: F32x8, c: F32x8) -> F32x8 {
        F32x8(std::array::from_fn(|i| a.0[i].mul_add(b.0[i], c.0[i])))
    }

    #[inline(always)]
    fn piece(value: F32x8) -> Self {
        I32x8(value.0.map(|v| (v.to_bits() >> 22 & 7) as i32))
    }

    #[inline(always)]
    fn lookup(table: &[f32; 8], index: Self) -> F32x8 {
        F32x8(index.0.map(|i| table[i as usize & 7]))
    }

    #[inline(always)]
    unsafe fn store_u8<const N: usize, const NV: usize>(
        steps: [Self; N],
        zero_point: u8,
        pixels: Pixels,
    ) {
        for (pixel, steps) in steps.chunks_exact(NV).enumerate() {
            let lanes = steps.iter().flat_map(|v| v.0);
            for (c, steps) in lanes.enumerate().take(pixels.channels) {
                let q = steps.saturating_add(i32::from(zero_point)).clamp(0, 255);
                // SAFETY: the caller's: valid values of valid pixels.
                unsafe { *pixels.to.add(pixel * pixels.step + c) = q as u8 };
            }
        }
    }
}
