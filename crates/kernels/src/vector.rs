//! What kernels ask of an instruction set: lanes of f32, and lanes of i32 that sum products of u8 and i8.
//!
//! The inner loop of a kernel is a *body*, written once and generic over the vector type; [`Isa`](crate::Isa) runs it
//! compiled for an instruction set. A vector exists only where the processor executes its instruction set: whoever makes
//! one from memory or from a number promises that, and so arithmetic on vectors is safe.
//!
//! Bodies are loops, marked `#[inline(always)]` down to the last closure: what is not inlined into [`F32Vector::run`] is
//! compiled without the instruction set and many times slower. So vectors go through no `map` of an array.

/// Lanes of f32.
///
/// # Safety
/// The unsafe functions need a processor that executes the instruction set, and pointers that are valid for the lanes
/// touched, at any alignment.
pub(crate) trait F32Vector: Copy {
    const LANES: usize;
    /// Most pixels that a convolution computes together with 1, 2, … vectors of channels: what the registers hold.
    const TILES: &'static [usize];
    /// Runs the body, compiled for the instruction set.
    unsafe fn run<B: F32Body>(body: &B);
    unsafe fn splat(value: f32) -> Self;
    unsafe fn load(from: *const f32) -> Self;
    /// The first `n < LANES` lanes; the rest are zero.
    unsafe fn load_first(from: *const f32, n: usize) -> Self;
    unsafe fn store(self, to: *mut f32);
    unsafe fn store_first(self, to: *mut f32, n: usize);
    /// A vector like this one with the same number in all lanes.
    #[inline(always)]
    fn constant(self, value: f32) -> Self {
        // SAFETY: a vector exists, so the processor executes its instruction set.
        unsafe { Self::splat(value) }
    }
    fn add(self, b: Self) -> Self;
    fn sub(self, b: Self) -> Self;
    fn mul(self, b: Self) -> Self;
    fn div(self, b: Self) -> Self;
    /// The smaller; `b` when either is NaN.
    fn min(self, b: Self) -> Self;
    /// The larger; `b` when either is NaN.
    fn max(self, b: Self) -> Self;
    /// `self * b + c`.
    fn fma(self, b: Self, c: Self) -> Self;
    fn sqrt(self) -> Self;
    fn abs(self) -> Self;
    /// To integers, ties to even.
    fn round(self) -> Self;
    fn floor(self) -> Self;
    fn ceil(self) -> Self;
    /// `self * 2^n` for integral `n` in -160..=160.
    fn scale(self, n: Self) -> Self;
    /// Per lane: `if self < b { yes } else { no }`.
    fn select_lt(self, b: Self, yes: Self, no: Self) -> Self;
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
}

/// A loop over f32 written once for all vector types.
pub(crate) trait F32Body {
    /// # Safety
    /// Needs `V`'s instruction set, and whatever the body says of its pointers.
    unsafe fn run<V: F32Vector>(&self);
}

