//! Image files to RGB bytes, as OpenCV's `imread` gives them (but in RGB order).

use std::fs;
use std::io::Cursor;
use std::path::Path;

use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, RgbImage};

use crate::YoloError;

/// Longest side of an image that is read.
pub const MAX_SIDE_PX: u32 = 16_384;

/// Most bytes that a decoded image may take.
pub const MAX_DECODED_BYTES: u64 = 512 << 20;

/// Reads a JPEG, PNG, BMP or WebP, told apart by content: EXIF orientation applied, gray and palettes
/// expanded, alpha dropped, the high byte of 16 bits kept.
///
/// # Errors
/// `Read`; `ImageTooLarge` if the header claims more than [`MAX_SIDE_PX`] or [`MAX_DECODED_BYTES`],
/// before anything of that size is allocated; `ImageFile` if it does not decode or ends early.
pub fn read_rgb(path: &Path) -> Result<RgbImage, YoloError> {
    let bytes = read_bytes(path)?;
    let format = format_of(path, &bytes)?;
    if format == ImageFormat::Jpeg && !jpeg_is_complete(&bytes) {
        return Err(refuse(path, "truncated JPEG: no end-of-image marker"));
    }
    let mut decoder = decoder(path, &bytes, format)?;
    let orientation = decoder.orientation().map_err(|error| refuse(path, error))?;
    let mut decoded = DynamicImage::from_decoder(decoder).map_err(|error| refuse(path, error))?;
    decoded.apply_orientation(orientation);
    Ok(to_rgb(decoded))
}

/// Width and height of the image that [`read_rgb`] would give, from the header alone.
///
/// # Errors
/// As [`read_rgb`], as far as the header tells.
pub fn read_size(path: &Path) -> Result<(u32, u32), YoloError> {
    let bytes = read_bytes(path)?;
    let format = format_of(path, &bytes)?;
    let mut decoder = decoder(path, &bytes, format)?;
    let (width_px, height_px) = decoder.dimensions();
    Ok(
        match decoder.orientation().map_err(|error| refuse(path, error))? {
            Orientation::Rotate90
            | Orientation::Rotate270
            | Orientation::Rotate90FlipH
            | Orientation::Rotate270FlipH => (height_px, width_px),
            _ => (width_px, height_px),
        },
    )
}

fn read_bytes(path: &Path) -> Result<Vec<u8>, YoloError> {
    fs::read(path).map_err(|source| YoloError::Read {
        path: path.to_owned(),
        source,
    })
}

fn format_of(path: &Path, bytes: &[u8]) -> Result<ImageFormat, YoloError> {
    match image::guess_format(bytes) {
        Ok(
            format @ (ImageFormat::Jpeg | ImageFormat::Png | ImageFormat::Bmp | ImageFormat::WebP),
        ) => Ok(format),
        _ => Err(refuse(path, "not a JPEG, PNG, BMP or WebP image")),
    }
}

fn decoder<'b>(
    path: &Path,
    bytes: &'b [u8],
    format: ImageFormat,
) -> Result<impl ImageDecoder + 'b, YoloError> {
    let decoder = ImageReader::with_format(Cursor::new(bytes), format)
        .into_decoder()
        .map_err(|error| refuse(path, error))?;
    let (width_px, height_px) = decoder.dimensions();
    let longest = width_px.max(height_px);
    if longest > MAX_SIDE_PX || decoder.total_bytes() > MAX_DECODED_BYTES {
        return Err(YoloError::ImageTooLarge {
            path: path.to_owned(),
            width_px,
            height_px,
            max_side_px: MAX_SIDE_PX,
            max_bytes: MAX_DECODED_BYTES,
        });
    }
    if width_px == 0 || height_px == 0 {
        return Err(refuse(
            path,
            format!("image of {width_px}x{height_px} pixels"),
        ));
    }
    Ok(decoder)
}

/// Whether an end-of-image marker follows the first scan.
///
/// Decoders fill what is missing with gray and say nothing. A thumbnail's end-of-image lies in a
/// segment before the scan, and does not count.
fn jpeg_is_complete(bytes: &[u8]) -> bool {
    const START_OF_SCAN: u8 = 0xda;
    let mut at = 2;
    while let Some(&[0xff, marker, high, low]) = bytes.get(at..at + 4) {
        if marker == 0xff {
            at += 1;
            continue;
        }
        at += 2 + usize::from(u16::from_be_bytes([high, low]));
        if marker == START_OF_SCAN {
            return bytes
                .get(at..)
                .is_some_and(|scan| scan.windows(2).any(|w| w == [0xff, 0xd9]));
        }
    }
    false
}

/// By hand where it is no more than picking bytes: the crate's conversions go through color profiles.
fn to_rgb(image: DynamicImage) -> RgbImage {
    let (width, height) = (image.width(), image.height());
    let high = |sample: u16| (sample >> 8) as u8;
    let pixels: Vec<[u8; 3]> = match image {
        DynamicImage::ImageRgb8(image) => return image,
        DynamicImage::ImageLuma8(image) => image.pixels().map(|p| [p[0]; 3]).collect(),
        DynamicImage::ImageLumaA8(image) => image.pixels().map(|p| [p[0]; 3]).collect(),
        DynamicImage::ImageRgba8(image) => image.pixels().map(|p| [p[0], p[1], p[2]]).collect(),
        DynamicImage::ImageLuma16(image) => image.pixels().map(|p| [high(p[0]); 3]).collect(),
        DynamicImage::ImageLumaA16(image) => image.pixels().map(|p| [high(p[0]); 3]).collect(),
        DynamicImage::ImageRgb16(image) => image.pixels().map(|p| p.0.map(high)).collect(),
        DynamicImage::ImageRgba16(image) => image
            .pixels()
            .map(|p| [p[0], p[1], p[2]].map(high))
            .collect(),
        other => return other.into_rgb8(),
    };
    let bytes = pixels.into_flattened();
    RgbImage::from_raw(width, height, bytes).expect("three bytes a pixel")
}

fn refuse(path: &Path, reason: impl ToString) -> YoloError {
    YoloError::ImageFile {
        path: path.to_owned(),
        reason: reason.to_string(),
    }
}
