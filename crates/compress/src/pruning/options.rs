//! What a caller decides of pruning.

use std::collections::BTreeSet;
use std::fmt;

use prune::criteria::RECONSTRUCTION;
use prune::{Criterion, Limits};
use serde::{Deserialize, Serialize};

use crate::RepairStep;

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
    /// What ranks channels.
    pub criterion: &'static Criterion,
    /// Repair; none at all when empty.
    pub repair: BTreeSet<RepairStep>,
    /// Blocks, floor and caps by depth.
    pub limits: Limits,
}

impl Default for PruneOptions {
    fn default() -> Self {
        Self {
            criterion: &RECONSTRUCTION,
            repair: BTreeSet::from([RepairStep::Reconstruct]),
            limits: Limits::default(),
        }
    }
}

impl PruneBudget {
    /// Whether it asks for anything to go.
    pub(crate) fn removes(self) -> bool {
        match self {
            Self::Channels(ratio) | Self::Macs(ratio) => ratio > 0.0,
            Self::Contribution(keep) => keep < 1.0,
        }
    }

    /// Whether groups have to be measured for it.
    pub(super) fn needs_curves(self) -> bool {
        !matches!(self, Self::Contribution(_))
    }
}

impl PruneOptions {
    pub(crate) fn repairs(&self, step: RepairStep) -> bool {
        self.repair.contains(&step)
    }
}
