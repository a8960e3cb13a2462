//! Detections drawn into images, and images saved.

use std::convert::Infallible;
use std::io::Cursor;
use std::path::Path;

use embedded_graphics::Pixel;
use embedded_graphics::draw_target::DrawTarget;
use embedded_graphics::geometry::{OriginDimensions, Point, Size};
use embedded_graphics::mono_font::iso_8859_1::{FONT_6X10, FONT_9X15_BOLD, FONT_10X20};
use embedded_graphics::mono_font::{MonoFont, MonoTextStyle};
use embedded_graphics::pixelcolor::{Rgb888, RgbColor};
use embedded_graphics::prelude::Drawable;
use embedded_graphics::text::{Baseline, Text};
use image::codecs::jpeg::JpegEncoder;
use image::{ImageFormat, Rgb, RgbImage};

use crate::{Detection, YoloError, whole_file};

const JPEG_QUALITY: u8 = 92;

/// Draws every detection as a frame with `name score` on it, the best on top; labels avoid each other where there is room.
///
/// Colours go by class. Names that the Latin-1 fonts cannot show read `class 7`.
pub fn draw_detections(image: &mut RgbImage, detections: &[Detection], names: &[String]) {
    let style = Style::for_image(image);
    let size = [image.width(), image.height()].map(i64::from);
    let mut order: Vec<&Detection> = detections.iter().collect();
    order.sort_by(|a, b| b.score.total_cmp(&a.score));
    let mut labels: Vec<(String, Area)> = Vec::new();
    for detection in &order {
        let text = format!("{} {:.2}", class_name(detection.class, names), detection.score);
        let taken: Vec<Area> = labels.iter().map(|l| l.1).collect();
        let label_size = style.label_size(&text);
        labels.push((text, label_area(frame(detection, size), label_size, size, &taken)));
    }
    for detection in order.iter().rev() {
        draw_frame(image, frame(detection, size), detection.class, &style);
    }
    for (detection, (text, area)) in order.iter().zip(&labels).rev() {
        draw_label(image, text, *area, detection.class, &style);
    }
}

/// Saves an image as PNG or JPEG, as the extension says, under a temporary name first.
///
/// # Errors
/// `ImageFormat` for another extension; `Write` if the folder or the disk refuses.
pub fn save_image(image: &RgbImage, path: &Path) -> Result<(), YoloError> {
    let extension = path.extension().and_then(|e| e.to_str()).map(str::to_ascii_lowercase);
    let mut bytes = Vec::new();
    let encoded = match extension.as_deref() {
        Some("png") => image.write_to(&mut Cursor::new(&mut bytes), ImageFormat::Png),
        Some("jpg" | "jpeg") => {
            JpegEncoder::new_with_quality(&mut bytes, JPEG_QUALITY).encode_image(image)
        }
        _ => {
            return Err(YoloError::ImageFormat { path: path.to_owned() });
        }
    };
    encoded.map_err(|error| YoloError::Write {
        path: path.to_owned(),
        cause: std::io::Error::other(error),
    })?;
    whole_file::write(path, &bytes)
}

/// The colour of a class: hues a golden angle apart, so that neighbours differ.
fn class_color(class: usize) -> [u8; 3] {
    let hue = (class as f64 * 137.507_764).rem_euclid(360.0) / 60.0;
    // Every hue comes round again after a dozen classes, in another brightness.
    let value = [1.0, 0.75, 0.9][class / 12 % 3];
    let saturation = [0.85, 0.9, 0.6][class / 12 % 3];
    let channel = |offset: f64| {
        let k = (offset + hue).rem_euclid(6.0);
        let weight = k.min(4.0 - k).clamp(0.0, 1.0);
        (value * (1.0 - saturation * weight) * 255.0).round() as u8
    };
    [channel(5.0), channel(3.0), channel(1.0)]
}

/// Line and letter sizes.
struct Style {
    thickness: u32,
    font: &'static MonoFont<'static>,
    /// Pixels that a font's pixel is wide and high.
    magnification: u32,
}

impl Style {
    fn for_image(image: &RgbImage) -> Self {
        let side = (image.width() + image.height()) / 2;
        let (font, magnification) = match side {
            0..400 => (&FONT_6X10, 1),
            400..900 => (&FONT_9X15_BOLD, 1),
            _ => (&FONT_10X20, (side / 900).max(1)),
        };
        Self { thickness: (side / 320).max(1), font, magnification }
    }

