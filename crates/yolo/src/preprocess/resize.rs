//! Bilinear scaling of 8-bit RGB, with the fixed-point rounding of OpenCV's `INTER_LINEAR`.
//!
//! Source: the arithmetic of `cv::resize` for 8-bit images: half-pixel centres, weights in 1/2048,
//! sums shifted by 4, 16 and 2 bits; exactly half the size is the rounded mean of four pixels.

const CHANNELS: usize = 3;

/// One in weights.
const WEIGHT_ONE: f32 = 2048.0;

/// Which two pixels an output pixel lies between, and how much of each it is.
#[derive(Clone, Copy)]
struct Tap {
    first: usize,
    second: usize,
    first_weight: i32,
    second_weight: i32,
}

/// Scales `src` (`[h, w, 3] u8`) to `[dst_h, dst_w, 3] u8`.
///
/// No side may be 0 and `src` must have `w * h * 3` bytes.
pub(crate) fn resize_linear(src: &[u8], [w, h]: [usize; 2], [dst_w, dst_h]: [usize; 2]) -> Vec<u8> {
    if [w, h] == [dst_w, dst_h] {
        return src.to_vec();
    }
    if w == 2 * dst_w && h == 2 * dst_h {
        return halve(src, dst_w);
    }
    let columns = taps(w, dst_w, Edge::Whole);
    let rows = taps(h, dst_h, Edge::Split);
    let stride = w * CHANNELS;
    let scaled = |row: usize| scale_row(&src[row * stride..][..stride], &columns);
    // The two scaled source rows that the output row lies between, with their indices.
    let mut above = (usize::MAX, Vec::new());
    let mut below = (usize::MAX, Vec::new());
    let mut dst = Vec::with_capacity(dst_w * dst_h * CHANNELS);
    for tap in rows {
        if above.0 != tap.first {
            if below.0 == tap.first {
                std::mem::swap(&mut above, &mut below);
            } else {
                above = (tap.first, scaled(tap.first));
            }
        }
        if below.0 != tap.second {
            below = if above.0 == tap.second {
                above.clone()
            } else {
                (tap.second, scaled(tap.second))
            };
        }
        dst.extend(above.1.iter().zip(&below.1).map(|(&a, &b)| {
            let sum = ((a * tap.first_weight) >> 16) + ((b * tap.second_weight) >> 16);
            ((sum + 2) >> 2) as u8
        }));
    }
    dst
}

/// What happens half a pixel from the border, where only one pixel is in reach.
#[derive(Clone, Copy, PartialEq)]
enum Edge {
    /// It gets the whole weight.
    Whole,
    /// It gets both weights, each rounded by itself.
    Split,
}

fn taps(length: usize, dst_length: usize, edge: Edge) -> Vec<Tap> {
    // A reciprocal of a quotient, as OpenCV computes it: the last bit decides on ties.
    let scale = 1.0 / (dst_length as f64 / length as f64);
    let last = length as i64 - 1;
    let tap = |index: usize| {
        let position = ((index as f64 + 0.5) * scale - 0.5) as f32;
        let mut first = position.floor() as i64;
        let mut fraction = position - first as f32;
        if edge == Edge::Whole && (first < 0 || first >= last) {
            fraction = 0.0;
            first = first.clamp(0, last);
        }
        Tap {
            first: first.clamp(0, last) as usize,
            second: (first + 1).clamp(0, last) as usize,
            first_weight: ((1.0 - fraction) * WEIGHT_ONE).round_ties_even() as i32,
            second_weight: (fraction * WEIGHT_ONE).round_ties_even() as i32,
        }
    };
    (0..dst_length).map(tap).collect()
}

/// One row scaled, in 1/2048 shifted right by 4.
fn scale_row(row: &[u8], columns: &[Tap]) -> Vec<i32> {
    let (pixels, _) = row.as_chunks::<CHANNELS>();
    let mut scaled = Vec::with_capacity(columns.len() * CHANNELS);
    for tap in columns {
        let (first, second) = (pixels[tap.first], pixels[tap.second]);
        let mixed: [i32; CHANNELS] = std::array::from_fn(|channel| {
            let sum = i32::from(first[channel]) * tap.first_weight
                + i32::from(second[channel]) * tap.second_weight;
            sum >> 4
        });
        scaled.extend(mixed);
    }
    scaled
}

fn halve<'s>(src: &'s [u8], dst_w: usize) -> Vec<u8> {
    let stride = 2 * dst_w * CHANNELS;
    let mut dst = Vec::with_capacity(src.len() / 4);
    for rows in src.chunks_exact(2 * stride) {
        let (above, below) = rows.split_at(stride);
        let pairs = |row: &'s [u8]| row.as_chunks::<{ 2 * CHANNELS }>().0;
        for (a, b) in pairs(above).iter().zip(pairs(below)) {
            let sum = |channel: usize| {
                [a[channel], a[channel + CHANNELS], b[channel], b[channel + CHANNELS]]
                    .into_iter()
                    .map(u16::from)
                    .sum::<u16>()
            };
            dst.extend((0..CHANNELS).map(|channel| ((sum(channel) + 2) >> 2) as u8));
        }
    }
    dst
}
