//! JPEG to RGB, to the bit as libjpeg-turbo, and so OpenCV, gives it: another decoder's pixels move mAP.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use image::metadata::Orientation;
use image::{ImageFormat, RgbImage};
use libjpeg_turbo_rs::{ColorSpace, DecodeLimits, DecodeWarning, Decoder, JpegError, PixelFormat};

use super::image_limits::{MAX_DECODING_BYTES, MAX_FILE_BYTES, MAX_PIXELS, check_size, refuse};
use crate::{YoloError, regular_file};

/// Most scans of one image: progressive encoders write ten, and each costs a pass over the image.
const MAX_SCANS: usize = 256;

const END_OF_IMAGE: [u8; 2] = [0xff, 0xd9];

/// The pixels as they lie in the file, and how they are to be turned.
///
/// A missing end-of-image marker is passed over; an image of which a part is missing or damaged is refused.
pub(super) fn decode(path: &Path, bytes: &[u8]) -> Result<(RgbImage, Orientation), YoloError> {
    let mut decoder = header(path, bytes)?;
    let inks = matches!(decoder.jpeg_color_space(), ColorSpace::Cmyk | ColorSpace::Ycck);
    decoder.set_output_format(if inks { PixelFormat::Cmyk } else { PixelFormat::Rgb });
    let size_px = size_of(&decoder);
    let failed = |error| explain(path, error, size_px);
    let image = decoder.decode_image().map_err(failed)?;
    let damage = image.warnings.iter().find(|warning| {
        // Bytes too many between two segments change no pixel.
        !matches!(warning, DecodeWarning::ExtraneousData { .. })
    });
    if let Some(damage) = damage {
        return Err(refuse(path, format!("damaged JPEG: {damage}")));
    }
    let orientation = orientation(&decoder);
    let pixels = if inks { from_inks(&image.data) } else { image.data };
    let [width_px, height_px] = size_px;
    let rgb = RgbImage::from_raw(width_px, height_px, pixels)
        .ok_or_else(|| refuse(path, "fewer pixels than its header claims"))?;
    Ok((rgb, orientation))
}

/// Width and height as they lie in the file, and how the image is to be turned.
pub(super) fn size(path: &Path, bytes: &[u8]) -> Result<([u32; 2], Orientation), YoloError> {
    let decoder = header(path, bytes)?;
    Ok((size_of(&decoder), orientation(&decoder)))
}

fn header<'b>(path: &Path, bytes: &'b [u8]) -> Result<Decoder<'b>, YoloError> {
    let limits = DecodeLimits {
        max_pixels: MAX_PIXELS,
        max_scans: MAX_SCANS,
        max_memory: Some(MAX_DECODING_BYTES),
        ..DecodeLimits::default()
    };
    let decoder = Decoder::new_with_limits(bytes, limits);
    let decoder = decoder.map_err(|error| explain(path, error, [0, 0]))?;
    let precision = decoder.header().precision;
    if precision != 8 {
        let reason = format!("JPEG with {precision} bits a sample: 8 are read");
        return Err(refuse(path, reason));
    }
    // What decoding takes is known to the decoder, which is given the limit.
    check_size(path, size_of(&decoder), 0)?;
    Ok(decoder)
}

fn size_of(decoder: &Decoder<'_>) -> [u32; 2] {
    let header = decoder.header();
    [u32::from(header.width), u32::from(header.height)]
}

fn orientation(decoder: &Decoder<'_>) -> Orientation {
    let found = decoder.exif_orientation().and_then(Orientation::from_exif);
    found.unwrap_or(Orientation::NoTransforms)
}

fn explain(path: &Path, error: JpegError, [width_px, height_px]: [u32; 2]) -> YoloError {
    match error {
        JpegError::UnexpectedEof => refuse(path, "truncated JPEG: the file ends before the image"),
        JpegError::LimitExceeded { .. } => YoloError::ImageTooLarge {
            path: path.to_owned(),
            width_px,
            height_px,
            max_pixels: MAX_PIXELS,
            max_bytes: MAX_DECODING_BYTES,
        },
        error => refuse(path, format!("no usable JPEG: {error}")),
    }
}

/// Inks as Adobe writes them, 255 for none, as colours. Source: OpenCV's conversion of such JPEGs.
fn from_inks(cmyk: &[u8]) -> Vec<u8> {
    let (inks, _) = cmyk.as_chunks::<4>();
    let rgb = inks.iter().flat_map(|&[cyan, magenta, yellow, black]| {
        let k = i32::from(black);
        [cyan, magenta, yellow].map(|ink| (k - (((255 - i32::from(ink)) * k) >> 8)) as u8)
    });
    rgb.collect()
}

/// Whether a file is a JPEG without an end-of-image marker, as some cameras write them: it is read as if the marker
/// were there. Of what cannot be read nothing is said here.
pub fn lacks_end_marker(path: &Path) -> bool {
    let whole = || regular_file::read(path, MAX_FILE_BYTES);
    let ends = regular_file::open(path).map(ends_in_marker);
    matches!(ends, Ok(Ok(false))) && whole().is_ok_and(|bytes| !ends_somewhere(&bytes))
}

/// Whether the last two bytes are the marker; of what is no JPEG too, since nothing is missing there.
fn ends_in_marker(mut file: File) -> std::io::Result<bool> {
    let mut start = [0; 3];
    file.read_exact(&mut start)?;
    if image::guess_format(&start).ok() != Some(ImageFormat::Jpeg) {
        return Ok(true);
    }
    let mut end = [0; 2];
    file.seek(SeekFrom::End(-2))?;
    file.read_exact(&mut end)?;
    Ok(end == END_OF_IMAGE)
}

/// Whether an end-of-image marker follows the first scan. A thumbnail's lies in a segment before it, and does not count.
fn ends_somewhere(bytes: &[u8]) -> bool {
    const START_OF_SCAN: u8 = 0xda;
    let mut at = 2;
    while let Some(&[0xff, marker, high, low]) = bytes.get(at..at + 4) {
        if marker == 0xff {
            at += 1;
            continue;
        }
        at += 2 + usize::from(u16::from_be_bytes([high, low]));
        if marker == START_OF_SCAN {
            let scan = bytes.get(at..).unwrap_or_default();
            return scan.windows(2).any(|w| w == END_OF_IMAGE);
        }
    }
    false
}