    /// Width and height of `label` with a margin around it.
    fn label_size(&self, label: &str) -> [i64; 2] {
        let letter = self.font.character_size;
        let letters = label.chars().count() as u32;
        let width = letters * (letter.width + self.font.character_spacing) + 2;
        let scale = i64::from(self.magnification);
        [i64::from(width) * scale, i64::from(letter.height) * scale]
    }
}

/// `[left, top, right, bottom)` in pixels.
type Area = [i64; 4];

/// The pixels of a detection's box, at least one.
fn frame(detection: &Detection, [width, height]: [i64; 2]) -> Area {
    let pixel = |value: f32, limit: i64| (value.round() as i64).clamp(0, limit);
    let left = pixel(detection.bbox.left, width - 1);
    let top = pixel(detection.bbox.top, height - 1);
    let right = pixel(detection.bbox.right, width).max(left + 1);
    let bottom = pixel(detection.bbox.bottom, height).max(top + 1);
    [left, top, right, bottom]
}

/// Where a label hides least of those already placed: above the box, below it, at its other end, inside it.
fn label_area(
    [left, top, right, bottom]: Area,
    [label_width, label_height]: [i64; 2],
    [width, height]: [i64; 2],
    taken: &[Area],
) -> Area {
    let [above, below] = [top - label_height, bottom];
    let places = [
        (left, above),
        (left, below),
        (right - label_width, above),
        (right - label_width, below),
        (left, top),
        (right, top),
        (left - label_width, top),
    ];
    let fits = |&(_, y): &(i64, i64)| y >= 0 && y + label_height <= height;
    let area = |(x, y): (i64, i64)| {
        let x = x.min(width - label_width).max(0);
        [x, y, x + label_width, y + label_height]
    };
    let hidden = |a: &Area| -> i64 { taken.iter().map(|b| overlap(a, b)).sum() };
    let inside = places.into_iter().filter(fits).map(area);
    inside.min_by_key(hidden).unwrap_or(area((left, top)))
}

/// Pixels in both.
fn overlap(a: &Area, b: &Area) -> i64 {
    let side = |low: usize, high: usize| (a[high].min(b[high]) - a[low].max(b[low])).max(0);
    side(0, 2) * side(1, 3)
}

fn draw_frame(image: &mut RgbImage, [left, top, right, bottom]: Area, class: usize, style: &Style) {
    let (color, line) = (class_color(class), i64::from(style.thickness));
    fill(image, [left, top, right, top + line], color);
    fill(image, [left, bottom - line, right, bottom], color);
    fill(image, [left, top, left + line, bottom], color);
    fill(image, [right - line, top, right, bottom], color);
}

fn draw_label(image: &mut RgbImage, text: &str, area: Area, class: usize, style: &Style) {
    let color = class_color(class);
    fill(image, area, color);
    let mut letters = Letters { image, left: area[0], top: area[1], style };
    let text_style = MonoTextStyle::new(style.font, ink_on(color));
    let text = Text::with_baseline(text, Point::new(1, 0), text_style, Baseline::Top);
    let Ok(_) = text.draw(&mut letters);
}

/// The name, if the fonts have all of its letters.
fn class_name(class: usize, names: &[String]) -> String {
    let drawable = |c: char| matches!(c, ' '..='~' | '\u{a0}'..='\u{ff}');
    match names.get(class) {
        Some(name) if !name.is_empty() && name.chars().all(drawable) => name.clone(),
        _ => format!("class {class}"),
    }
}

/// Fills `[left, top, right, bottom)` as far as it lies in the image.
fn fill(image: &mut RgbImage, [left, top, right, bottom]: Area, color: [u8; 3]) {
    let (width, height) = (i64::from(image.width()), i64::from(image.height()));
    for y in top.max(0)..bottom.min(height) {
        for x in left.max(0)..right.min(width) {
            image.put_pixel(x as u32, y as u32, Rgb(color));
        }
    }
}

/// Black or white, whichever reads better; by luma of ITU-R BT.601.
fn ink_on([red, green, blue]: [u8; 3]) -> Rgb888 {
    let luma = 299 * u32::from(red) + 587 * u32::from(green) + 114 * u32::from(blue);
    if luma > 128_000 { Rgb888::BLACK } else { Rgb888::WHITE }
}

/// Where glyphs are drawn: magnified, at a place in the image.
struct Letters<'i> {
    image: &'i mut RgbImage,
    left: i64,
    top: i64,
    style: &'i Style,
}

impl OriginDimensions for Letters<'_> {
    fn size(&self) -> Size {
        Size::new(self.image.width(), self.image.height())
    }
}

