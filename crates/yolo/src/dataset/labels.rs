//! YOLO label lines: `class x_center y_center width height`, or `class` and a polygon, all in 0..1.

use serde::Serialize;

use crate::metrics::GroundTruthObject;

/// How far outside of 0..1 a coordinate may lie: rounding of the tools that write labels.
const TOLERANCE: f64 = 0.01;

/// One labelled object.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Label {
    /// Class index.
    pub class: usize,
    /// Where it is.
    pub bbox: LabelBox,
    /// Area of its mask in square pixels, where the label says; else the box's area counts.
    pub area: Option<f64>,
    /// A group that is not labelled one by one.
    pub crowd: bool,
}

/// A box as its file gives it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub enum LabelBox {
    /// Centre, width and height as fractions of the image.
    Normalised([f64; 4]),
    /// Left, top, width and height in pixels.
    Pixels([f64; 4]),
}

/// How a line gives an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Form {
    /// Centre, width and height.
    Box,
    /// The corners of an outline.
    Polygon,
}

/// A label as it is compared with others of its file: its class, and its box in the bits of 32-bit floats.
pub(super) type LabelKey = (usize, [u32; 4], bool);

impl Label {
    /// By this, two labels are the same.
    pub(super) fn key(&self) -> LabelKey {
        let (LabelBox::Normalised(bbox) | LabelBox::Pixels(bbox)) = self.bbox;
        // Adding 0 makes -0 the same as 0.
        let bits = bbox.map(|v| (v as f32 + 0.0).to_bits());
        (self.class, bits, self.crowd)
    }

    /// Whether its box has no area.
    pub(super) fn is_flat(&self) -> bool {
        let (LabelBox::Normalised(bbox) | LabelBox::Pixels(bbox)) = self.bbox;
        bbox[2] <= 0.0 || bbox[3] <= 0.0
    }

    /// How far a normalised box reaches outside of the image, as a share of it.
    pub(super) fn overhang(&self) -> f64 {
        let LabelBox::Normalised([x, y, width, height]) = self.bbox else {
            return 0.0;
        };
        let beyond = |centre: f64, side: f64| (side / 2.0 - centre).max(centre + side / 2.0 - 1.0);
        beyond(x, width).max(beyond(y, height)).max(0.0)
    }

    /// The object in pixels of an image of this size.
    pub fn object(&self, width_px: u32, height_px: u32) -> GroundTruthObject {
        let (image_width, image_height) = (f64::from(width_px), f64::from(height_px));
        let bbox = match self.bbox {
            LabelBox::Pixels(bbox) => bbox,
            LabelBox::Normalised([x, y, width, height]) => [
                (x - width / 2.0) * image_width,
                (y - height / 2.0) * image_height,
                width * image_width,
                height * image_height,
            ],
        };
        let area = self.area.unwrap_or(bbox[2] * bbox[3]);
        GroundTruthObject { class: self.class, bbox, area, crowd: self.crowd }
    }
}

/// Reads one line; the error is the reason to skip it.
pub(super) fn parse_line(line: &str, classes: usize) -> Result<(Label, Form), String> {
    let mut fields = Vec::new();
    for text in line.split_ascii_whitespace() {
        let number: f64 =
            text.parse().map_err(|_| format!("`{}` is not a number", shortened(text)))?;
        if !number.is_finite() {
            return Err(format!("`{}` is not a finite number", shortened(text)));
        }
        fields.push(number);
    }
    let (class, coordinates) = match fields.split_first() {
        Some((&class, coordinates)) => (class, coordinates),
        None => return Err("expected 5 fields, found 0".to_owned()),
    };
    if class.fract() != 0.0 || class < 0.0 || class >= classes as f64 {
        return Err(format!("class {class} is not one of 0..{classes}"));
    }
    let (bbox, form) = match *coordinates {
        [x, y, width, height] => ([x, y, width, height], Form::Box),
        _ if coordinates.len() >= 6 && coordinates.len().is_multiple_of(2) => {
            (bounds(coordinates)?, Form::Polygon)
        }
        _ => {
            let found = fields.len();
            return Err(format!("expected 5 fields or a polygon (7, 9, …), found {found}"));
        }
    };
    for (name, value) in ["x", "y", "width", "height"].into_iter().zip(bbox) {
        let least = if matches!(name, "x" | "y") { -TOLERANCE } else { 0.0 };
        if !(least..=1.0 + TOLERANCE).contains(&value) {
            return Err(format!("{name} = {value} is outside of 0..1"));
        }
    }
    let label =
        Label { class: class as usize, bbox: LabelBox::Normalised(bbox), area: None, crowd: false };
    Ok((label, form))
}

