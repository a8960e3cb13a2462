//! Letterbox: an image scaled into the network's input, and boxes scaled back.

pub(crate) mod resize;

use image::RgbImage;

use crate::BoxXyxy;

/// Gray of the padding, by which every family was trained.
pub const PADDING: u8 = 114;

/// Where the scaled image lies in the network's input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// In the middle; sizes rounded to nearest, ties to even (YOLOv5, v8, 11).
    Centered,
    /// In the corner; sizes rounded down (YOLOX).
    TopLeft,
}

/// Geometry of a letterbox.
///
/// # Units
/// Pixels; `size_*` of the network's input, `image_*` of the original, `new_*` of the scaled image.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Letterbox {
    /// Width of the network's input.
    pub size_w: usize,
    /// Height of the network's input.
    pub size_h: usize,
    /// Width of the original image.
    pub image_w: usize,
    /// Height of the original image.
    pub image_h: usize,
    /// Scaled over original, equal for both axes.
    pub ratio: f64,
    /// Padding left of the scaled image.
    pub left: usize,
    /// Padding above it.
    pub top: usize,
    /// Width of the scaled image.
    pub new_w: usize,
    /// Height of the scaled image.
    pub new_h: usize,
}

/// How an image becomes the network's input.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Preprocess {
    /// Where the resized image sits in the input.
    pub placement: Placement,
    /// What a pixel byte is multiplied by.
    pub scale: f32,
    /// Whether channels are blue, green, red.
    pub bgr: bool,
}

/// RGB from 0 to 1 in the middle of the input, as Ultralytics trains: every family that does not say otherwise.
pub const LETTERBOX: Preprocess =
    Preprocess { placement: Placement::Centered, scale: 1.0 / 255.0, bgr: false };

impl Letterbox {
    /// Fits an image into an input; both sizes are `[width, height]`.
    pub fn new(
        placement: Placement,
        [image_w, image_h]: [usize; 2],
        [size_w, size_h]: [usize; 2],
    ) -> Self {
        let ratio = (size_h as f64 / image_h as f64).min(size_w as f64 / image_w as f64);
        let scaled = |side: usize, limit: usize| {
            let side = side as f64 * ratio;
            let side = match placement {
                Placement::Centered => side.round_ties_even(),
                Placement::TopLeft => side.trunc(),
            };
            // A sliver of an image still has one row.
            (side as usize).clamp(1, limit.max(1))
        };
        let (new_w, new_h) = (scaled(image_w, size_w), scaled(image_h, size_h));
        let padding = |free: usize| match placement {
            // The 0.1 sends an odd pixel to the right and the bottom.
            Placement::Centered => (free as f64 / 2.0 - 0.1).round_ties_even() as usize,
            Placement::TopLeft => 0,
        };
        let (left, top) = (padding(size_w - new_w), padding(size_h - new_h));
        Self { size_w, size_h, image_w, image_h, ratio, left, top, new_w, new_h }
    }

    /// A box in input pixels as a box in original pixels, clipped to the image.
    pub fn to_image(&self, bbox: BoxXyxy) -> BoxXyxy {
        let ratio = self.ratio as f32;
        let back = |value: f32, padding: usize, limit: usize| {
            ((value - padding as f32) / ratio).clamp(0.0, limit as f32)
        };
        BoxXyxy {
            left: back(bbox.left, self.left, self.image_w),
            top: back(bbox.top, self.top, self.image_h),
            right: back(bbox.right, self.left, self.image_w),
            bottom: back(bbox.bottom, self.top, self.image_h),
        }
    }
}

