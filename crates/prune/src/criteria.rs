//! How much each channel matters: one file each, and the list of them.
use crate::{Groups, PruneError, Statistics};
use ir::Graph;
use std::collections::BTreeMap;

mod activation;
mod bn_gamma;
mod filter_norm;
mod reconstruction;
mod taylor;

pub use activation::ACTIVATION;
pub use bn_gamma::BN_GAMMA;
pub use filter_norm::{L1, L2};
pub use reconstruction::RECONSTRUCTION;
pub use taylor::TAYLOR;

/// A score for each channel of each prunable group, by the group's name; comparable between groups.
pub type Importance = BTreeMap<String, Vec<f64>>;

/// A named measure of importance.
#[derive(Clone, Copy, Debug)]
pub struct Criterion {
    /// Name, for options and reports.
    pub name: &'static str,
    /// Whether [`Statistics::sensitivities`] must be observed for it.
    pub needs_gradients: bool,
    /// Whether it looks at what the convolutions read that compute a group, beside what those read that read it.
    pub needs_writers: bool,
    /// The scores of all prunable groups, by what was observed of the graph; criteria of weights alone need nothing of
    /// it.
    ///
    /// # Errors
    /// `NoStatistics` and `NoBatchNormalization` where what it needs was not observed; `WeightNotConstant`, `Tensor` and
    /// `NotFinite` for weights that it cannot read.
    pub score: fn(&Graph, &Groups, &Statistics) -> Result<Importance, PruneError>,
}

/// All criteria.
pub const CRITERIA: &[&Criterion] = &[&RECONSTRUCTION, &ACTIVATION, &BN_GAMMA, &TAYLOR, &L1, &L2];

ir::choices!(Criterion, "criterion", CRITERIA);

/// Adds scores relative to their mean.
fn add_relative(total: &mut [f64], scores: &[f64]) {
    let mean = scores.iter().sum::<f64>() / scores.len().max(1) as f64;
    for (total, score) in total.iter_mut().zip(scores) {
        *total += if mean > 0.0 { score / mean } else { 0.0 };
    }
}
