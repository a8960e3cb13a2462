//! What `compress` measured of a detector, as metrics of a bundle.
use super::Metric;
use crate::{DeliverError, Digest, NoDigest};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What is read of a run's `metrics.json`.
#[derive(Clone, Debug, Deserialize)]
pub struct RunRecord {
    /// The model as it came.
    pub baseline: StageFigures,
    /// The result.
    pub quantized: StageFigures,
    /// What the run's own gate said.
    pub gate: RunGate,
    /// What is labelled in `val`.
    pub val_labelled: RunLabels,
    /// Images of `val` on which most was lost.
    pub val_lost: Vec<ImageLoss>,
    /// Digest of the calibration images, in hexadecimal digits.
    pub calibration_sha256: String,
    /// Digest of the images and labels of `val`, in hexadecimal digits.
    pub val_sha256: String,
}

/// What is no longer found on an image.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct ImageLoss {
    /// The file.
    pub image: PathBuf,
    /// Labelled objects that were found before.
    pub found_before: u64,
    /// Those that the result finds.
    pub found_after: u64,
}

/// Figures of a model.
#[derive(Clone, Debug, Deserialize)]
pub struct StageFigures {
    /// Size of its file.
    pub file_bytes: u64,
    /// Learned parameters.
    pub params: u64,
    /// Multiply-accumulate operations.
    pub macs: u64,
    /// Images that it was evaluated on.
    pub images: u64,
    /// By the COCO protocol.
    pub map_50_95: f64,
    /// At IoU 0.50.
    pub map_50: f64,
    /// `map_50_95` of small objects; none where there are none.
    pub map_small: Option<f64>,
    /// Of medium ones.
    pub map_medium: Option<f64>,
    /// Of large ones.
    pub map_large: Option<f64>,
    /// Every class.
    pub per_class: Vec<ClassFigures>,
}

/// Figures of a class.
#[derive(Clone, Debug, Deserialize)]
pub struct ClassFigures {
    /// Its name.
    pub name: String,
    /// Labelled objects.
    pub objects: u64,
    /// None for a class without objects.
    pub map_50_95: Option<f64>,
    /// None for a class without objects.
    pub map_50: Option<f64>,
}

/// The verdict of a run.
#[derive(Clone, Debug, Deserialize)]
pub struct RunGate {
    /// Share of the mAP that was to be kept.
    pub keep: f64,
    /// Whether the lower end of the interval had to keep it.
    pub strict: bool,
    /// Share that is kept.
    pub ratio: f64,
    /// Lower end of its 95 % interval.
    pub lower_bound: Option<f64>,
    /// Upper end.
    pub upper_bound: Option<f64>,
    /// Whether it is enough.
    pub passed: bool,
}

/// Labels of a set of images.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct RunLabels {
    /// Labelled objects.
    pub objects: u64,
}

impl RunRecord {
    /// Reads a run's `metrics.json`.
    ///
    /// # Errors
    /// `Read`; `Record` for another file.
    pub fn read(path: &Path) -> Result<Self, DeliverError> {
        let text = std::fs::read(path).map_err(|e| DeliverError::read(path, e))?;
        serde_json::from_slice(&text).map_err(|e| record(path, e.to_string()))
    }

    /// Digest of the images and labels of `val`.
    ///
    /// # Errors
    /// `NoDigest` where the record has none.
    pub fn val_digest(&self) -> Result<Digest, NoDigest> {
        format!("sha256:{}", self.val_sha256).parse()
    }

    /// What was measured and counted, by name; times are no metrics.
    pub fn metrics(&self) -> BTreeMap<String, Metric> {
        let (before, after) = (&self.baseline, &self.quantized);
        let counted = |before: u64, after: u64| Metric {
            value: after as f64,
            before: Some(before as f64),
            ratio_interval: None,
            samples: None,
        };
        let images = Some(after.images);
        let mut metrics = BTreeMap::from([
            ("file_bytes".to_owned(), counted(before.file_bytes, after.file_bytes)),
            ("params".to_owned(), counted(before.params, after.params)),
            ("macs".to_owned(), counted(before.macs, after.macs)),
        ]);
        let mut measured = |name: String, before: Option<f64>, after: Option<f64>, samples| {
            if let Some(value) = after {
                metrics.insert(name, Metric { value, before, ratio_interval: None, samples });
            }
        };
        measured("map_50_95".to_owned(), Some(before.map_50_95), Some(after.map_50_95), images);
        measured("map_50".to_owned(), Some(before.map_50), Some(after.map_50), images);
        for (name, figure) in SIZES {
            measured((*name).to_owned(), figure(before), figure(after), images);
        }
        let names = class_names(after.per_class.iter().map(|class| class.name.as_str()));
        for ((class, old), name) in after.per_class.iter().zip(&before.per_class).zip(names) {
            let samples = Some(class.objects);
            measured(format!("class.{name}.map_50_95"), old.map_50_95, class.map_50_95, samples);
            measured(format!("class.{name}.map_50"), old.map_50, class.map_50, samples);
        }
        if let Some(map) = metrics.get_mut("map_50_95") {
            let ends = self.gate.lower_bound.zip(self.gate.upper_bound);
            map.ratio_interval = ends.map(|(lower, upper)| [lower, upper]);
        }
        metrics
    }
}

/// A figure of a model, by its name.
type Figure = (&'static str, fn(&StageFigures) -> Option<f64>);

const SIZES: &[Figure] = &[
    ("map_small", |stage| stage.map_small),
    ("map_medium", |stage| stage.map_medium),
    ("map_large", |stage| stage.map_large),
];

/// Names of classes as they stand in names of metrics: of several classes of one name each has its number too.
pub fn class_names<'a>(names: impl Iterator<Item = &'a str> + Clone) -> Vec<String> {
    let count = |name: &str| names.clone().filter(|other| *other == name).count();
    let numbered = names.clone().enumerate();
    numbered
        .map(|(i, name)| if count(name) > 1 { format!("{name}#{i}") } else { name.to_owned() })
        .collect()
}

fn record(path: &Path, why: String) -> DeliverError {
    DeliverError::Record { path: PathBuf::from(path), why }
}
