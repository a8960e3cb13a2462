//! The whole configuration of a run.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::CompressError;

/// `recipe.toml`: everything that decides what a run gives, seeds included.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// The detector.
    pub model: PathBuf,
    /// Its content.
    pub model_sha256: String,
    /// Family, where it was named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub family: Option<String>,
    /// Height and width that dynamic axes are bound to, in pixels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub imgsz: Option<[usize; 2]>,
    /// The data set.
    pub data: PathBuf,
    /// Seed of everything drawn.
    pub seed: u64,
    /// Instruction set of the engine: sums differ in their last bits between them.
    pub isa: String,
    /// Images that are looked at.
    pub images: ImagesRecipe,
    /// Pruning.
    pub prune: PruneRecipe,
    /// Quantization.
    pub quantize: QuantizeRecipe,
    /// The gate.
    pub gate: GateRecipe,
}

/// Images that are looked at while the model is changed.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ImagesRecipe {
    /// Split that they come from.
    pub split: String,
    /// How many to calibrate on.
    pub calibration: u32,
    /// How many to choose among attempts by.
    pub holdout: u32,
}

/// Pruning.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct PruneRecipe {
    /// Shares of the MACs to remove, tried in order.
    pub macs: Vec<f64>,
    /// How channels are ranked.
    pub criterion: String,
}

/// Quantization.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct QuantizeRecipe {
    /// Engine that will run the model.
    pub target: String,
    /// How ranges are chosen.
    pub calibrator: String,
}

/// The gate.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct GateRecipe {
    /// Share of the model's mAP that the result must keep.
    pub keep: f64,
    /// Whether the lower end of the 95 % interval must keep it.
    pub strict: bool,
}

impl Recipe {
    /// As it is written to `recipe.toml`.
    pub fn to_toml(&self) -> String {
        toml::to_string_pretty(self).expect("names, numbers and lists always serialise")
    }

    /// Reads a recipe.
    ///
    /// # Errors
    /// `Read` when it is not there, `Record` when it is none, with the line.
    pub fn read(path: &Path) -> Result<Self, CompressError> {
        let text = fs::read_to_string(path).map_err(|source| CompressError::Read {
            path: path.to_owned(),
            source,
        })?;
        toml::from_str(&text).map_err(|error| CompressError::Record {
            path: path.to_owned(),
            reason: error.to_string(),
        })
    }
}