/// The beginning of a text that may be long, since it stood where a number was expected.
fn shortened(text: &str) -> String {
    const SHOWN: usize = 40;
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Bounds of a polygon given as x, y pairs, as centre, width and height.
fn bounds(polygon: &[f64]) -> Result<[f64; 4], String> {
    if let Some(value) = polygon.iter().find(|v| !(-TOLERANCE..=1.0 + TOLERANCE).contains(*v)) {
        return Err(format!("polygon coordinate {value} is outside of 0..1"));
    }
    let along = |axis: usize| {
        let values = polygon.iter().skip(axis).step_by(2);
        values.fold((f64::MAX, f64::MIN), |(least, most), &v| (least.min(v), most.max(v)))
    };
    let ((left, right), (top, bottom)) = (along(0), along(1));
    Ok([(left + right) / 2.0, (top + bottom) / 2.0, right - left, bottom - top])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn parse_line_good_gives_box() {
        let cases = [
            ("2 0.5 0.5 0.25 0.5", [0.5, 0.5, 0.25, 0.5]),
            ("2.0\t0.5 0.5 0.25 0.5 ", [0.5, 0.5, 0.25, 0.5]),
            ("2 1.005 -0.005 1 0", [1.005, -0.005, 1.0, 0.0]),
            ("2 0.25 0.25 0.75 0.25 0.5 1", [0.5, 0.625, 0.5, 0.75]),
        ];
        for (line, expected) in cases {
            let (label, form) = parse_line(line, 3).expect(line);
            let corners = line.split_ascii_whitespace().count() > 5;
            assert_eq!(form == Form::Polygon, corners, "{line}");
            assert_eq!((label.class, label.bbox), (2, LabelBox::Normalised(expected)), "{line}");
        }
    }

    #[test]
    fn parse_line_bad_says_why() {
        let cases = [
            ("", "expected 5 fields, found 0"),
            ("0 0.5 0.5 0.1", "expected 5 fields or a polygon (7, 9, …), found 4"),
            ("0 0.5 0.5 0.1 0.1 0.9", "expected 5 fields or a polygon (7, 9, …), found 6"),
            ("3 0.5 0.5 0.1 0.1", "class 3 is not one of 0..3"),
            ("-1 0.5 0.5 0.1 0.1", "class -1 is not one of 0..3"),
            ("0.5 0.5 0.5 0.1 0.1", "class 0.5 is not one of 0..3"),
            ("0 0.5 nan 0.1 0.1", "`nan` is not a finite number"),
            ("0 0.5 dog 0.1 0.1", "`dog` is not a number"),
            ("0 1.5 0.5 0.1 0.1", "x = 1.5 is outside of 0..1"),
            ("0 0.5 0.5 0.1 -0.1", "height = -0.1 is outside of 0..1"),
            ("0 320 240 64 64", "x = 320 is outside of 0..1"),
            ("0 0.1 0.1 0.2 0.2 0.3 7", "polygon coordinate 7 is outside of 0..1"),
        ];
        for (line, expected) in cases {
            assert_eq!(parse_line(line, 3).expect_err(line), expected);
        }
    }

    proptest! {
        #[test]
        fn parse_line_any_text_gives_a_box_inside_or_an_error(line in "[-0-9.eE naif\t]{0,60}") {
            if let Ok((label, _)) = parse_line(&line, 4) {
                let object = label.object(100, 100);
                prop_assert!(label.class < 4);
                prop_assert!(object.bbox.iter().all(|v| (-60.0..=160.0).contains(v)));
            }
        }
    }
}