impl DrawTarget for Letters<'_> {
    type Color = Rgb888;
    type Error = Infallible;

    fn draw_iter<I>(&mut self, pixels: I) -> Result<(), Infallible>
    where
        I: IntoIterator<Item = Pixel<Rgb888>>,
    {
        let scale = i64::from(self.style.magnification);
        for Pixel(point, color) in pixels {
            let left = self.left + i64::from(point.x) * scale;
            let top = self.top + i64::from(point.y) * scale;
            let area = [left, top, left + scale, top + scale];
            fill(self.image, area, [color.r(), color.g(), color.b()]);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::{BoxXyxy, read_rgb};

    fn detection(bbox: [f32; 4], class: usize) -> Detection {
        let [left, top, right, bottom] = bbox;
        Detection { bbox: BoxXyxy { left, top, right, bottom }, score: 0.87, class }
    }

    #[test]
    fn draw_detections_frame_and_label_have_the_class_color() {
        let mut image = RgbImage::new(640, 480);
        let names = vec!["person".to_owned(), "été".to_owned()];
        let shown = [detection([100.0, 100.0, 300.0, 400.0], 1)];
        draw_detections(&mut image, &shown, &names);
        let color = Rgb(class_color(1));
        for (x, y) in [(100, 250), (299, 250), (200, 399), (105, 98)] {
            assert_eq!(image.get_pixel(x, y), &color, "({x}, {y})");
        }
        assert_eq!(image.get_pixel(200, 250), &Rgb([0, 0, 0]));
        let label = (100..180).flat_map(|x| (85..100).map(move |y| (x, y)));
        let inks: BTreeSet<[u8; 3]> = label.map(|(x, y)| image.get_pixel(x, y).0).collect();
        assert!(inks.len() >= 2, "no letters on the label: {inks:?}");
    }

    #[test]
    fn draw_detections_strange_boxes_stay_in_the_image() {
        let strange = [
            [-1e9, -1e9, 1e9, 1e9],
            [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::NAN],
            [50.0, 50.0, 10.0, 10.0],
            [31.0, 31.0, 32.0, 32.0],
        ];
        for size in [1, 32, 5000] {
            let mut image = RgbImage::new(size, size.min(64));
            let shown = strange.map(|bbox| detection(bbox, 99));
            draw_detections(&mut image, &shown, &["工件".to_owned()]);
        }
    }

    #[test]
    fn label_area_crowded_labels_do_not_hide_each_other() {
        let (size, label) = ((640, 640), (100, 15));
        let boxes = [
            [300, 300, 320, 320],
            [305, 305, 325, 325],
            [310, 310, 330, 330],
            [0, 0, 20, 20],
            [630, 5, 640, 20],
        ];
        let mut taken: Vec<Area> = Vec::new();
        for frame in boxes {
            let area = label_area(frame, label.into(), size.into(), &taken);
            let within = area[0] >= 0 && area[1] >= 0 && area[2] <= size.0 && area[3] <= size.1;
            assert!(within, "{area:?}");
            assert!(taken.iter().all(|t| overlap(t, &area) == 0), "{area:?}");
            taken.push(area);
        }
        assert_eq!(taken[0], [300, 285, 400, 300], "above, where there is room");
    }

    #[test]
    fn class_color_first_classes_are_distinct() {
        let colors: BTreeSet<[u8; 3]> = (0..80).map(class_color).collect();
        assert_eq!(colors.len(), 80);
    }

    #[test]
    fn save_image_png_reads_back_equal() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let image = RgbImage::from_fn(7, 5, |x, y| Rgb([x as u8 * 30, y as u8 * 50, 9]));
        let png = folder.path().join("a.PNG");
        save_image(&image, &png).expect("writable");
        assert_eq!(read_rgb(&png).expect("just written"), image);
        let jpeg = folder.path().join("a.jpeg");
        save_image(&image, &jpeg).expect("writable");
        assert_eq!(read_rgb(&jpeg).expect("just written").dimensions(), (7, 5));
    }

    #[test]
    fn save_image_unknown_extension_or_folder_says_so() {
        let image = RgbImage::new(1, 1);
        let cases = [
            ("a.gif", "a.gif: images are written as .png, .jpg or .jpeg"),
            ("no/such/a.png", "cannot write no/such/a.png: "),
        ];
        for (path, expected) in cases {
            let message = save_image(&image, Path::new(path)).expect_err(path).to_string();
            assert!(message.starts_with(expected), "{message}");
        }
    }
}
