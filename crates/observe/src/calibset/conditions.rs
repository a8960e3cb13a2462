//! Conditions that a detector meets seldom in its training images and often on a line, and which images show them.

use numerics::percentile;
use serde::Serialize;
use yolo::{ImageMeasures, iou};

/// Overlap (IoU) from which a box counts as overlapped.
const OVERLAP: f64 = 0.1;
/// Square root of an object's share of its image below which it is small: 32 of 640 pixels, COCO's limit at the usual input size.
const SMALL: f64 = 0.05;
/// Share of the set that shows a condition at most: the limits alone would call every image of a camera in the dark an extreme.
const RELATIVE: f64 = 0.1;

/// Where objects are known from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// They are labelled.
    Labels,
    /// A model found them.
    Detections,
    /// They are not known: crowding and small objects are not measured.
    Nothing,
}

/// The boxes of one image.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Objects {
    /// Left, top, width and height in pixels.
    pub boxes_px: Vec<[f64; 4]>,
    /// Width and height of the image.
    pub size_px: [u32; 2],
}

impl Objects {
    /// How many boxes another one overlaps.
    pub fn overlapped(&self) -> usize {
        let others = |i: usize| self.boxes_px.iter().enumerate().filter(move |(j, _)| *j != i);
        let boxes = self.boxes_px.iter().enumerate();
        boxes.filter(|(i, b)| others(*i).any(|(_, o)| iou(b, o) >= OVERLAP)).count()
    }

    /// How many boxes are small.
    pub fn small(&self) -> usize {
        let [width, height] = self.size_px.map(f64::from);
        let share = |b: &&[f64; 4]| (b[2] * b[3] / (width * height).max(1.0)).max(0.0).sqrt();
        self.boxes_px.iter().filter(|b| share(b) < SMALL).count()
    }
}

/// What is known of an image when it is asked for a condition.
pub struct Looks<'a> {
    /// Its figures.
    pub measures: &'a ImageMeasures,
    /// Its boxes, where they are known.
    pub objects: Option<&'a Objects>,
}

/// One condition.
pub struct Condition {
    /// Its name.
    pub name: &'static str,
    /// What is measured, and the limit, as a sentence's end.
    pub rule: &'static str,
    measure: fn(&Looks<'_>) -> Option<f64>,
    /// Beyond it an image shows the condition.
    pub limit: f64,
    /// Whether beyond is above.
    is_above: bool,
}

/// All conditions; what comes first is covered first where few extremes are asked for.
///
/// Limits were set on COCO's and DeepPCB's training images, so that between 1 and 10 % of COCO's photos pass each, and hold together
/// with `RELATIVE`.
pub const CONDITIONS: &[Condition] = &[
    Condition {
        name: "darkness",
        rule: "mean luminance of at most 60 of 255",
        measure: |looks| Some(looks.measures.luminance),
        limit: 60.0,
        is_above: false,
    },
    Condition {
        name: "strong light",
        rule: "at least 10 % of the pixels saturated",
        measure: |looks| Some(looks.measures.saturated_share),
        limit: 0.1,
        is_above: true,
    },
    Condition {
        name: "blur",
        rule: "variance of the Laplacian of at most 0.1 of that of the luminance",
        measure: |looks| Some(looks.measures.sharpness),
        limit: 0.1,
        is_above: false,
    },
    Condition {
        name: "noise",
        rule: "a standard deviation of at least 8 of 255",
        measure: |looks| Some(looks.measures.noise),
        limit: 8.0,
        is_above: true,
    },
    Condition {
        name: "occlusion",
        rule: "at least 4 boxes that others overlap (IoU 0.1)",
        measure: |looks| looks.objects.map(|o| o.overlapped() as f64),
        limit: 4.0,
        is_above: true,
    },
    Condition {
        name: "low contrast",
        rule: "90 % of the pixels within 100 of 255 levels",
        measure: |looks| Some(looks.measures.contrast()),
        limit: 100.0,
        is_above: false,
    },
    Condition {
        name: "small objects",
        rule: "at least 4 boxes below 1/20 of the image's side",
        measure: |looks| looks.objects.map(|o| o.small() as f64),
        limit: 4.0,
        is_above: true,
    },
];

impl Condition {
    /// Whether an image is beyond the absolute limit.
    pub fn is_beyond_limit(&self, looks: &Looks<'_>) -> bool {
        (self.measure)(looks).is_some_and(|v| self.beyond(v, self.limit))
    }

    fn beyond(&self, value: f64, limit: f64) -> bool {
        if self.is_above { value >= limit } else { value <= limit }
    }
}

/// Which images show one condition.
#[derive(Clone, Debug)]
pub struct Extremes {
    /// The condition.
    pub condition: &'static Condition,
    /// Value beyond which an image of this set shows it: the absolute limit, or the tenth of the set that is most extreme, whichever
    /// fewer images pass. `None` where it was not measured.
    pub threshold: Option<f64>,
    /// Positions of images that show it, the most extreme first.
    pub images: Vec<usize>,
}

impl std::fmt::Debug for Condition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// The conditions of a set of images.
#[derive(Clone, Debug)]
pub struct Conditions(pub Vec<Extremes>);

impl Conditions {
    /// Looks which images show which condition.
    pub fn of(all: &[Looks<'_>]) -> Self {
        let extremes = |condition: &'static Condition| {
            let values = all.iter().enumerate();
            let values = values.filter_map(|(i, l)| Some((i, (condition.measure)(l)?)));
            let mut values: Vec<(usize, f64)> = values.collect();
            if values.is_empty() {
                return Extremes { condition, threshold: None, images: Vec::new() };
            }
            let sign = if condition.is_above { -1.0 } else { 1.0 };
            values.sort_by(|a, b| (sign * a.1).total_cmp(&(sign * b.1)).then(a.0.cmp(&b.0)));
            let mut sorted: Vec<f64> = values.iter().map(|v| v.1).collect();
            sorted.sort_by(f64::total_cmp);
            let share = if condition.is_above { 1.0 - RELATIVE } else { RELATIVE };
            let relative = percentile(&sorted, share).unwrap_or(condition.limit);
            let threshold = if condition.is_above {
                relative.max(condition.limit)
            } else {
                relative.min(condition.limit)
            };
            let shown = values.into_iter().filter(|v| condition.beyond(v.1, threshold));
            // Of many equal values no more than their share.
            let most = (all.len() as f64 * RELATIVE).ceil() as usize;
            let images = shown.map(|v| v.0).take(most).collect();
            Extremes { condition, threshold: Some(threshold), images }
        };
        Self(CONDITIONS.iter().map(extremes).collect())
    }

    /// Names of the conditions that an image shows.
    pub fn names(&self, image: usize) -> Vec<&'static str> {
        let shown = self.0.iter().filter(|e| e.images.contains(&image));
        shown.map(|e| e.condition.name).collect()
    }
}

#[cfg(test)]
mod tests;
