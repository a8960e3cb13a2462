//! The gate: how much of the baseline's mAP an attempt keeps, and how certain that is.

use serde::{Deserialize, Serialize};
use yolo::metrics::RatioInterval;

use crate::recipe::GateRecipe;

/// One try at passing the gate.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Attempt {
    /// Share of the MACs that pruning was asked to remove; where contribution decided, the share that went.
    pub macs_ratio: f64,
    /// Folder with its models and plans.
    pub folder: String,
    /// mAP over the baseline's on the hold-out, which decides whether `val` is read at all; `None` without a hold-out.
    pub holdout: Option<RatioInterval>,
    /// mAP over the baseline's on `val`; `None` when the hold-out spoke against it.
    pub ratio: Option<f64>,
    /// Lower end of its 95 % interval.
    pub lower_bound: Option<f64>,
    /// Upper end.
    pub upper_bound: Option<f64>,
    /// Whether the gate passed.
    pub passed: bool,
}

/// The gate's verdict.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Gate {
    /// Share of the baseline's mAP asked for.
    pub keep: f64,
    /// Whether the lower bound had to keep it.
    pub strict: bool,
    /// The last attempt's ratio.
    pub ratio: f64,
    /// The last attempt's lower bound.
    pub lower_bound: f64,
    /// The last attempt's upper bound.
    pub upper_bound: f64,
    /// The verdict.
    pub passed: bool,
    /// All attempts, in order.
    pub attempts: Vec<Attempt>,
}

impl GateRecipe {
    /// Whether that is enough.
    pub(crate) fn passes(&self, interval: &RatioInterval) -> bool {
        let judged = if self.strict {
            interval.lower
        } else {
            interval.ratio
        };
        judged >= self.keep
    }
}
