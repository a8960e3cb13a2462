//! `bundle.json`: what a bundle holds, and where it comes from.
use crate::{Blob, DeliverError, Digest};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The number of the format; a reader refuses a higher one.
const FORMAT: u32 = 1;

/// What a bundle holds, and where it comes from. Nothing in it depends on when or by whom it was made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// The format's number, 1.
    pub yoloslim_bundle: u32,
    /// The detector's name: letters, digits, `-`, `_` and `.`.
    pub name: String,
    /// The family of its head.
    pub family: String,
    /// Names of its classes, in order.
    pub classes: Vec<String>,
    /// Its input.
    pub input: InputShape,
    /// From which confidence and up to which overlap objects are reported where nobody says otherwise.
    pub thresholds: Thresholds,
    /// Its models: file names by target.
    pub models: BTreeMap<String, String>,
    /// What was measured of it, by name: `map_50_95`, `macs` … Times are not here but in `timings.json`.
    pub metrics: BTreeMap<String, Metric>,
    /// On which images it was measured.
    pub data: DataRecord,
    /// What it was made of.
    pub provenance: Provenance,
    /// Every file of the bundle, by name.
    pub files: BTreeMap<String, FileEntry>,
}

/// The input of a model, `[1, channels, height_px, width_px]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputShape {
    /// Channels.
    pub channels: usize,
    /// Height in pixels.
    pub height_px: usize,
    /// Width in pixels.
    pub width_px: usize,
}

/// From which confidence, and up to which overlap, objects are reported.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Thresholds {
    /// Least confidence.
    pub conf: f32,
    /// Largest IoU of two objects of a class.
    pub iou: f32,
}

/// A figure, with what it was before compression and how sure it is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Metric {
    /// The figure.
    pub value: f64,
    /// The same of the model as it came.
    pub before: Option<f64>,
    /// Ends of the 95 % interval of `value / before`, where there is one.
    pub ratio_interval: Option<[f64; 2]>,
    /// On how many images, or objects of a class, it was measured; none for what is counted, not measured.
    pub samples: Option<u64>,
}

/// The images that metrics come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataRecord {
    /// Digest of images and labels.
    pub digest: Digest,
    /// Images.
    pub images: u64,
    /// Labelled objects.
    pub objects: u64,
}

/// What a bundle was made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provenance {
    /// Digest of the model as it came.
    pub model: Digest,
    /// The git commit that it came from.
    pub commit: Option<String>,
    /// The program that made the bundle, with its version.
    pub tool: String,
}

/// A file of a bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size_bytes: u64,
    /// What it is.
    pub role: FileRole,
}

/// What a file of a bundle is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FileRole {
    /// A model.
    Model,
    /// How models were made and quantized: the recipe, plans, calibration ranges.
    Config,
    /// For people: the report, the bill of materials.
    Document,
    /// What must be found in the golden frames.
    Golden,
    /// An image of the golden frames.
    Image,
}

impl FileEntry {
    /// Compares with what was read.
    ///
    /// # Errors
    /// `Size`, `Digest`.
    pub fn expect(&self, what: &str, digest: Digest, size_bytes: u64) -> Result<(), DeliverError> {
        self.blob().expect(what, digest, size_bytes)
    }

    /// As it is stored.
    pub fn blob(&self) -> Blob {
        Blob { digest: self.digest, size_bytes: self.size_bytes }
    }
}

impl Manifest {
    /// Reads a manifest; on an error what is wrong with it.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Format {
            yoloslim_bundle: u32,
        }
        let wrong = |e: serde_json::Error| format!("{} cannot be read: {e}", super::MANIFEST);
        // Of another format nothing else need be understood.
        let Format { yoloslim_bundle } = serde_json::from_slice(bytes).map_err(wrong)?;
        if yoloslim_bundle != FORMAT {
            return Err(format!(
                "its format is {yoloslim_bundle}, and this program reads {FORMAT}: use the version that made it, or a later one"
            ));
        }
        let manifest: Self = serde_json::from_slice(bytes).map_err(wrong)?;
        manifest.check()?;
        Ok(manifest)
    }

    /// As it is stored: one text for one manifest.
    pub(crate) fn to_json(&self) -> String {
        // Maps are ordered and no key is anything but a string: this cannot fail.
        let text = serde_json::to_string_pretty(self);
        text.unwrap_or_default() + "\n"
    }

    /// The number of the format that is written.
    pub const fn format() -> u32 {
        FORMAT
    }

    /// What contradicts itself.
    pub(crate) fn check(&self) -> Result<(), String> {
        if super::check_name(&self.name).is_err() || self.name.contains('/') {
            return Err(format!("`{}` is no name of a detector", self.name));
        }
        if self.models.is_empty() {
            return Err("it holds no model".to_owned());
        }
        for (target, file) in &self.models {
            let entry = self.files.get(file);
            if entry.is_none_or(|entry| entry.role != FileRole::Model) {
                return Err(format!("the model for {target}, {file}, is none of its files"));
            }
        }
        if self.metrics.values().any(|m| !m.value.is_finite()) {
            return Err("one of its metrics is no number".to_owned());
        }
        Ok(())
    }
}
