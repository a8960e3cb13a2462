//! Frames as video decoders give them, planar YUV 4:2:0, scaled and converted to pixels in one pass.
//!
//! Y is scaled from its own samples and U and V from theirs, bilinearly, and only what results is converted: a frame of
//! 1920 x 1080 has nine times as many pixels as it becomes in a network's input of 640 x 640. Rows first, in integers,
//! then columns and the matrix in f32, one rounding after each operation, so that all instruction sets give the same bits.
//!
//! Chroma samples lie where H.264 and H.265 have them unless told otherwise, and MPEG-2 always: in the column of every
//! other luma sample, halfway between two rows (ITU-T H.264, figure E-1, type 0). JPEG has them a half luma sample further
//! to the right, which is not told apart here.

mod colours;
mod taps;

use crate::checks::check_length;
use crate::vector::{F32Vector, I32Body, I32Vector, Pixels};
use crate::{Isa, KernelError, Region};
use colours::Coefficients;
pub use colours::{YuvColours, YuvMatrix, YuvRange};
use std::cell::RefCell;
use taps::{Axis, Columns, ONE, RUN, Rows, Samples};

/// Refuses a part of an image that is empty, or leaves it.
fn check_region(
    region: Region,
    operand: &'static str,
    image_px: [usize; 2],
) -> Result<(), KernelError> {
    if region.lies_in(image_px) {
        return Ok(());
    }
    Err(KernelError::Region { operand, region: Box::new(region), image_px })
}

/// One plane of a frame.
#[derive(Clone, Copy, Debug)]
pub struct Plane<'a> {
    /// Its rows; the last one may end with its last sample.
    pub bytes: &'a [u8],
    /// Bytes from row to row.
    pub stride_bytes: usize,
}

impl<'a> Plane<'a> {
    /// Bytes that so many samples need; `None` where rows overlap or the number is too large.
    pub fn needed_bytes(stride_bytes: usize, [width, height]: [usize; 2]) -> Option<usize> {
        let before = height.checked_sub(1)?.checked_mul(stride_bytes)?;
        before.checked_add(width).filter(|_| stride_bytes >= width)
    }

    fn check(&self, operand: &'static str, size_px: [usize; 2]) -> Result<(), KernelError> {
        let expected = Self::needed_bytes(self.stride_bytes, size_px).unwrap_or(usize::MAX);
        check_length(operand, expected, self.bytes.len().min(expected))
    }

    fn row(&self, row: usize, columns: &Columns) -> &'a [u8] {
        &self.bytes[row * self.stride_bytes + columns.start..][..columns.len]
    }
}

/// Which part of a frame becomes which part of an image.
///
/// # Units
/// Pixels; sizes are `[width, height]`, a frame's those of its luma. Planes of U and V have half as many samples along
/// each axis, rounded up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct YuvScaling {
    /// Size of the frame.
    pub frame_px: [usize; 2],
    /// What of the frame is scaled.
    pub from: Region,
    /// Size of the image.
    pub image_px: [usize; 2],
    /// Where in the image it goes.
    pub to: Region,
    /// What Y, U and V mean.
    pub colours: YuvColours,
    /// Whether pixels are blue, green, red.
    pub bgr: bool,
}

/// Scales frames of one size and one kind into pixels, with what that needs of memory.
pub struct YuvScaler {
    scaling: YuvScaling,
    luma: Columns,
    chroma: Columns,
    /// By plane two rows mixed into one, in parts of [`ONE`]; the last sample stands there twice.
    mixed: [Vec<u16>; 3],
    /// By plane and pixel of a row, the samples before and behind it; whole runs.
    pairs: [Vec<i32>; 3],
}

impl YuvScaler {
    /// Prepares the scaling.
    ///
    /// # Errors
    /// `Region` where a region is empty or leaves its frame or image.
    pub fn new(scaling: YuvScaling) -> Result<Self, KernelError> {
        check_region(scaling.from, "frame", scaling.frame_px)?;
        check_region(scaling.to, "image", scaling.image_px)?;
        let axis = scaling.columns();
        let luma = Columns::new(axis, scaling.luma_columns());
        let chroma = Columns::new(axis, scaling.chroma_columns());
        let mixed = [&luma, &chroma, &chroma].map(|columns| vec![0; columns.len + 1]);
        let pairs = [(); 3].map(|()| vec![0; luma.fractions.len()]);
        Ok(Self { scaling, luma, chroma, mixed, pairs })
    }

    /// What it was made for.
    pub fn scaling(&self) -> &YuvScaling {
        &self.scaling
    }

