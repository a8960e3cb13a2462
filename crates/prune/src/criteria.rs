//! How much each channel matters: one file each, and the list of them.
use crate::{Groups, PruneError};
use ir::Graph;
use std::collections::BTreeMap;

mod bn_gamma;
mod filter_norm;

pub use bn_gamma::BN_GAMMA;
pub use filter_norm::{L1, L2};

/// A score for each channel of each prunable group, by the group's name; comparable between groups.
pub type Importance = BTreeMap<String, Vec<f64>>;

/// A named measure of importance.
#[derive(Clone, Copy, Debug)]
pub struct Criterion {
    /// Name, for options and reports.
    pub name: &'static str,
    /// The scores of all prunable groups.
    pub score: fn(&Graph, &Groups) -> Result<Importance, PruneError>,
}

/// All criteria.
pub const CRITERIA: &[Criterion] = &[L1, L2, BN_GAMMA];
