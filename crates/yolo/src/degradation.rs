//! Images made worse on purpose, as light, optics and sensors make them: what a data set lacks is made of what it has.
//!
//! Pixels stay where they are, so that labels do; what covers others or joins images says where they come to lie.

use image::RgbImage;
use numerics::Rng;
use serde::Serialize;

use crate::preprocess::resize::resize_linear;

/// Exponent between stored values and light, close enough to sRGB's curve for exposure.
const DISPLAY_GAMMA: f64 = 2.2;

/// One way to make an image worse.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(tag = "by", rename_all = "snake_case")]
pub enum Degradation {
    /// Light times `gain`, and values to the power of `gamma`; what is brighter than white is white.
    Exposure {
        /// Factor of light.
        gain: f64,
        /// Exponent of the stored values from 0 to 1.
        gamma: f64,
    },
    /// Differences from the middle grey scaled, and lifted by a veil of stray light.
    Haze {
        /// Factor of differences.
        contrast: f64,
        /// The grey that is left where nothing is seen, from 0 to 255.
        veil: f64,
    },
    /// A lens out of focus.
    GaussianBlur {
        /// Standard deviation in pixels.
        sigma_px: f64,
    },
    /// A camera or an object that moves along a line while the shutter is open.
    MotionBlur {
        /// Length of the way in pixels.
        length_px: f64,
        /// Direction in degrees.
        angle_deg: f64,
    },
    /// Noise of a sensor: of variance `shot * value + read^2`, both in steps of 8 bits.
    SensorNoise {
        /// Variance by value.
        shot: f64,
        /// Standard deviation in the dark.
        read: f64,
    },
}

impl Degradation {
    /// The image made worse. `rng` draws noise; no other kind needs it.
    pub fn apply(&self, image: &RgbImage, rng: &mut Rng) -> RgbImage {
        match *self {
            Self::Exposure { gain, gamma } => by_value(image, |v| {
                let light = (v / 255.0).powf(DISPLAY_GAMMA) * gain;
                255.0 * light.min(1.0).powf(gamma / DISPLAY_GAMMA)
            }),
            Self::Haze { contrast, veil } => by_value(image, |v| veil + contrast * (v - 127.5)),
            Self::GaussianBlur { sigma_px } => {
                let reach = (3.0 * sigma_px).ceil() as i64;
                let weight = |at: i64| (-(at as f64).powi(2) / (2.0 * sigma_px.powi(2))).exp();
                let taps = |axis: usize| {
                    let offset = move |at: i64| if axis == 0 { [at, 0] } else { [0, at] };
                    (-reach..=reach).map(|at| (offset(at), weight(at))).collect::<Vec<_>>()
                };
                filtered(&filtered(image, &taps(0)), &taps(1))
            }
            Self::MotionBlur { length_px, angle_deg } => {
                filtered(image, &line(length_px, angle_deg))
            }
            Self::SensorNoise { shot, read } => {
                let mut noisy = image.clone();
                for v in noisy.iter_mut() {
                    let sigma = (shot * f64::from(*v) + read * read).sqrt();
                    *v = rounded(f64::from(*v) + sigma * normal(rng));
                }
                noisy
            }
        }
    }
}

/// A patch of another image over a part of an image.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Patch {
    /// Left, top, width and height in the image that is covered, in pixels.
    pub covers_px: [u32; 4],
    /// Left and top in the image that it is taken from.
    pub from_px: [u32; 2],
}

/// An image with a patch of another one over it; what of the patch lies outside of either image is left out.
pub fn covered(image: &RgbImage, other: &RgbImage, patch: Patch) -> RgbImage {
    let mut out = image.clone();
    let [left, top, width, height] = patch.covers_px;
    for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))) {
        let [from_x, from_y] =
            [patch.from_px[0].saturating_add(x), patch.from_px[1].saturating_add(y)];
        let to = [left.saturating_add(x), top.saturating_add(y)];
        if let (Some(&pixel), Some(under)) =
            (other.get_pixel_checked(from_x, from_y), out.get_pixel_mut_checked(to[0], to[1]))
        {
            *under = pixel;
        }
    }
    out
}

