//! The whole configuration of a run.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use prune::Budget;
use serde::{Deserialize, Serialize};

use crate::{CompressError, PruneBudget, PruneOptions, RepairStep};

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
#[serde(deny_unknown_fields, default)]
pub struct PruneRecipe {
    /// Shares of the MACs to remove, tried in order.
    pub macs: Vec<f64>,
    /// Shares of each group's cumulative contribution to keep, tried in order before `macs`.
    pub keep_contribution: Vec<f64>,
    /// How channels are ranked.
    pub criterion: String,
    /// How what is left is repaired.
    pub repair: BTreeSet<RepairStep>,
    /// Surviving widths are multiples of this.
    pub round_to: usize,
    /// No group falls below this many channels.
    pub floor: usize,
    /// Largest share that the first group may lose.
    pub shallow_ratio: f64,
    /// Largest share that the deepest group may lose.
    pub deep_ratio: f64,
}

impl Default for PruneRecipe {
    fn default() -> Self {
        Self::new(PruneOptions::default())
    }
}

impl PruneRecipe {
    /// These options, with nothing to try yet.
    pub fn new(options: PruneOptions) -> Self {
        Self {
            macs: vec![],
            keep_contribution: vec![],
            criterion: options.criterion,
            repair: options.repair,
            round_to: options.limits.round_to,
            floor: options.limits.floor,
            shallow_ratio: options.limits.shallow_ratio,
            deep_ratio: options.limits.max_layer_ratio,
        }
    }

    /// How channels are chosen and repaired.
    pub fn options(&self) -> PruneOptions {
        PruneOptions {
            criterion: self.criterion.clone(),
            repair: self.repair.clone(),
            limits: Budget {
                round_to: self.round_to,
                floor: self.floor,
                shallow_ratio: self.shallow_ratio,
                max_layer_ratio: self.deep_ratio,
                ..Budget::default()
            },
        }
    }

    /// What to try, in order.
    pub(crate) fn budgets(&self) -> Vec<PruneBudget> {
        let kept = self.keep_contribution.iter().copied();
        let macs = self.macs.iter().copied().map(PruneBudget::Macs);
        kept.map(PruneBudget::Contribution).chain(macs).collect()
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prune_recipe_with_little_written_takes_the_defaults_for_the_rest() {
        let written = "macs = [0.1]\nkeep_contribution = [0.9]\nrepair = [\"absorb\", \"match\"]\nround_to = 16\n";
        let recipe: PruneRecipe = toml::from_str(written).unwrap();
        let options = recipe.options();
        assert_eq!(options.criterion, PruneOptions::default().criterion);
        assert_eq!(
            options.repair,
            BTreeSet::from([RepairStep::Absorb, RepairStep::Match])
        );
        assert_eq!(
            (options.limits.round_to, options.limits.shallow_ratio),
            (16, 0.2)
        );
        let expected = [PruneBudget::Contribution(0.9), PruneBudget::Macs(0.1)];
        assert_eq!(recipe.budgets(), expected);
        assert!(toml::from_str::<PruneRecipe>("repair = [\"magic\"]").is_err());
    }
}