/// The network's input as pixels: `[size_h, size_w, 3] u8`, RGB, padded with gray 114.
///
/// The image is scaled as OpenCV's `INTER_LINEAR` scales it, to the bit.
///
/// # Panics
/// If `geometry` was made for an image of another size.
pub fn letterbox(image: &RgbImage, geometry: &Letterbox) -> Vec<u8> {
    let &Letterbox { size_w, size_h, image_w, image_h, left, top, new_w, new_h, .. } = geometry;
    let found = (image.width() as usize, image.height() as usize);
    assert_eq!(found, (image_w, image_h), "the letterbox of another image");
    let scaled = resize::resize_linear(image.as_raw(), [image_w, image_h], [new_w, new_h]);
    let mut canvas = vec![PADDING; size_w * size_h * 3];
    for (y, row) in scaled.chunks_exact(new_w * 3).enumerate() {
        canvas[((top + y) * size_w + left) * 3..][..new_w * 3].copy_from_slice(row);
    }
    canvas
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    struct Case {
        placement: Placement,
        image: (usize, usize),
        size: (usize, usize),
        new: (usize, usize),
        at: (usize, usize),
    }

    #[test]
    fn letterbox_geometry_equals_the_families() {
        use Placement::{Centered, TopLeft};
        let case = |placement, image, size, new, at| Case { placement, image, size, new, at };
        let cases = [
            case(Centered, (640, 426), (640, 640), (640, 426), (0, 107)),
            case(Centered, (586, 640), (640, 640), (586, 640), (27, 0)),
            case(Centered, (1280, 720), (640, 640), (640, 360), (0, 140)),
            case(Centered, (810, 1080), (640, 640), (480, 640), (80, 0)),
            case(Centered, (640, 427), (640, 640), (640, 427), (0, 106)),
            case(Centered, (640, 429), (320, 320), (320, 214), (0, 53)),
            case(Centered, (640, 427), (320, 320), (320, 214), (0, 53)),
            case(Centered, (10_000, 3), (640, 640), (640, 1), (0, 319)),
            case(Centered, (100, 100), (640, 384), (384, 384), (128, 0)),
            case(TopLeft, (640, 427), (416, 416), (416, 277), (0, 0)),
            case(TopLeft, (500, 375), (416, 416), (416, 312), (0, 0)),
        ];
        for Case { placement, image, size, new, at } in cases {
            let geometry = Letterbox::new(placement, image.into(), size.into());
            assert_eq!((geometry.new_w, geometry.new_h), new, "{image:?} into {size:?}");
            assert_eq!((geometry.left, geometry.top), at, "{image:?} into {size:?}");
        }
    }

    #[test]
    fn to_image_outside_is_clipped() {
        let geometry = Letterbox::new(Placement::Centered, [1280, 720], [640, 640]);
        let bbox = BoxXyxy { left: -5.0, top: 100.0, right: 700.0, bottom: 320.0 };
        let expected = BoxXyxy { left: 0.0, top: 0.0, right: 1280.0, bottom: 360.0 };
        assert_eq!(geometry.to_image(bbox), expected);
    }

    /// A box in original pixels as a box in input pixels.
    fn to_input(geometry: &Letterbox, bbox: BoxXyxy) -> BoxXyxy {
        let ratio = geometry.ratio as f32;
        BoxXyxy {
            left: bbox.left * ratio + geometry.left as f32,
            top: bbox.top * ratio + geometry.top as f32,
            right: bbox.right * ratio + geometry.left as f32,
            bottom: bbox.bottom * ratio + geometry.top as f32,
        }
    }

    proptest! {
        #[test]
        fn letterbox_there_and_back_is_the_same_box(
            image in (1usize..4000, 1usize..4000),
            size in (1usize..40, 1usize..40),
            corner in (0f32..1.0, 0f32..1.0),
            top_left: bool,
        ) {
            let placement = if top_left { Placement::TopLeft } else { Placement::Centered };
            let geometry = Letterbox::new(placement, image.into(), [size.0 * 32, size.1 * 32]);
            prop_assert!(geometry.left + geometry.new_w <= geometry.size_w);
            prop_assert!(geometry.top + geometry.new_h <= geometry.size_h);
            let (width, height) = (image.0 as f32, image.1 as f32);
            let (left, top) = (corner.0 * width, corner.1 * height);
            let bbox = BoxXyxy { left, top, right: width, bottom: height };
            let back = geometry.to_image(to_input(&geometry, bbox));
            let tolerance = width.max(height) * 1e-4;
            for (a, b) in bbox.xywh().into_iter().zip(back.xywh()) {
                prop_assert!((a - b).abs() <= f64::from(tolerance), "{bbox:?} {back:?}");
            }
        }
    }
}
