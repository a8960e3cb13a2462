//! What a caller decides of pruning.

use std::collections::BTreeSet;
use std::fmt;

use prune::Budget;
use serde::{Deserialize, Serialize};

use crate::{CompressError, RepairStep};

/// How much is to be removed, which limits may not allow.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PruneBudget {
    /// A share of the prunable channels.
    Channels(f64),
    /// A share of the model's MACs.
    Macs(f64),
    /// What is left when each group keeps this share of its channels' cumulative contribution.
    #[serde(rename = "keep_contribution")]
    Contribution(f64),
}

impl fmt::Display for PruneBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = |share: f64| format!("{:.1} %", 100.0 * share);
        match *self {
            Self::Channels(ratio) => write!(f, "{} of the channels to go", percent(ratio)),
            Self::Macs(ratio) => write!(f, "{} of the MACs to go", percent(ratio)),
            Self::Contribution(keep) => {
                write!(f, "{} of each group's contribution to stay", percent(keep))
            }
        }
    }
}

/// How channels are chosen and what they leave is repaired.
#[derive(Clone, Debug, PartialEq)]
pub struct PruneOptions {
    /// Name of the criterion that ranks channels.
    pub criterion: String,
    /// Repair; none at all when empty.
    pub repair: BTreeSet<RepairStep>,
    /// Blocks, floor and caps by depth; its ratio is not read.
    pub limits: Budget,
}

impl Default for PruneOptions {
    fn default() -> Self {
        Self {
            criterion: "reconstruction".to_owned(),
            repair: BTreeSet::from([RepairStep::Reconstruct]),
            limits: Budget {
                max_layer_ratio: 0.875,
                ..Budget::default()
            },
        }
    }
}

impl PruneBudget {
    /// Whether groups have to be measured for it.
    pub(super) fn needs_curves(self) -> bool {
        !matches!(self, Self::Contribution(_))
    }
}

impl PruneOptions {
    pub(crate) fn criterion(&self) -> Result<&'static prune::Criterion, CompressError> {
        let listed = prune::CRITERIA.iter().find(|c| c.name == self.criterion);
        listed.ok_or_else(|| CompressError::UnknownName {
            what: "criterion",
            found: self.criterion.clone(),
            expected: prune::CRITERIA
                .iter()
                .map(|c| c.name)
                .collect::<Vec<_>>()
                .join(", "),
        })
    }

    pub(crate) fn repairs(&self, step: RepairStep) -> bool {
        self.repair.contains(&step)
    }
}
