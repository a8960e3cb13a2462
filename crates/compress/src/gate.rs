//! The gate: how much of the baseline's mAP an attempt keeps, and how certain that is.

use serde::{Deserialize, Serialize};
use yolo::metrics::RatioInterval;

use crate::recipe::GateRecipe;
use crate::{PruneBudget, Reached, Shortfall};

/// One try at passing the gate.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Attempt {
    /// What was asked; several budgets where they came out the same.
    pub asked: Vec<PruneBudget>,
    /// Share of the MACs that pruning removed.
    pub macs_ratio: f64,
    /// Why that is less than was first asked; `None` where it is not.
    pub shortfall: Option<Shortfall>,
    /// Folder with its models and plans.
    pub folder: String,
    /// mAP over the baseline's on the hold-out, which decides whether `val` is read at all; `None` without a hold-out.
    pub holdout: Option<RatioInterval>,
    /// mAP over the baseline's on `val`; `None` when the hold-out spoke against it.
    pub ratio: Option<f64>,
    /// Lower end of its 95 % interval; `None` also where `val` has too few images for one.
    pub lower_bound: Option<f64>,
    /// Upper end.
    pub upper_bound: Option<f64>,
    /// Whether the gate passed.
    pub passed: bool,
}

impl Attempt {
    /// Pruned and not judged yet.
    pub(crate) fn new(folder: String, reached: &Reached) -> Self {
        Self {
            asked: vec![],
            macs_ratio: reached.macs_ratio,
            shortfall: reached.shortfall,
            folder,
            holdout: None,
            ratio: None,
            lower_bound: None,
            upper_bound: None,
            passed: false,
        }
    }
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
    /// The last attempt's lower bound; `None` where `val` has too few images for an interval.
    pub lower_bound: Option<f64>,
    /// The last attempt's upper bound.
    pub upper_bound: Option<f64>,
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
