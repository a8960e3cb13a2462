//! Image files to RGB bytes, as OpenCV's `imread` gives them (but in RGB order).

use std::io::Cursor;
use std::path::Path;

use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits, RgbImage};

use super::image_limits::{MAX_DECODING_BYTES, MAX_FILE_BYTES, check_size, refuse};
use super::jpeg;
use crate::{YoloError, regular_file};

/// Reads a JPEG (of an MPO the first), PNG, BMP, WebP, TIFF or PNM, told apart by content: orientation applied, gray
/// and palettes expanded, alpha dropped, 16 bits made 8, of several frames the first.
///
/// # Errors
/// `Read`; `ImageTooLarge` if the header claims more than [`crate::MAX_PIXELS`] or decoding takes more than
/// [`crate::MAX_DECODING_BYTES`], before anything of that size is allocated; `ImageFile` if it does not decode or ends early.
pub fn read_rgb(path: &Path) -> Result<RgbImage, YoloError> {
    decode_rgb(path, &regular_file::read(path, MAX_FILE_BYTES)?)
}

/// As [`read_rgb`], of an image that is no file; `name` stands in its errors.
///
/// # Errors
/// As [`read_rgb`], but `Read`.
pub fn decode_rgb(name: &Path, bytes: &[u8]) -> Result<RgbImage, YoloError> {
    let format = format_of(name, bytes)?;
    let (rgb, orientation) = match format {
        ImageFormat::Jpeg => jpeg::decode(name, bytes)?,
        _ => decode(name, bytes, format)?,
    };
    if orientation == Orientation::NoTransforms {
        return Ok(rgb);
    }
    let mut turned = DynamicImage::ImageRgb8(rgb);
    turned.apply_orientation(orientation);
    Ok(turned.into_rgb8())
}

/// Width and height of the image that [`read_rgb`] would give, from the header alone.
///
/// # Errors
/// As [`read_rgb`], as far as the header tells.
pub fn read_size(path: &Path) -> Result<(u32, u32), YoloError> {
    decode_size(path, &regular_file::read(path, MAX_FILE_BYTES)?)
}

/// As [`read_size`], of an image that is no file; `name` stands in its errors.
///
/// # Errors
/// As [`read_size`], but `Read`.
pub fn decode_size(name: &Path, bytes: &[u8]) -> Result<(u32, u32), YoloError> {
    let format = format_of(name, bytes)?;
    let ([width_px, height_px], orientation) = match format {
        ImageFormat::Jpeg => jpeg::size(name, bytes)?,
        _ => {
            let mut decoder = decoder(name, bytes, format)?;
            let orientation = decoder.orientation();
            let orientation = orientation.map_err(|error| refuse(name, error))?;
            (decoder.dimensions().into(), orientation)
        }
    };
    Ok(match orientation {
        Orientation::Rotate90
        | Orientation::Rotate270
        | Orientation::Rotate90FlipH
        | Orientation::Rotate270FlipH => (height_px, width_px),
        _ => (width_px, height_px),
    })
}

fn format_of(path: &Path, bytes: &[u8]) -> Result<ImageFormat, YoloError> {
    use ImageFormat::{Bmp, Jpeg, Png, Pnm, Tiff, WebP};
    match image::guess_format(bytes) {
        Ok(format @ (Jpeg | Png | Bmp | WebP | Tiff | Pnm)) => Ok(format),
        _ if bytes.is_empty() => Err(refuse(path, "the file is empty")),
        _ => Err(refuse(path, "not a JPEG, PNG, BMP, WebP, TIFF or PNM image")),
    }
}

fn decode(
    path: &Path,
    bytes: &[u8],
    format: ImageFormat,
) -> Result<(RgbImage, Orientation), YoloError> {
    let mut decoder = decoder(path, bytes, format)?;
    let orientation = decoder.orientation().map_err(|error| refuse(path, error))?;
    let decoded = DynamicImage::from_decoder(decoder).map_err(|error| refuse(path, error))?;
    Ok((to_rgb(path, decoded, format)?, orientation))
}

fn decoder<'b>(
    path: &Path,
    bytes: &'b [u8],
    format: ImageFormat,
) -> Result<impl ImageDecoder + 'b, YoloError> {
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    let mut limits = Limits::default();
    limits.max_alloc = Some(MAX_DECODING_BYTES);
    reader.limits(limits);
    let decoder = reader.into_decoder().map_err(|error| refuse(path, error))?;
    let size_px = <[u32; 2]>::from(decoder.dimensions());
    let decoded = decoder.total_bytes();
    let as_rgb = 3 * u64::from(size_px[0]) * u64::from(size_px[1]);
    // What is not RGB as it is decoded lies in memory twice, and so does what is turned.
    check_size(path, size_px, decoded.saturating_add(as_rgb))?;
    Ok(decoder)
}

/// By hand where it is no more than picking bytes: the crate's conversions go through color profiles.
fn to_rgb(path: &Path, image: DynamicImage, format: ImageFormat) -> Result<RgbImage, YoloError> {
    let (width, height) = (image.width(), image.height());
    let high = |sample: u16| (sample >> 8) as u8;
    let tiff = format == ImageFormat::Tiff;
    let pixels: Vec<[u8; 3]> = match image {
        DynamicImage::ImageRgb8(image) => return Ok(image),
        DynamicImage::ImageLuma8(image) => image.pixels().map(|p| [p[0]; 3]).collect(),
        DynamicImage::ImageLumaA8(image) => image.pixels().map(|p| [p[0]; 3]).collect(),
        DynamicImage::ImageRgba8(image) if tiff => image.pixels().map(|p| faded(p.0)).collect(),
        DynamicImage::ImageRgba8(image) => image.pixels().map(|p| [p[0], p[1], p[2]]).collect(),
        DynamicImage::ImageLuma16(image) => image.pixels().map(|p| [high(p[0]); 3]).collect(),
        DynamicImage::ImageLumaA16(image) => image.pixels().map(|p| [high(p[0]); 3]).collect(),
        DynamicImage::ImageRgb16(image) if tiff => {
            image.pixels().map(|p| p.0.map(rounded)).collect()
        }
        DynamicImage::ImageRgb16(image) => image.pixels().map(|p| p.0.map(high)).collect(),
        DynamicImage::ImageRgba16(image) => {
            image.pixels().map(|p| [p[0], p[1], p[2]].map(high)).collect()
        }
        _ => return Err(refuse(path, "samples of 32 bits are not read")),
    };
    let bytes = pixels.into_flattened();
    RgbImage::from_raw(width, height, bytes)
        .ok_or_else(|| refuse(path, "fewer pixels than its header claims"))
}

/// A colour on black by its alpha. Source: what libtiff's RGBA interface, behind OpenCV, makes of alpha.
fn faded([red, green, blue, alpha]: [u8; 4]) -> [u8; 3] {
    [red, green, blue].map(|c| ((u32::from(c) * u32::from(alpha) + 127) / 255) as u8)
}

/// 16 bits as 8. Source: libtiff's RGBA interface.
fn rounded(sample: u16) -> u8 {
    ((u32::from(sample) + 128) / 257) as u8
}