    /// Scales a frame of planes Y, U and V.
    ///
    /// # Shapes
    /// `image: [H, W, 3]`, of which the region alone is written.
    ///
    /// # Errors
    /// `Length` where a plane is too short or its rows overlap, or the image has another size.
    pub fn run(
        &mut self,
        isa: Isa,
        planes: &[Plane<'_>; 3],
        image: &mut [u8],
    ) -> Result<(), KernelError> {
        let frame = self.scaling.frame_px;
        let sizes = [frame, chroma_px(frame), chroma_px(frame)];
        for ((name, plane), size) in ["y", "u", "v"].into_iter().zip(planes).zip(sizes) {
            plane.check(name, size)?;
        }
        let [width, height] = self.scaling.image_px;
        check_length("image", width.saturating_mul(height).saturating_mul(3), image.len())?;
        let coefficients = self.scaling.colours.coefficients(f64::from(ONE));
        let work = RefCell::new(Work { scaler: self, image });
        // SAFETY: the body touches no more than its slices.
        unsafe { isa.run_i32(&Body { planes, coefficients, work }) };
        Ok(())
    }
}

/// Columns and rows of the chroma planes of a frame.
pub fn chroma_px(frame_px: [usize; 2]) -> [usize; 2] {
    frame_px.map(|side| side.div_ceil(2))
}

impl YuvScaling {
    fn columns(&self) -> Axis {
        Axis { first: self.from.left, len: self.from.width, scaled: self.to.width }
    }

    fn rows(&self) -> Axis {
        Axis { first: self.from.top, len: self.from.height, scaled: self.to.height }
    }

    fn luma_columns(&self) -> Samples {
        Samples { count: self.frame_px[0], step: 1.0, start: 0.0 }
    }

    fn luma_rows(&self) -> Samples {
        Samples { count: self.frame_px[1], step: 1.0, start: 0.0 }
    }

    fn chroma_columns(&self) -> Samples {
        Samples { count: chroma_px(self.frame_px)[0], step: 2.0, start: 0.0 }
    }

    fn chroma_rows(&self) -> Samples {
        Samples { count: chroma_px(self.frame_px)[1], step: 2.0, start: 0.5 }
    }
}

struct Work<'a> {
    scaler: &'a mut YuvScaler,
    image: &'a mut [u8],
}

struct Body<'a> {
    planes: &'a [Plane<'a>; 3],
    coefficients: Coefficients,
    work: RefCell<Work<'a>>,
}

impl I32Body for Body<'_> {
    #[inline(always)]
    unsafe fn run<V: I32Vector>(&self) {
        let Work { scaler, image } = &mut *self.work.borrow_mut();
        let YuvScaler { scaling, luma, chroma, mixed, pairs } = &mut **scaler;
        let Region { left, top, width, height } = scaling.to;
        for row in 0..height {
            let rows = [
                Rows::new(scaling.rows(), row, scaling.luma_rows()),
                Rows::new(scaling.rows(), row, scaling.chroma_rows()),
            ];
            for (at, plane) in self.planes.iter().enumerate() {
                let (columns, rows) = if at == 0 { (&*luma, rows[0]) } else { (&*chroma, rows[1]) };
                mix(plane, columns, rows, &mut mixed[at]);
                pair(&mixed[at], columns, &mut pairs[at]);
            }
            let first = ((top + row) * scaling.image_px[0] + left) * 3;
            let to = &mut image[first..first + 3 * width];
            for (run, to) in to.chunks_mut(3 * RUN).enumerate() {
                let fractions = [&luma.fractions, &chroma.fractions];
                let run = Run {
                    pairs: [&pairs[0], &pairs[1], &pairs[2]].map(|p| whole(p, run)),
                    luma: whole(fractions[0], run),
                    chroma: whole(fractions[1], run),
                    coefficients: &self.coefficients,
                    bgr: scaling.bgr,
                };
                // SAFETY: the caller's.
                unsafe { run.convert::<V>(to) };
            }
        }
    }
}

/// A whole run of values; tables are as long as their runs.
#[inline(always)]
fn whole<T>(values: &[T], run: usize) -> &[T; RUN] {
    &values.as_chunks().0[run]
}

/// Mixes two rows of a plane into one.
#[inline(always)]
fn mix(plane: &Plane<'_>, columns: &Columns, rows: Rows, mixed: &mut [u16]) {
    let (first, second) = (plane.row(rows.first, columns), plane.row(rows.second, columns));
    let (of_first, of_second) = (ONE - rows.weight, rows.weight);
    for ((mixed, &a), &b) in mixed.iter_mut().zip(first).zip(second) {
        // At most 255 * 256.
        *mixed = u16::from(a) * of_first + u16::from(b) * of_second;
    }
    mixed[columns.len] = mixed[columns.len - 1];
}

