//! Golden frames: images of which it is known what a good model detects.
use crate::ServeError;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;
use yolo::{BoxXyxy, CompiledDetector, Detection, Thresholds, iou, read_rgb};

/// A box is found again where one of its class overlaps it by so much.
const FOUND_IOU: f64 = 0.5;

/// Objects this near to the confidence from which they count may be found by one model and not by another.
const NEAR_CONF: f32 = 0.1;

/// How much a model may differ from what is golden.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tolerance {
    /// This share of the objects must be found again, and of those found must be golden.
    pub least_share: f64,
    /// Boxes that are found again must on average overlap the golden ones by so much (IoU).
    pub least_mean_iou: f64,
}

impl Tolerance {
    /// The frames are those of another model, which is as good.
    pub const ANOTHER_MODEL: Self = Self { least_share: 0.9, least_mean_iou: 0.0 };

    /// The frames are this model's own: an engine of another instruction set differs in the last bits alone.
    pub const SAME_MODEL: Self = Self { least_share: 0.95, least_mean_iou: 0.9 };
}

/// What a model found in golden frames.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct GoldenResult {
    /// Frames that were looked at.
    pub images: usize,
    /// Objects that are golden, and surely so.
    pub expected: usize,
    /// Those of them that were not found.
    pub missed: usize,
    /// Objects that were found, and surely so.
    pub found: usize,
    /// Those of them that are not golden.
    pub wrong: usize,
    /// Mean IoU of the golden boxes that were found with what was found.
    pub mean_iou: f64,
    /// How long each frame took, from pixels to boxes, in order.
    pub times_ms: Vec<f64>,
}

impl GoldenResult {
    /// Compares with what may differ.
    ///
    /// # Errors
    /// `Golden` where too little is found again, too much that is not golden, or in other places.
    pub fn judge(&self, tolerance: Tolerance) -> Result<(), ServeError> {
        let Tolerance { least_share, least_mean_iou } = tolerance;
        let enough = |bad: usize, all: usize| (all - bad) as f64 >= least_share * all as f64;
        let Self { expected, missed, found, wrong, mean_iou, .. } = self;
        let why = if !enough(*missed, *expected) || !enough(*wrong, *found) {
            let percent = 100.0 * (1.0 - least_share);
            format!(
                "{missed} of {expected} objects are not found, and {wrong} of {found} found are none; {percent:.0} % may"
            )
        } else if *mean_iou < least_mean_iou {
            format!("boxes overlap the golden ones by {mean_iou:.2}, and must by {least_mean_iou}")
        } else {
            return Ok(());
        };
        Err(ServeError::Golden { why })
    }
}

/// Images and the objects in them, as `detect --json` wrote them.
#[derive(Clone, Debug, Deserialize)]
pub struct Golden {
    conf: f32,
    iou: f32,
    images: Vec<Image>,
    /// The file's folder, for images by relative paths.
    #[serde(skip)]
    folder: PathBuf,
}

#[derive(Clone, Debug, Deserialize)]
struct Image {
    image: PathBuf,
    detections: Vec<Object>,
}

#[derive(Clone, Debug, Deserialize)]
struct Object {
    name: String,
    score: f32,
    bbox: BoxXyxy,
}

impl Golden {
    /// Reads what `detect --json` wrote.
    ///
    /// # Errors
    /// `Read`; `Golden` for another JSON, or one without objects, which would prove nothing.
    pub fn read(path: &Path) -> Result<Self, ServeError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ServeError::Read { path: path.to_path_buf(), source })?;
        let refuse = |why: String| ServeError::Golden { why: format!("{}: {why}", path.display()) };
        let mut golden: Self = serde_json::from_str(&text)
            .map_err(|e| refuse(format!("not what `detect --json` writes: {e}")))?;
        golden.folder = path.parent().unwrap_or(Path::new("")).to_path_buf();
        let certain = golden.images.iter().flat_map(|image| &image.detections);
        if !certain.into_iter().any(|object| golden.is_certain(object.score)) {
            let least = golden.conf + NEAR_CONF;
            return Err(refuse(format!("no object with a confidence from {least}")));
        }
        Ok(golden)
    }

    fn is_certain(&self, score: f32) -> bool {
        score >= self.conf + NEAR_CONF
    }

    /// Runs a model on the images, on one thread, and compares what it finds; `labels` are the names of its classes.
    ///
    /// # Errors
    /// `Yolo` where an image cannot be read or the model does not run.
    pub fn check(
        &self,
        detector: &CompiledDetector,
        labels: &[Arc<str>],
    ) -> Result<GoldenResult, ServeError> {
        let mut session = detector.session(1)?;
        let conf = (self.conf - NEAR_CONF).max(0.01);
        let mut result = GoldenResult { images: self.images.len(), ..GoldenResult::default() };
        let mut overlaps = 0.0;
        for image in &self.images {
            let at_hand = self.folder.join(&image.image);
            let path = if at_hand.exists() { &at_hand } else { &image.image };
            let pixels = [read_rgb(path)?];
            let start = Instant::now();
            let found = session.detect(&pixels, Thresholds { conf, iou: self.iou })?;
            result.times_ms.push(start.elapsed().as_secs_f64() * 1e3);
            for golden in image.detections.iter().filter(|o| self.is_certain(o.score)) {
                result.expected += 1;
                let best = found.iter().map(|f| overlap(golden, f, labels)).fold(0.0, f64::max);
                result.missed += usize::from(best < FOUND_IOU);
                overlaps += if best < FOUND_IOU { 0.0 } else { best };
            }
            for found in found.iter().filter(|f| self.is_certain(f.score)) {
                result.found += 1;
                let golden = |o: &Object| overlap(o, found, labels) >= FOUND_IOU;
                result.wrong += usize::from(!image.detections.iter().any(golden));
            }
        }
        let again = result.expected - result.missed;
        result.mean_iou = if again == 0 { 0.0 } else { overlaps / again as f64 };
        Ok(result)
    }
}

/// How far two objects overlap; not at all where they are of two classes.
fn overlap(golden: &Object, found: &Detection, labels: &[Arc<str>]) -> f64 {
    if labels.get(found.class).is_none_or(|label| **label != *golden.name) {
        return 0.0;
    }
    iou(&golden.bbox.xywh(), &found.bbox.xywh())
}