/// Lanes of i32 sums, and the u8 and f32 values that they come from and go to.
///
/// # Safety
/// As [`F32Vector`]. Blocks and weights are made by unsafe functions alone, so that they too prove the instruction set.
pub(crate) trait I32Vector: Copy {
    /// The same number of lanes of f32.
    type F: F32Vector;
    /// Four u8 values for each lane.
    type Block4: Copy;
    /// Four weights for each lane.
    type Weights: Copy;
    /// Bytes of [`Self::Weights`] in memory.
    const WEIGHT_BYTES: usize;
    /// What `dot` subtracts from u8 values: sums have to start with so many sums of the weights more.
    const X_OFFSET: u8 = 0;
    /// Whether products take fewer instructions where they may be summed in i16 first, by [`Self::dot_i16`].
    const SUMS_I16: bool = false;
    /// As [`F32Vector::TILES`].
    const TILES: &'static [usize];
    /// Runs the body, compiled for the instruction set.
    unsafe fn run<B: I32Body>(body: &B);
    /// Stores four weights of each lane, of one or several vectors, as [`Self::weights`] loads them.
    fn pack(weights: &[[i8; 4]], to: &mut [i8]) {
        to.copy_from_slice(weights.as_flattened());
    }
    unsafe fn splat(value: i32) -> Self;
    unsafe fn load(from: *const i32) -> Self;
    unsafe fn store(self, to: *mut i32);
    /// Four neighbouring values, the same in all lanes.
    unsafe fn block4(from: *const u8) -> Self::Block4;
    /// As [`Self::block4`], of the bytes of a little-endian number.
    unsafe fn block4_from(values: u32) -> Self::Block4;
    unsafe fn weights(from: *const i8) -> Self::Weights;
    /// Of the first `n` channels of four pixels: for each channel its four values, `4 * LANES` channels in four vectors.
    /// Vector `j` holds in lane `l` channel `16 * (l / 4) + 4 * j + l % 4`.
    unsafe fn channel_blocks4(pixels: [*const u8; 4], n: usize) -> [Self::Block4; 4];
    /// Sums in the order of [`Self::channel_blocks4`] to the order of channels.
    fn in_order(sums: [Self; 4]) -> [Self; 4];
    /// Adds each lane's product of its four weights with its four values less [`Self::X_OFFSET`].
    fn dot(self, values: Self::Block4, weights: Self::Weights) -> Self;
    /// Adds the products of `N` blocks, one or two, with the weights of each, one after the other; where
    /// [`Self::SUMS_I16`], weights of one byte each whose sums of products an i16 holds.
    #[inline(always)]
    unsafe fn dot_i16<const N: usize>(self, blocks: [*const u8; N], weights: *const i8) -> Self {
        let mut sum = self;
        for (i, block) in blocks.into_iter().enumerate() {
            // SAFETY: the caller's.
            sum = unsafe {
                let weights = Self::weights(weights.add(i * Self::WEIGHT_BYTES));
                sum.dot(Self::block4(block), weights)
            };
        }
        sum
    }
    /// One u8 value per lane.
    unsafe fn from_u8(from: *const u8) -> Self;
    /// The first `n < LANES` lanes; the rest are zero.
    unsafe fn from_u8_first(from: *const u8, n: usize) -> Self;
    fn add(self, b: Self) -> Self;
    /// The low 16 bits of each lane, as an unsigned number.
    fn low_u16(self) -> Self;
    /// The high 16 bits of each lane, as an unsigned number.
    fn high_u16(self) -> Self;
    fn to_f32(self) -> Self::F;
    /// To integers, ties to even; what no i32 holds becomes the smallest.
    fn round(value: Self::F) -> Self;
    /// `a * b + c`, rounded once.
    fn fused(a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// `min(|a|, b)` for positive `b`.
    #[inline(always)]
    fn least_magnitude(a: Self::F, b: Self::F) -> Self::F {
        a.abs().min(b)
    }
    /// Bits 22 to 24 of each lane.
    fn piece(value: Self::F) -> Self;
    /// `table[index]`.
    fn lookup(table: &[f32; 8], index: Self) -> Self::F;
    /// Looks `n` values up in a table.
    #[inline(always)]
    unsafe fn map(table: &[u8; 256], from: *const u8, to: *mut u8, n: usize) {
        for i in 0..n {
            // SAFETY: the caller's: `n` valid values at both.
            unsafe { *to.add(i) = table[usize::from(*from.add(i))] };
        }
    }
    /// Sixteen values of each of three channels as sixteen pixels.
    #[inline(always)]
    unsafe fn interleave(channels: [*const u8; 3], to: *mut u8) {
        for i in 0..48 {
            // SAFETY: the caller's: 16 valid values of each channel, 48 at `to`.
            unsafe { *to.add(i) = *channels[i % 3].add(i / 3) };
        }
    }
    /// Stores `clamp(steps + zero_point, 0, 255)` of `N` vectors, `NV` to a pixel; at most 4 of them.
    unsafe fn store_u8<const N: usize, const NV: usize>(
        steps: [Self; N],
        zero_point: u8,
        pixels: Pixels,
    );
}

/// A loop over u8 values written once for all vector types.
pub(crate) trait I32Body {
    /// # Safety
    /// Needs `V`'s instruction set, and whatever the body says of its pointers.
    unsafe fn run<V: I32Vector>(&self);
}

/// Where the u8 values of some pixels go.
#[derive(Clone, Copy)]
pub(crate) struct Pixels {
    pub(crate) to: *mut u8,
    /// Values between pixels.
    pub(crate) step: usize,
    /// Values of a pixel that are stored.
    pub(crate) channels: usize,
}

/// The first `min(LANES, n)` lanes of what lies at `from`; the rest are zero.
///
/// # Safety
/// As [`F32Vector::load`], for those lanes.
#[inline(always)]
pub(crate) unsafe fn load_part<V: F32Vector>(from: *const f32, n: usize) -> V {
    // SAFETY: the caller's.
    unsafe { if n >= V::LANES { V::load(from) } else { V::load_first(from, n) } }
}

/// The counterpart of [`load_part`].
///
/// # Safety
/// As [`F32Vector::store`], for those lanes.
#[inline(always)]
pub(crate) unsafe fn store_part<V: F32Vector>(value: V, to: *mut f32, n: usize) {
    // SAFETY: the caller's.
    unsafe { if n >= V::LANES { value.store(to) } else { value.store_first(to, n) } }
}

/// One u8 value per lane of the first `min(LANES, n)` lanes; the rest are zero.
///
/// # Safety
/// As [`I32Vector::from_u8`], for those lanes.
#[inline(always)]
pub(crate) unsafe fn from_u8_part<V: I32Vector>(from: *const u8, n: usize) -> V {
    // SAFETY: the caller's.
    unsafe { if n >= V::F::LANES { V::from_u8(from) } else { V::from_u8_first(from, n) } }
}
