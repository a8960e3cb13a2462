//! Plain Rust: eight lanes that the compiler maps to whatever the target has.

use super::{Kernel, Simd, TileShape, Vector, tile_table};

/// The instruction set every processor has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Scalar;

const LANES: usize = 8;

#[derive(Clone, Copy)]
pub(crate) struct Lanes([f32; LANES]);

impl Lanes {
    #[inline(always)]
    fn zip(self, other: Self, f: impl Fn(f32, f32) -> f32) -> Self {
        let mut out = self.0;
        for (a, b) in out.iter_mut().zip(other.0) {
            *a = f(*a, b);
        }
        Self(out)
    }
}

fn power_of_two(n: i32) -> f32 {
    f32::from_bits(((n + 127) << 23) as u32)
}

impl Simd for Scalar {
    type V = Lanes;
    const LANES: usize = LANES;
    const TILES: &'static [TileShape] = &[
        TileShape { nv: 2, mr_max: 3 },
        TileShape { nv: 1, mr_max: 6 },
    ];

    fn enter<K: Kernel>(self, kernel: K) {
        kernel.run(self);
    }

    tile_table! {
        1: 1 2 3 4 5 6;
        2: 1 2 3;
    }

    #[inline(always)]
    fn splat(self, x: f32) -> Lanes {
        Lanes([x; LANES])
    }

    #[inline(always)]
    unsafe fn load(self, p: *const f32) -> Lanes {
        // SAFETY: the caller says that `LANES` elements are readable.
        Lanes(unsafe { p.cast::<[f32; LANES]>().read_unaligned() })
    }

    #[inline(always)]
    unsafe fn load_first(self, p: *const f32, n: usize) -> Lanes {
        let mut lanes = [0.0; LANES];
        for (i, lane) in lanes.iter_mut().enumerate().take(n) {
            // SAFETY: the caller says that n elements are readable.
            *lane = unsafe { *p.add(i) };
        }
        Lanes(lanes)
    }

    #[inline(always)]
    unsafe fn transpose_8x8(self, x: *const f32, x_step: usize, y: *mut f32, y_step: usize) {
        for r in 0..8 {
            for c in 0..8 {
                // SAFETY: the caller vouches for both blocks.
                unsafe { *y.add(r * y_step + c) = *x.add(c * x_step + r) }
            }
        }
    }
}

impl Vector for Lanes {
    #[inline(always)]
    unsafe fn store(self, p: *mut f32) {
        // SAFETY: the caller says that `LANES` elements are writable.
        unsafe { p.cast::<[f32; LANES]>().write_unaligned(self.0) }
    }

    #[inline(always)]
    unsafe fn store_first(self, p: *mut f32, n: usize) {
        for (i, lane) in self.0.iter().enumerate().take(n) {
            // SAFETY: the caller says that n elements are writable.
            unsafe { *p.add(i) = *lane }
        }
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        self.zip(other, |a, b| a + b)
    }

    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        self.zip(other, |a, b| a - b)
    }

    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        self.zip(other, |a, b| a * b)
    }

    #[inline(always)]
    fn div(self, other: Self) -> Self {
        self.zip(other, |a, b| a / b)
    }

    #[inline(always)]
    fn mul_add(self, b: Self, c: Self) -> Self {
        // Where the target has no FMA instruction, `f32::mul_add` is a slow library call.
        if cfg!(any(target_arch = "aarch64", target_feature = "fma")) {
            let mut out = self.0;
            for ((a, b), c) in out.iter_mut().zip(b.0).zip(c.0) {
                *a = a.mul_add(b, c);
            }
            Self(out)
        } else {
            self.mul(b).add(c)
        }
    }

    #[inline(always)]
    fn min(self, other: Self) -> Self {
        self.zip(other, |a, b| if a < b { a } else { b })
    }

    #[inline(always)]
    fn max(self, other: Self) -> Self {
        self.zip(other, |a, b| if a > b { a } else { b })
    }

    #[inline(always)]
    fn sqrt(self) -> Self {
        Self(self.0.map(f32::sqrt))
    }

    #[inline(always)]
    fn floor(self) -> Self {
        Self(self.0.map(f32::floor))
    }

    #[inline(always)]
    fn ceil(self) -> Self {
        Self(self.0.map(f32::ceil))
    }

    #[inline(always)]
    fn round(self) -> Self {
        Self(self.0.map(f32::round_ties_even))
    }

    #[inline(always)]
    fn abs(self) -> Self {
        Self(self.0.map(f32::abs))
    }

    #[inline(always)]
    fn select_less(self, other: Self, yes: Self, no: Self) -> Self {
        let mut out = no.0;
        for (i, lane) in out.iter_mut().enumerate() {
            if self.0[i] < other.0[i] {
                *lane = yes.0[i];
            }
        }
        Self(out)
    }

    #[inline(always)]
    fn ldexp(self, n: Self) -> Self {
        self.zip(n, |x, n| {
            // Two factors: one power of two cannot reach the subnormals.
            let half = (n as i32) >> 1;
            x * power_of_two(half) * power_of_two(n as i32 - half)
        })
    }
}
