//! Vectors of `f32` in a processor's registers, and the way into code that uses them.
//!
//! Kernel bodies are written once, generic over [`Simd`], and `#[inline(always)]`; [`Simd::enter`] compiles them with the
//! instruction set switched on. A token (`Avx512`, `Avx2`, `Scalar`) proves that the processor has the set, and vectors
//! are only made from tokens, so the arithmetic on them is safe.

#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;
pub(crate) mod scalar;

use crate::conv::TileFn;

/// Code to run with an instruction set switched on.
pub(crate) trait Kernel {
    fn run<S: Simd>(self, simd: S);
}

/// A register tile's width and greatest height.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TileShape {
    /// Vectors side by side.
    pub(crate) nv: usize,
    /// Most pixels that still fit the register file.
    pub(crate) mr_max: usize,
}

/// Proof that the processor has an instruction set, and the only source of its vectors.
pub(crate) trait Simd: Copy + Send + Sync + 'static {
    type V: Vector;
    const LANES: usize;
    /// Register tiles of the convolution, widest first.
    const TILES: &'static [TileShape];

    /// Runs the kernel compiled for this set.
    fn enter<K: Kernel>(self, kernel: K);

    /// The convolution's inner loop for `mr` pixels and `nv` vectors; both within `TILES`.
    fn tile(self, nv: usize, mr: usize) -> TileFn<Self>;

    fn splat(self, x: f32) -> Self::V;

    /// # Safety
    /// `LANES` elements at `p` are readable.
    unsafe fn load(self, p: *const f32) -> Self::V;

    /// The first `n <= LANES` elements at `p`, zero in the other lanes.
    ///
    /// # Safety
    /// `n` elements at `p` are readable.
    unsafe fn load_first(self, p: *const f32, n: usize) -> Self::V;

    /// `y[r, c] = x[c, r]` for 8 by 8 elements; rows lie `x_step` and `y_step` apart.
    ///
    /// # Safety
    /// Those elements are readable at `x` and writable at `y`.
    unsafe fn transpose_8x8(self, x: *const f32, x_step: usize, y: *mut f32, y_step: usize);
}

/// Lane-wise arithmetic.
pub(crate) trait Vector: Copy {
    /// # Safety
    /// `LANES` elements at `p` are writable.
    unsafe fn store(self, p: *mut f32);

    /// Writes the first `n <= LANES` lanes and nothing else.
    ///
    /// # Safety
    /// `n` elements at `p` are writable.
    unsafe fn store_first(self, p: *mut f32, n: usize);

    fn add(self, other: Self) -> Self;
    fn sub(self, other: Self) -> Self;
    fn mul(self, other: Self) -> Self;
    fn div(self, other: Self) -> Self;
    /// `self * b + c`; fused where the instruction set can.
    fn mul_add(self, b: Self, c: Self) -> Self;
    /// The lesser; `other` where either is NaN.
    fn min(self, other: Self) -> Self;
    /// The greater; `other` where either is NaN.
    fn max(self, other: Self) -> Self;
    fn sqrt(self) -> Self;
    fn floor(self) -> Self;
    fn ceil(self) -> Self;
    /// Nearest integer, ties to even.
    fn round(self) -> Self;
    fn abs(self) -> Self;
    /// `yes` where `self < other`, else `no`.
    fn select_less(self, other: Self, yes: Self, no: Self) -> Self;
    /// `self * 2^n` for integral `n` in -252..=252.
    fn ldexp(self, n: Self) -> Self;
}

/// Implements `Simd::tile`: one instance of the inner loop for each listed width and height.
macro_rules! tile_table {
    ($($nv:literal: $($mr:literal)+;)+) => {
        fn tile(self, nv: usize, mr: usize) -> crate::conv::TileFn<Self> {
            match (nv, mr) {
                $($(($nv, $mr) => crate::conv::tile::<Self, $mr, $nv>,)+)+
                _ => unreachable!("a {mr}x{nv} tile is not in the table"),
            }
        }
    };
}
pub(crate) use tile_table;