/// By pixel the sample before it, in the low half, and the one behind it.
#[inline(always)]
fn pair(mixed: &[u16], columns: &Columns, pairs: &mut [i32]) {
    assert!(mixed.len() > columns.len);
    for (pair, &first) in pairs.iter_mut().zip(&columns.firsts) {
        // SAFETY: `Columns` counts no sample beyond its `len`, and one more stands there.
        let [a, b] = unsafe {
            [*mixed.get_unchecked(first as usize), *mixed.get_unchecked(first as usize + 1)]
        };
        *pair = i32::from_ne_bytes((u32::from(a) | u32::from(b) << 16).to_ne_bytes());
    }
}

/// A run of pixels.
struct Run<'a> {
    /// Of Y, U and V.
    pairs: [&'a [i32; RUN]; 3],
    /// Weights of the samples behind.
    luma: &'a [f32; RUN],
    chroma: &'a [f32; RUN],
    coefficients: &'a Coefficients,
    bgr: bool,
}

impl Run<'_> {
    /// Writes as many pixels as fit.
    ///
    /// # Safety
    /// Needs `V`'s instruction set.
    #[inline(always)]
    unsafe fn convert<V: I32Vector>(&self, to: &mut [u8]) {
        let mut channels = [[0u8; RUN]; 3];
        let lanes = V::F::LANES;
        for first in (0..RUN.min(to.len() / 3)).step_by(4 * lanes) {
            // SAFETY: the caller's; four vectors fill a run once, twice or four times.
            unsafe {
                let mut steps = [[V::splat(0); 4]; 3];
                for i in 0..4 {
                    let pixels = self.pixels::<V>(first + i * lanes);
                    for (steps, pixels) in steps.iter_mut().zip(pixels) {
                        steps[i] = pixels;
                    }
                }
                for (steps, channel) in steps.into_iter().zip(&mut channels) {
                    let to = channel[first..][..4 * lanes].as_mut_ptr();
                    V::store_u8::<4, 4>(steps, 0, Pixels { to, step: 0, channels: 4 * lanes });
                }
            }
        }
        let [red, green, blue] = &channels;
        let order = if self.bgr { [blue, green, red] } else { [red, green, blue] };
        let mut pixels = [0u8; 3 * RUN];
        for at in (0..to.len() / 3).step_by(16) {
            let from = order.map(|channel| channel[at..][..16].as_ptr());
            // SAFETY: the caller's; sixteen values of each channel become 48.
            unsafe { V::interleave(from, pixels[3 * at..][..48].as_mut_ptr()) };
        }
        to.copy_from_slice(&pixels[..to.len()]);
    }

    /// Red, green and blue of a vector of pixels.
    ///
    /// # Safety
    /// Needs `V`'s instruction set.
    #[inline(always)]
    unsafe fn pixels<V: I32Vector>(&self, at: usize) -> [V; 3] {
        let Coefficients { luma, red_v, green_u, green_v, blue_u, offsets } = *self.coefficients;
        let lanes = V::F::LANES;
        // SAFETY: the caller's; slices are as long as vectors.
        unsafe {
            let of_luma = V::F::load(self.luma[at..][..lanes].as_ptr());
            let of_chroma = V::F::load(self.chroma[at..][..lanes].as_ptr());
            let [y, u, v] = self.pairs;
            let y = between::<V>(&y[at..], of_luma).mul(V::F::splat(luma));
            let (u, v) = (between::<V>(&u[at..], of_chroma), between::<V>(&v[at..], of_chroma));
            let [red, green, blue] = offsets;
            let red = y.add(V::F::splat(red)).add(v.mul(V::F::splat(red_v)));
            let green = y.add(V::F::splat(green)).add(u.mul(V::F::splat(green_u)));
            let green = green.add(v.mul(V::F::splat(green_v)));
            let blue = y.add(V::F::splat(blue)).add(u.mul(V::F::splat(blue_u)));
            [V::round(red), V::round(green), V::round(blue)]
        }
    }
}

/// What lies between the samples of a vector of pixels.
///
/// # Safety
/// Needs `V`'s instruction set.
#[inline(always)]
unsafe fn between<V: I32Vector>(pairs: &[i32], fraction: V::F) -> V::F {
    // SAFETY: the caller's; the slice is as long as a vector.
    let pairs = unsafe { V::load(pairs[..V::F::LANES].as_ptr()) };
    let (a, b) = (pairs.low_u16().to_f32(), pairs.high_u16().to_f32());
    a.add(b.sub(a).mul(fraction))
}
