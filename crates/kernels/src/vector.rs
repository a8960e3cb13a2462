//! One vector type per instruction set, and the dispatch between them.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;
mod scalar;

use crate::Isa;
use crate::conv::tile::TileFn;
#[cfg(target_arch = "x86_64")]
pub(crate) use avx2::F32x8 as F32x8Avx;
#[cfg(target_arch = "x86_64")]
pub(crate) use avx512::F32x16;
#[cfg(target_arch = "aarch64")]
pub(crate) use neon::F32x4;
pub(crate) use scalar::F32x8;

/// Lanes of f32.
///
/// # Safety
/// Every method needs its instruction set; pointers must be valid for the lanes touched, at any alignment. `min` and
/// `max` return the second operand when either is NaN.
pub(crate) trait F32Vector: Copy {
    const LANES: usize;
    unsafe fn splat(value: f32) -> Self;
    unsafe fn load(from: *const f32) -> Self;
    unsafe fn store(self, to: *mut f32);
    /// The first `n < LANES` lanes; the rest are zero.
    unsafe fn load_first(from: *const f32, n: usize) -> Self;
    unsafe fn store_first(self, to: *mut f32, n: usize);
    unsafe fn add(self, b: Self) -> Self;
    unsafe fn sub(self, b: Self) -> Self;
    unsafe fn mul(self, b: Self) -> Self;
    unsafe fn div(self, b: Self) -> Self;
    unsafe fn min(self, b: Self) -> Self;
    unsafe fn max(self, b: Self) -> Self;
    /// `self * b + c`.
    unsafe fn fma(self, b: Self, c: Self) -> Self;
    unsafe fn sqrt(self) -> Self;
    unsafe fn abs(self) -> Self;
    /// To integers, ties to even.
    unsafe fn round(self) -> Self;
    unsafe fn floor(self) -> Self;
    unsafe fn ceil(self) -> Self;
    /// `self * 2^n` for integral `n` in -160..=160.
    unsafe fn scale(self, n: Self) -> Self;
    /// `columns[i]` lane `l` is `from[l * step + i]`: a square block, transposed.
    #[inline(always)]
    unsafe fn columns(from: *const f32, step: usize, columns: &mut [Self; 16]) {
        for (i, column) in columns.iter_mut().enumerate().take(Self::LANES) {
            let mut lanes = [0.0f32; 16];
            // SAFETY: the caller's: `LANES` rows of `LANES` elements are valid.
            unsafe {
                for (l, lane) in lanes.iter_mut().enumerate().take(Self::LANES) {
                    *lane = *from.add(l * step + i);
                }
                *column = Self::load(lanes.as_ptr());
            }
        }
    }
    /// Per lane: `if self < b { yes } else { no }`.
    unsafe fn select_lt(self, b: Self, yes: Self, no: Self) -> Self;
}

/// A loop nest written once for all vector types.
pub(crate) trait F32Body {
    /// # Safety
    /// Needs `V`'s instruction set, and whatever the body says of its pointers.
    unsafe fn run<V: F32Vector>(&self);
}

/// Runs the body on the instruction set.
///
/// # Safety
/// `isa` is available and the body's pointers are valid.
#[inline]
pub(crate) unsafe fn dispatch_f32<B: F32Body>(isa: Isa, body: &B) {
    // SAFETY: the caller's.
    unsafe {
        match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512Vnni | Isa::Avx512 => avx512::run(body),
            #[cfg(target_arch = "x86_64")]
            Isa::AvxVnni | Isa::Avx2 => avx2::run(body),
            #[cfg(target_arch = "aarch64")]
            Isa::NeonI8mm | Isa::NeonDotprod => neon::run(body),
            _ => body.run::<F32x8>(),
        }
    }
}

pub(crate) fn lanes(isa: Isa) -> usize {
    match isa {
        Isa::Avx512Vnni | Isa::Avx512 => 16,
        Isa::AvxVnni | Isa::Avx2 | Isa::Scalar => 8,
        Isa::NeonI8mm | Isa::NeonDotprod => 4,
    }
}

/// The convolution tiles of the instruction set: `tiles(isa)[nv - 1][mr - 1]`.
pub(crate) fn tiles(isa: Isa) -> &'static [&'static [TileFn]] {
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512Vnni | Isa::Avx512 => avx512::TILES,
        #[cfg(target_arch = "x86_64")]
        Isa::AvxVnni | Isa::Avx2 => avx2::TILES,
        #[cfg(target_arch = "aarch64")]
        Isa::NeonI8mm | Isa::NeonDotprod => neon::TILES,
        _ => scalar::TILES,
    }
}

/// Lanes `at..at + min(LANES, n - at)` of a row.
///
/// # Safety
/// As `F32Vector::load`, for those lanes.
#[inline(always)]
pub(crate) unsafe fn load_part<V: F32Vector>(from: *const f32, n: usize) -> V {
    // SAFETY: the caller's.
    unsafe {
        if n >= V::LANES {
            V::load(from)
        } else {
            V::load_first(from, n)
        }
    }
}

/// The counterpart of [`load_part`].
///
/// # Safety
/// As `F32Vector::store`, for those lanes.
#[inline(always)]
pub(crate) unsafe fn store_part<V: F32Vector>(value: V, to: *mut f32, n: usize) {
    // SAFETY: the caller's.
    unsafe {
        if n >= V::LANES {
            value.store(to)
        } else {
            value.store_first(to, n)
        }
    }
}
