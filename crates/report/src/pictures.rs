//! Detections of a model drawn on an image.

use base64::Engine as _;
use image::codecs::jpeg::JpegEncoder;
use image::imageops::{FilterType, resize};
use image::{GenericImage, ImageError, RgbImage};
use observe::SHOWN_CONF;
use yolo::{BoxXyxy, CocoResult, Dataset, Detection, draw_detections};

/// Longest side of a picture on a page, in pixels.
const PICTURE_PX: u32 = 560;
/// The same of a thumbnail.
const THUMBNAIL_PX: u32 = 316;

/// The image with the detections of `results` on it, from [`SHOWN_CONF`] on.
pub fn drawn(
    pixels: &RgbImage,
    results: &[CocoResult],
    image_id: u64,
    dataset: &Dataset,
) -> RgbImage {
    let shown = results.iter().filter(|r| r.image_id == image_id && r.score >= SHOWN_CONF);
    let detections: Vec<Detection> = shown
        .map(|r| {
            let [left, top, width, height] = r.bbox;
            let class = dataset.category_ids.iter().position(|&c| c == r.category_id);
            Detection {
                bbox: BoxXyxy {
                    left: left as f32,
                    top: top as f32,
                    right: (left + width) as f32,
                    bottom: (top + height) as f32,
                },
                score: r.score as f32,
                class: class.unwrap_or(r.category_id as usize),
            }
        })
        .collect();
    let mut picture = pixels.clone();
    draw_detections(&mut picture, &detections, &dataset.names);
    picture
}

/// Two pictures of the same size beside each other.
pub fn side_by_side([left, right]: &[RgbImage; 2]) -> RgbImage {
    const GAP_PX: u32 = 8;
    let height = left.height().max(right.height());
    let mut both = RgbImage::new(left.width() + GAP_PX + right.width(), height);
    for (picture, x) in [(left, 0), (right, left.width() + GAP_PX)] {
        let copied = both.copy_from(picture, x, 0);
        copied.expect("both pictures were made room for");
    }
    both
}

/// A picture small enough for a page, as JPEG in Base64.
pub(crate) fn jpeg_base64(picture: &RgbImage) -> Result<String, ImageError> {
    small_base64(picture, PICTURE_PX)
}

/// As [`jpeg_base64`], small enough for a row of them.
pub(crate) fn thumbnail_base64(picture: &RgbImage) -> Result<String, ImageError> {
    small_base64(picture, THUMBNAIL_PX)
}

fn small_base64(picture: &RgbImage, longest_px: u32) -> Result<String, ImageError> {
    let longest = picture.width().max(picture.height());
    let side = |px: u32| (px * longest_px.min(longest) / longest.max(1)).max(1);
    let (width, height) = (side(picture.width()), side(picture.height()));
    let small = resize(picture, width, height, FilterType::Triangle);
    let mut bytes = Vec::new();
    JpegEncoder::new_with_quality(&mut bytes, 82).encode_image(&small)?;
    Ok(base64::prelude::BASE64_STANDARD.encode(bytes))
}
