//! One vector type of sums and quantized values per instruction set, and the dispatch between them.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512_vnni;
#[cfg(target_arch = "x86_64")]
mod avx_vnni;
#[cfg(target_arch = "aarch64")]
mod neon;
mod scalar;

use super::conv::tile::QTileFn;
use crate::Isa;
use crate::vector::F32Vector;

/// Lanes of `i32` sums, and the quantized values and f32 values they come from and go to.
///
/// # Safety
/// Every method needs its instruction set; pointers must be valid for what is touched, at any alignment.
pub(crate) trait I32Vector: Copy {
    /// The same number of lanes of f32.
    type F: F32Vector;
    /// Four quantized values, the same in all lanes.
    type Block4: Copy;
    /// Four weights for each lane.
    type Weights: Copy;
    /// Bytes of those.
    const WEIGHT_BYTES: usize;

    unsafe fn splat(value: i32) -> Self;
    unsafe fn load(from: *const i32) -> Self;
    unsafe fn store(self, to: *mut i32);
    unsafe fn block4(from: *const u8) -> Self::Block4;
    unsafe fn block4_of(quantized: u32) -> Self::Block4;
    /// In the order of [`pack_block4`].
    unsafe fn weights(from: *const i8) -> Self::Weights;
    /// Of the first `n` channels of four pixels: for each channel its four quantized values, `4 * LANES` channels in four vectors.
    /// Vector `j` holds in lane `l` channel `16 * (l / 4) + 4 * j + l % 4`.
    unsafe fn channel_blocks4(pixels: [*const u8; 4], n: usize) -> [Self::Block4; 4];
    /// Sums in the order of [`I32Vector::channel_blocks4`] to the order of channels.
    unsafe fn in_order(sums: [Self; 4]) -> [Self; 4];
    /// Adds each lane's product of its four weights with the four quantized values, less [`x_offset`].
    unsafe fn dot(self, quantized: Self::Block4, weights: Self::Weights) -> Self;
    /// Adds the products of `N` blocks of four, one or two, with the weights of each, one after the other; where there are
    /// [`int8_sorted_tiles`], weights of one byte whose products an i16 holds ([`sort`](super::conv::pairing::sort)).
    #[inline(always)]
    unsafe fn dot_i16<const N: usize>(self, quantized: [*const u8; N], weights: *const i8) -> Self {
        let mut sum = self;
        for (i, quantized) in quantized.into_iter().enumerate() {
            // SAFETY: the caller's.
            sum = unsafe {
                let weights = Self::weights(weights.add(i * Self::WEIGHT_BYTES));
                sum.dot(Self::block4(quantized), weights)
            };
        }
        sum
    }
    /// One quantized value per lane; of `n < LANES`, the rest are zero.
    unsafe fn from_u8(from: *const u8) -> Self;
    unsafe fn from_u8_first(from: *const u8, n: usize) -> Self;
    unsafe fn add(self, b: Self) -> Self;
    unsafe fn to_f32(self) -> Self::F;
    /// To integers, ties to even; what no i32 holds becomes the smallest.
    unsafe fn round(value: Self::F) -> Self;
    /// `a * b + c`, rounded once.
    unsafe fn fused(a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// `min(|a|, b)` for positive `b`.
    #[inline(always)]
    unsafe fn least_magnitude(a: Self::F, b: Self::F) -> Self::F {
        // SAFETY: the caller's.
        unsafe { a.abs().min(b) }
    }
    /// Bits 22 to 24 of each lane.
    unsafe fn piece(value: Self::F) -> Self;
    /// `table[self]`.
    unsafe fn lookup(table: &[f32; 8], index: Self) -> Self::F;
    /// Quantized values looked up in a table.
    #[inline(always)]
    unsafe fn map(table: &[u8; 256], from: *const u8, to: *mut u8, n: usize) {
        for i in 0..n {
            // SAFETY: the caller's: `n` valid values at both.
            unsafe { *to.add(i) = table[usize::from(*from.add(i))] };
        }
    }
    /// Sixteen quantized values of each of three planes as sixteen pixels.
    #[inline(always)]
    unsafe fn interleave(planes: [*const u8; 3], to: *mut u8) {
        for i in 0..48 {
            // SAFETY: the caller's: 16 valid values of each plane, 48 at `to`.
            unsafe { *to.add(i) = *planes[i % 3].add(i / 3) };
        }
    }
    /// Stores `clamp(steps + zero_point, 0, 255)` of `N` vectors, `NV` to a pixel; at most 4 of them.
    unsafe fn store_u8<const N: usize, const NV: usize>(
        steps: [Self; N],
        zero_point: u8,
        pixels: Pixels,
    );
}

/// Where the quantized values of some pixels go.
#[derive(Clone, Copy)]
pub(crate) struct Pixels {
    pub(crate) to: *mut u8,
    /// Quantized values between pixels.
    pub(crate) step: usize,
    /// Quantized values of a pixel that are stored.
    pub(crate) channels: usize,
}

/// Work written once for all vector types.
pub(crate) trait I32Body {
    /// # Safety
    /// Needs `V`'s instruction set, and whatever the body says of its pointers.
    unsafe fn run<V: I32Vector>(&self);
}

/// The function that runs such a body on the instruction set, which must be available where it is called.
#[inline]
pub(crate) fn i32_body<B: I32Body>(isa: Isa) -> unsafe fn(&B) {
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512Vnni => avx512_vnni::run,
        #[cfg(target_arch = "x86_64")]
        Isa::AvxVnni => avx_vnni::run,
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 | Isa::Avx2 => avx2::run,
        #[cfg(target_arch = "aarch64")]
        Isa::NeonI8mm => neon::run_mixed,
        #[cfg(target_arch = "aarch64")]
        Isa::NeonDotprod => neon::run_signed,
        _ => scalar::run,
    }
}

