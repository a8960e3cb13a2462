//! How an image looks, by plain figures that need no model: brightness, contrast, sharpness, noise, and a short vector by which
//! images are told apart.
//!
//! Everything is measured at the size at which a network sees it: scaled down, as the letterbox scales, until the longer side has
//! 640 pixels.

use std::f64::consts::PI;

use image::RgbImage;
use serde::Serialize;

use crate::model_input::LUMA;
use crate::preprocess::resize::resize_linear;

/// Longest side of what is measured, in pixels.
const SIDE_PX: usize = 640;

/// Luminance from which a pixel counts as saturated.
const SATURATED: u8 = 250;
/// Side of the blocks that noise is measured in, in pixels.
const BLOCK: usize = 16;
/// Between these means of luminance noise is not cut off by black or white.
const NOT_CLIPPED: [f64; 2] = [8.0, 247.0];
/// Cells across and down for the vector.
const CELLS: usize = 4;
const ORIENTATIONS: usize = 8;
const LEVELS: usize = 8;

/// Figures of one image. Luminance is that of ITU-R BT.601, from 0 to 255.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct ImageMeasures {
    /// Mean luminance.
    pub luminance: f64,
    /// Luminance below which 5 % of the pixels lie.
    pub luminance_low: f64,
    /// Luminance above which 5 % of the pixels lie.
    pub luminance_high: f64,
    /// Share of the pixels with a luminance of 250 or more.
    pub saturated_share: f64,
    /// Variance of the Laplacian (of four neighbours) over that of the luminance: low where an image is blurred, whatever its
    /// contrast. Source of the measure without the division: Pech-Pacheco et al., ICPR 2000.
    pub sharpness: f64,
    /// Standard deviation of the luminance's noise in steps of 8 bits: Immerkær's estimate ("Fast Noise Variance Estimation", Computer Vision
    /// and Image Understanding 64(2), 1996) in blocks, of which the lower quartile counts, since texture looks like noise to it.
    pub noise: f64,
}

impl ImageMeasures {
    /// Luminance between which 90 % of the pixels lie, from the darker to the brighter end.
    pub fn contrast(&self) -> f64 {
        self.luminance_high - self.luminance_low
    }
}

/// What is known of an image without a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Appearance {
    /// Its figures.
    pub measures: ImageMeasures,
    /// Groups of numbers by which images are told apart: luminance, both colour differences and the strength of edges by cell,
    /// the directions of edges, the distribution of luminance.
    pub descriptor: [Vec<f32>; 5],
}

impl Appearance {
    /// Measures an image.
    pub fn of(image: &RgbImage) -> Self {
        let size = [image.width() as usize, image.height() as usize];
        let longest = size[0].max(size[1]).max(1);
        let side = |px: usize| (px * SIDE_PX.min(longest) / longest).max(1);
        let scaled = resize_linear(image.as_raw(), size, size.map(side));
        let plane = Plane::of(&scaled, size.map(side));
        let histogram = plane.histogram();
        Self {
            measures: plane.measures(&histogram),
            descriptor: descriptor(&plane, &scaled, &histogram),
        }
    }
}

/// Luminance of an image.
struct Plane {
    luma: Vec<u8>,
    width: usize,
    height: usize,
}

impl Plane {
    fn of(rgb: &[u8], [width, height]: [usize; 2]) -> Self {
        let luma = |pixel: &[u8; 3]| {
            let sum: u32 = pixel.iter().zip(LUMA).map(|(&x, w)| u32::from(x) * w).sum();
            ((sum + (1 << 13)) >> 14) as u8
        };
        Self { luma: rgb.as_chunks::<3>().0.iter().map(luma).collect(), width, height }
    }

    fn histogram(&self) -> [u64; 256] {
        let mut counts = [0; 256];
        self.luma.iter().for_each(|&y| counts[usize::from(y)] += 1);
        counts
    }

    fn measures(&self, histogram: &[u64; 256]) -> ImageMeasures {
        let pixels = self.luma.len().max(1) as f64;
        let sum = |f: &dyn Fn(f64) -> f64| {
            let terms = histogram.iter().enumerate().map(|(y, &n)| n as f64 * f(y as f64));
            terms.sum::<f64>() / pixels
        };
        let mean = sum(&|y| y);
        let variance = sum(&|y| (y - mean) * (y - mean));
        let saturated: u64 = histogram[usize::from(SATURATED)..].iter().sum();
        ImageMeasures {
            luminance: mean,
            luminance_low: quantile(histogram, 0.05),
            luminance_high: quantile(histogram, 0.95),
            saturated_share: saturated as f64 / pixels,
            // An image of one colour has no detail that could be sharp or not.
            sharpness: if variance < 1.0 { 0.0 } else { self.laplacian_variance() / variance },
            noise: self.noise(),
        }
    }

    /// The rows around the inner ones: above, itself, below.
    fn triples(&self) -> impl Iterator<Item = [&[u8]; 3]> {
        let row = |y: usize| &self.luma[y * self.width..][..self.width];
        (1..self.height.saturating_sub(1)).map(move |y| [row(y - 1), row(y), row(y + 1)])
    }