/// Four images at half their size (at least one pixel a side) in one of the first one's size, from left to right and top to
/// bottom, each stretched to its quarter.
pub fn four_in_one(images: [&RgbImage; 4]) -> RgbImage {
    let size = [images[0].width() as usize, images[0].height() as usize];
    let mut out = images[0].clone();
    for (i, image) in images.into_iter().enumerate() {
        let at = [i % 2, i / 2];
        let start = [0, 1].map(|axis| at[axis] * (size[axis] / 2));
        let end = [0, 1].map(|axis| if at[axis] == 0 { size[axis] / 2 } else { size[axis] });
        let quarter = [end[0] - start[0], end[1] - start[1]];
        if quarter.contains(&0) {
            continue;
        }
        let source = [image.width() as usize, image.height() as usize];
        let scaled = resize_linear(image.as_raw(), source, quarter);
        for (y, row) in scaled.chunks_exact(3 * quarter[0]).enumerate() {
            let to = 3 * ((start[1] + y) * size[0] + start[0]);
            out.as_mut()[to..][..row.len()].copy_from_slice(row);
        }
    }
    out
}

/// A function of single values.
fn by_value(image: &RgbImage, f: impl Fn(f64) -> f64) -> RgbImage {
    let table: Vec<u8> = (0..256).map(|v| rounded(f(f64::from(v)))).collect();
    let mut out = image.clone();
    out.iter_mut().for_each(|v| *v = table[usize::from(*v)]);
    out
}

/// Offsets along x and y that are summed, each with its weight; what lies outside is as the nearest pixel inside.
fn filtered(image: &RgbImage, taps: &[([i64; 2], f64)]) -> RgbImage {
    let all: f64 = taps.iter().map(|t| t.1).sum();
    let taps: Vec<([i64; 2], f32)> = taps.iter().map(|t| (t.0, (t.1 / all) as f32)).collect();
    let [width, height] = [image.width() as usize, image.height() as usize];
    let source = image.as_raw();
    let mut out = Vec::with_capacity(source.len());
    let mut row = vec![0f32; 3 * width];
    for y in 0..height as i64 {
        row.fill(0.0);
        for &([dx, dy], weight) in &taps {
            let from = (y + dy).clamp(0, height as i64 - 1) as usize;
            let from = &source[3 * from * width..][..3 * width];
            for (x, pixel) in row.chunks_exact_mut(3).enumerate() {
                let at = 3 * (x as i64 + dx).clamp(0, width as i64 - 1) as usize;
                pixel
                    .iter_mut()
                    .zip(&from[at..at + 3])
                    .for_each(|(p, &v)| *p += weight * f32::from(v));
            }
        }
        out.extend(row.iter().map(|v| rounded(f64::from(*v))));
    }
    RgbImage::from_raw(image.width(), image.height(), out).expect("as many pixels as there were")
}

/// The pixels of a line through the middle, each as often as the line passes it.
fn line(length_px: f64, angle_deg: f64) -> Vec<([i64; 2], f64)> {
    let (sin, cos) = angle_deg.to_radians().sin_cos();
    let steps = length_px.ceil().max(1.0) as i64;
    let place = |i: i64| {
        let along = ((i as f64 + 0.5) / steps as f64 - 0.5) * length_px;
        ([(along * cos).round() as i64, (along * sin).round() as i64], 1.0)
    };
    (0..steps).map(place).collect()
}

fn rounded(v: f64) -> u8 {
    // The conversion saturates.
    (v + 0.5).floor() as u8
}

/// A draw from the normal distribution. Source: Box and Muller, Annals of Mathematical Statistics 29, 1958.
fn normal(rng: &mut Rng) -> f64 {
    let mut uniform = || (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
    // From 1 - [0, 1), whose logarithm is finite.
    let (a, b) = (1.0 - uniform(), uniform());
    (-2.0 * a.ln()).sqrt() * (std::f64::consts::TAU * b).cos()
}

#[cfg(test)]
mod tests;
