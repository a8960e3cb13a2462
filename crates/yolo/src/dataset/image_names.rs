//! Which files are taken for images, by their names.

use std::ffi::OsStr;
use std::path::Path;

/// Endings of files that are taken for images in folders and lists; what is in them is told by their content.
pub const IMAGE_EXTENSIONS: [&str; 12] =
    ["bmp", "jpeg", "jpg", "mpo", "pbm", "pgm", "png", "pnm", "ppm", "tif", "tiff", "webp"];

/// Whether a file is taken for an image, by its name.
pub fn is_image_name(path: &Path) -> bool {
    extension_of(path).is_some_and(|e| IMAGE_EXTENSIONS.contains(&e.as_str()))
}

/// The ending of a name in small letters.
pub(super) fn extension_of(path: &Path) -> Option<String> {
    let extension = path.extension().and_then(OsStr::to_str);
    extension.map(str::to_ascii_lowercase)
}
