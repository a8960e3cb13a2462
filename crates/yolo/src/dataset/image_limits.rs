//! Images that are refused before they are decoded: for their size, or for the memory that decoding takes.

use std::path::Path;

use crate::YoloError;

/// Most pixels of an image that is read: what Pillow takes before it calls an image a decompression bomb.
pub const MAX_PIXELS: u64 = 178_956_970;

/// Most memory that decoding one image may take, as its header tells before anything of it is decoded.
pub const MAX_DECODING_BYTES: u64 = 1 << 30;

/// Longest file that is opened as an image.
pub(super) const MAX_FILE_BYTES: u64 = 1 << 30;

/// Refuses an image before it is decoded: for its size, or for what decoding takes.
pub(super) fn check_size(
    path: &Path,
    [width_px, height_px]: [u32; 2],
    decoding_bytes: u64,
) -> Result<(), YoloError> {
    let pixels = u64::from(width_px) * u64::from(height_px);
    if pixels == 0 {
        let reason = format!("image of {width_px}x{height_px} pixels");
        return Err(refuse(path, reason));
    }
    if pixels > MAX_PIXELS || decoding_bytes > MAX_DECODING_BYTES {
        return Err(YoloError::ImageTooLarge {
            path: path.to_owned(),
            width_px,
            height_px,
            max_pixels: MAX_PIXELS,
            max_bytes: MAX_DECODING_BYTES,
        });
    }
    Ok(())
}

pub(super) fn refuse(path: &Path, reason: impl ToString) -> YoloError {
    YoloError::ImageFile { path: path.to_owned(), reason: reason.to_string() }
}
