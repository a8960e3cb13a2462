//! Golden frames: images of which it is known what a good model detects.
use crate::ServeError;
use crate::model::ServedModel;
use serde::Deserialize;
use std::path::{Path, PathBuf};
use yolo::{BoxXyxy, Detection, Thresholds, iou, read_rgb};

/// A box is found again where one of its class overlaps it by so much.
const FOUND_IOU: f64 = 0.5;

/// Objects this near to the confidence from which they count may be found by one model and not by another.
const NEAR_CONF: f32 = 0.1;

/// This share of the objects must be found again, and of those found must be golden.
const LEAST_SHARE: f64 = 0.9;

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

    /// Runs a model on the images, and compares what it finds.
    ///
    /// # Errors
    /// `Golden` where too little is found again, or too much that is not golden; `Yolo` where an image cannot be read or the
    /// model does not run.
    pub fn check(&self, model: &ServedModel) -> Result<(), ServeError> {
        let mut detector = model.detector.session(1)?;
        let conf = (self.conf - NEAR_CONF).max(0.01);
        let (mut expected, mut missed, mut given, mut wrong) = (0, 0, 0, 0);
        for image in &self.images {
            let at_hand = self.folder.join(&image.image);
            let path = if at_hand.exists() { &at_hand } else { &image.image };
            let found = detector.detect(&[read_rgb(path)?], Thresholds { conf, iou: self.iou })?;
            for golden in image.detections.iter().filter(|o| self.is_certain(o.score)) {
                expected += 1;
                missed += usize::from(!found.iter().any(|f| same(golden, f, model)));
            }
            for found in found.iter().filter(|f| self.is_certain(f.score)) {
                given += 1;
                wrong += usize::from(!image.detections.iter().any(|o| same(o, found, model)));
            }
        }
        let enough = |bad: usize, all: usize| (all - bad) as f64 >= LEAST_SHARE * all as f64;
        if enough(missed, expected) && enough(wrong, given) {
            return Ok(());
        }
        Err(ServeError::Golden {
            why: format!(
                "{missed} of {expected} objects are not found, and {wrong} of {given} found are none; 1 in 10 may"
            ),
        })
    }
}

fn same(golden: &Object, found: &Detection, model: &ServedModel) -> bool {
    let overlap = iou(&golden.bbox.xywh(), &found.bbox.xywh());
    *model.label(found.class) == *golden.name && overlap >= FOUND_IOU
}
