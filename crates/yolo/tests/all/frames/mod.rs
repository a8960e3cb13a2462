//! Images as YUV frames and back, by the formulas of ITU-R BT.601 and BT.709 in f64, sample by sample.
use image::{Rgb, RgbImage};
use yolo::{YuvColours, YuvMatrix, YuvRange};

/// A frame without gaps: Y, U, V.
pub(crate) struct Frame {
    pub(crate) bytes: Vec<u8>,
    pub(crate) size_px: [usize; 2],
    pub(crate) colours: YuvColours,
}

fn weights(matrix: YuvMatrix) -> [f64; 3] {
    match matrix {
        YuvMatrix::Bt601 => [0.299, 0.587, 0.114],
        YuvMatrix::Bt709 => [0.2126, 0.7152, 0.0722],
    }
}

/// Luma of black, and what luma from 0 to 1 and chroma from -0.5 to 0.5 are multiplied by.
fn range(range: YuvRange) -> [f64; 3] {
    match range {
        YuvRange::Limited => [16.0, 219.0, 224.0],
        YuvRange::Full => [0.0, 255.0, 255.0],
    }
}

fn byte(value: f64) -> u8 {
    value.round().clamp(0.0, 255.0) as u8
}

impl Frame {
    pub(crate) fn new(image: &RgbImage, colours: YuvColours) -> Self {
        let [w, h] = [image.width(), image.height()];
        let (last_x, last_y) = (i64::from(w) - 1, i64::from(h) - 1);
        let [red, green, blue] = weights(colours.matrix);
        let [black, of_luma, of_chroma] = range(colours.range);
        // Luma from 0 to 1, U and V from -0.5 to 0.5, of the nearest pixel.
        let yuv = |x: i64, y: i64| {
            let pixel = image.get_pixel(x.clamp(0, last_x) as u32, y.clamp(0, last_y) as u32);
            let [r, g, b] = pixel.0.map(|channel| f64::from(channel) / 255.0);
            let luma = red * r + green * g + blue * b;
            [luma, (b - luma) / (2.0 * (1.0 - blue)), (r - luma) / (2.0 * (1.0 - red))]
        };
        let mut bytes = Vec::new();
        for y in 0..=last_y {
            bytes.extend((0..=last_x).map(|x| byte(black + of_luma * yuv(x, y)[0])));
        }
        for plane in 1..3 {
            for y in (0..=last_y).step_by(2) {
                for x in (0..=last_x).step_by(2) {
                    // In the column of an even luma sample, between two rows.
                    let near = [(x - 1, 1.0), (x, 2.0), (x + 1, 1.0)];
                    let sum = |y: i64| near.iter().map(|&(x, w)| w * yuv(x, y)[plane]).sum::<f64>();
                    bytes.push(byte(128.0 + of_chroma * (sum(y) + sum(y + 1)) / 8.0));
                }
            }
        }
        Self { bytes, size_px: [w as usize, h as usize], colours }
    }

    /// The whole frame as an image, chroma interpolated.
    pub(crate) fn to_rgb(&self) -> RgbImage {
        let [width, height] = self.size_px;
        let chroma = self.size_px.map(|side| side.div_ceil(2));
        let (luma, rest) = self.bytes.split_at(width * height);
        let (u, v) = rest.split_at(chroma[0] * chroma[1]);
        let [red, green, blue] = weights(self.colours.matrix);
        let [black, of_luma, of_chroma] = range(self.colours.range);
        RgbImage::from_fn(width as u32, height as u32, |x, y| {
            let at = [f64::from(x) / 2.0, (f64::from(y) - 0.5) / 2.0];
            let y = f64::from(luma[y as usize * width + x as usize]);
            let y = (y - black) / of_luma;
            let [u, v] = [u, v].map(|plane| (between(plane, chroma, at) - 128.0) / of_chroma);
            let (r, b) = (y + 2.0 * (1.0 - red) * v, y + 2.0 * (1.0 - blue) * u);
            let g = (y - red * r - blue * b) / green;
            Rgb([r, g, b].map(|channel| byte(255.0 * channel)))
        })
    }
}

/// A plane's value at a position, bilinear.
fn between(plane: &[u8], [width, height]: [usize; 2], [x, y]: [f64; 2]) -> f64 {
    let (x, y) = (x.clamp(0.0, width as f64 - 1.0), y.clamp(0.0, height as f64 - 1.0));
    let at = |column: usize, row: usize| {
        f64::from(plane[row.min(height - 1) * width + column.min(width - 1)])
    };
    let (column, row) = (x as usize, y as usize);
    let (dx, dy) = (x - x.floor(), y - y.floor());
    let line = |row: usize| at(column, row) * (1.0 - dx) + at(column + 1, row) * dx;
    line(row) * (1.0 - dy) + line(row + 1) * dy
}