    fn laplacian_variance(&self) -> f64 {
        let (mut sum, mut squares, mut count) = (0i64, 0i64, 0i64);
        for [above, here, below] in self.triples() {
            for x in 1..self.width.saturating_sub(1) {
                let at = |row: &[u8], x: usize| i64::from(row[x]);
                let value = at(above, x) + at(below, x) + at(here, x - 1) + at(here, x + 1)
                    - 4 * at(here, x);
                sum += value;
                squares += value * value;
            }
            count += self.width.saturating_sub(2) as i64;
        }
        let count = count.max(1) as f64;
        let mean = sum as f64 / count;
        squares as f64 / count - mean * mean
    }

    fn noise(&self) -> f64 {
        let blocks = [self.width, self.height].map(|side| side.saturating_sub(2) / BLOCK);
        let mut sums = vec![[0u64; 2]; blocks[0] * blocks[1]];
        for (y, [above, here, below]) in self.triples().enumerate() {
            let (row, y) = (y / BLOCK, y % BLOCK);
            if row >= blocks[1] {
                break;
            }
            debug_assert!(y < BLOCK);
            for x in 0..blocks[0] * BLOCK {
                let line = |row: &[u8], sides: i64, middle: i64| {
                    sides * (i64::from(row[x]) + i64::from(row[x + 2]))
                        + middle * i64::from(row[x + 1])
                };
                let value = line(above, 1, -2) + line(here, -2, 4) + line(below, 1, -2);
                let sums = &mut sums[row * blocks[0] + x / BLOCK];
                sums[0] += value.unsigned_abs();
                sums[1] += u64::from(here[x + 1]);
            }
        }
        let pixels = (BLOCK * BLOCK) as f64;
        let [low, high] = NOT_CLIPPED;
        let usable = sums.iter().filter(|s| (low..=high).contains(&(s[1] as f64 / pixels)));
        let sigma = |s: &[u64; 2]| (PI / 2.0).sqrt() / 6.0 * s[0] as f64 / pixels;
        let mut sigmas: Vec<f64> = usable.map(sigma).collect();
        sigmas.sort_by(f64::total_cmp);
        numerics::percentile(&sigmas, 0.25).unwrap_or(0.0)
    }
}

/// The level below which a share of the pixels lies.
fn quantile(histogram: &[u64; 256], share: f64) -> f64 {
    let all: u64 = histogram.iter().sum();
    let mut below = 0;
    let at = histogram.iter().position(|&n| {
        below += n;
        below as f64 >= share * all as f64
    });
    at.unwrap_or(0) as f64
}

fn descriptor(plane: &Plane, rgb: &[u8], histogram: &[u64; 256]) -> [Vec<f32>; 5] {
    let Plane { width, height, .. } = *plane;
    let cell = |x: usize, y: usize| y * CELLS / height * CELLS + x * CELLS / width;
    let mut sums = [[0i64; CELLS * CELLS]; 5];
    let mut directions = [0f32; ORIENTATIONS];
    for (i, [red, _, blue]) in rgb.as_chunks::<3>().0.iter().enumerate() {
        let luma = i64::from(plane.luma[i]);
        let cell = cell(i % width, i / width);
        let values = [1, luma, i64::from(*blue) - luma, i64::from(*red) - luma];
        values.iter().zip(&mut sums).for_each(|(v, sums)| sums[cell] += v);
    }
    for (y, [above, here, below]) in plane.triples().enumerate() {
        for x in 1..width.saturating_sub(1) {
            let dx = i32::from(here[x + 1]) - i32::from(here[x - 1]);
            let dy = i32::from(below[x]) - i32::from(above[x]);
            let strength = dx.abs() + dy.abs();
            sums[4][cell(x, y + 1)] += i64::from(strength);
            directions[orientation(dx, dy)] += strength as f32;
        }
    }
    let [count, luma, blue, red, edges] = sums;
    let means = |sums: [i64; CELLS * CELLS]| {
        sums.iter().zip(count).map(|(&s, n)| s as f32 / n.max(1) as f32).collect::<Vec<f32>>()
    };
    let all = directions.iter().sum::<f32>().max(1.0);
    let levels = histogram.chunks(256 / LEVELS).map(|bins| bins.iter().sum::<u64>() as f32);
    let pixels = plane.luma.len().max(1) as f32;
    [
        means(luma),
        [means(blue), means(red)].concat(),
        means(edges),
        directions.iter().map(|d| d / all).collect(),
        levels.map(|n| n / pixels).collect(),
    ]
}

/// Which eighth of the half turn a gradient points to, by comparisons alone: no function whose last bit a machine decides.
fn orientation(dx: i32, dy: i32) -> usize {
    let (dx, dy) = if dy < 0 || dy == 0 && dx < 0 { (-dx, -dy) } else { (dx, dy) };
    let [a, b] = [dx.abs(), dy];
    // Tangents of 22.5 and 67.5 degrees are close to 5/12 and 12/5.
    let eighth = usize::from(12 * b > 5 * a) + usize::from(b > a) + usize::from(5 * b > 12 * a);
    if dx < 0 { ORIENTATIONS - 1 - eighth } else { eighth }
}

#[cfg(test)]
mod tests;
