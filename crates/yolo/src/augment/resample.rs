//! One pass from an image to the part of a canvas where it lies.

use super::colours::Colours;
use image::RgbImage;
use std::ops::Range;

/// From a coordinate of the image to one of the canvas, along one axis: `canvas = scale * image + offset`, both measured from the
/// edge of the first pixel. A scale below 0 flips.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct AxisMap {
    pub(super) scale: f64,
    pub(super) offset: f64,
}

impl AxisMap {
    pub(super) fn to_canvas(self, image: f64) -> f64 {
        self.scale * image + self.offset
    }
}

/// Two pixels of an image, of which the second has a share.
#[derive(Clone, Copy)]
struct Pair {
    pixels: [usize; 2],
    share: f32,
}

/// For each pixel of the canvas in `region` what it is made of; `None` where nothing of the image lies.
fn pairs(map: AxisMap, source: usize, region: &Range<usize>) -> Vec<Option<Pair>> {
    let pair = |pixel: usize| {
        let at = (pixel as f64 + 0.5 - map.offset) / map.scale;
        if !(0.0..source as f64).contains(&at) {
            return None;
        }
        // Beyond the centre of the last pixel there is only that one.
        let at = (at - 0.5).clamp(0.0, source as f64 - 1.0);
        let first = at as usize;
        let second = (first + 1).min(source - 1);
        Some(Pair { pixels: [first, second], share: (at - first as f64) as f32 })
    };
    region.clone().map(pair).collect()
}

/// Paints an image on a canvas of RGB rows of `width` pixels, within `region` (along x, along y): bilinear, and in changed colours.
pub(super) fn resample(
    image: &RgbImage,
    maps: [AxisMap; 2],
    region: &[Range<usize>; 2],
    colours: &Colours,
    canvas: &mut [u8],
    width: usize,
) {
    let source = [image.width() as usize, image.height() as usize];
    let [across, down] = [0, 1].map(|axis| pairs(maps[axis], source[axis], &region[axis]));
    let pixels = image.as_raw().as_slice().as_chunks::<3>().0;
    for (y, pair) in region[1].clone().zip(down) {
        let Some(pair) = pair else { continue };
        let [upper, lower] = pair.pixels.map(|row| &pixels[row * source[0]..][..source[0]]);
        let row = &mut canvas[3 * (y * width + region[0].start)..][..3 * region[0].len()];
        for (out, column) in row.as_chunks_mut::<3>().0.iter_mut().zip(&across) {
            let Some(Pair { pixels: [left, right], share }) = *column else { continue };
            let rgb = [0, 1, 2].map(|c: usize| {
                let blend = |row: &[[u8; 3]]| mix(row[left][c].into(), row[right][c].into(), share);
                mix(blend(upper), blend(lower), pair.share)
            });
            // The conversion to u8 saturates.
            *out = colours.apply(rgb).map(|v| (v + 0.5) as u8);
        }
    }
}

fn mix(a: f32, b: f32, share: f32) -> f32 {
    a + (b - a) * share
}