/// Runs the body on the instruction set.
///
/// # Safety
/// `isa` is available and the body's pointers are valid.
#[inline]
pub(crate) unsafe fn dispatch_i32<B: I32Body>(isa: Isa, body: &B) {
    // SAFETY: the caller's.
    unsafe { i32_body(isa)(body) }
}

/// Lanes of the instruction set's [`I32Vector`].
pub(crate) fn int8_lanes(isa: Isa) -> usize {
    match isa {
        Isa::Avx512Vnni => 16,
        Isa::Avx512 | Isa::AvxVnni | Isa::Avx2 | Isa::Scalar => 8,
        Isa::NeonI8mm | Isa::NeonDotprod => 4,
    }
}

/// The convolution tiles of the instruction set: `int8_tiles(isa)[nv - 1][mr - 1]`.
pub(crate) fn int8_tiles(isa: Isa) -> &'static [&'static [QTileFn]] {
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512Vnni => avx512_vnni::TILES,
        #[cfg(target_arch = "x86_64")]
        Isa::AvxVnni => avx_vnni::tiles(),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 | Isa::Avx2 => avx2::TILES,
        #[cfg(target_arch = "aarch64")]
        Isa::NeonI8mm => neon::MIXED,
        #[cfg(target_arch = "aarch64")]
        Isa::NeonDotprod => neon::SIGNED,
        _ => scalar::TILES,
    }
}

/// Those of instruction sets where products summed in i16 take fewer instructions; `[nv - 1][mr - 1]`.
pub(crate) fn int8_sorted_tiles(isa: Isa) -> Option<&'static [&'static [QTileFn]]> {
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 | Isa::Avx2 => Some(avx2::SORTED_TILES),
        _ => None,
    }
}

/// What products lack of a quantized value: sums start with so many sums of the weights more.
pub(crate) fn x_offset(isa: Isa) -> i32 {
    match isa {
        Isa::NeonDotprod => 128,
        _ => 0,
    }
}

/// Bytes that four weights of a lane take.
pub(crate) fn weight_bytes(isa: Isa) -> usize {
    match isa {
        Isa::Avx512 | Isa::Avx2 => 8,
        _ => 4,
    }
}

/// Stores the four weights of each lane where the instruction set expects them.
pub(crate) fn pack_block4(isa: Isa, weights: &[[i8; 4]], to: &mut [i8]) {
    match isa {
        // Pairs of i16 are multiplied: quantized values 0 and 2 of eight lanes, then quantized values 1 and 3.
        Isa::Avx512 | Isa::Avx2 => {
            for (lane, [a, b, c, d]) in weights.iter().copied().enumerate() {
                let at = lane / 8 * 64 + lane % 8 * 4;
                for (at, weight) in [(at, a), (at + 2, c), (at + 32, b), (at + 34, d)] {
                    let [low, high] = i16::from(weight).to_le_bytes();
                    (to[at], to[at + 1]) = (low as i8, high as i8);
                }
            }
        }
        _ => to.copy_from_slice(weights.as_flattened()),
    }
}

/// One quantized value per lane of the first `n` lanes.
///
/// # Safety
/// As [`I32Vector::from_u8`].
#[inline(always)]
pub(crate) unsafe fn from_u8_part<V: I32Vector>(from: *const u8, n: usize) -> V {
    // SAFETY: the caller's.
    unsafe {
        if n >= V::F::LANES {
            V::from_u8(from)
        } else {
            V::from_u8_first(from, n)
        }
    }
}
