//! What makes a family of detectors.
use super::predictions::Kind;
use crate::network::NetworkOptions;
use crate::{Preprocess, Thresholds, YoloError};
use ir::{Graph, Tail};

/// One family of detectors.
#[derive(Debug)]
pub struct Family {
    /// Name for `--family` and listings.
    pub name: &'static str,
    /// How images are prepared.
    pub preprocess: Preprocess,
    /// What its own tools show as a detection.
    pub thresholds: Thresholds,
    /// Whether a head is of the family.
    pub(crate) fits: fn(&Evidence<'_>) -> bool,
    /// Whether the best boxes are picked inside the graph, so that nothing is left to suppress.
    pub(crate) picks: bool,
    /// How boxes are predicted where nothing but the family's name tells it.
    pub(crate) kind: Kind,
    /// What its outputs are, in words.
    pub(crate) gives: &'static str,
    /// Builds its network with random weights; `None` where only trained models of the family are taken.
    pub(crate) network: Option<BuildNetwork>,
}

/// From the sizes of a network to its graph.
pub(crate) type BuildNetwork = fn(&NetworkOptions) -> Result<Graph, YoloError>;

impl Family {
    /// The family's network with random weights, for RGB images divided by 255.
    ///
    /// # Errors
    /// `NoNetwork` for a family that is not built, `NetworkOption` for sizes that no network has.
    pub fn network(&self, options: &NetworkOptions) -> Result<Graph, YoloError> {
        let build = self.network.ok_or(YoloError::NoNetwork { family: self.name })?;
        build(options)
    }
}

/// What is known of a head.
pub(crate) struct Evidence<'a> {
    pub(crate) graph: &'a Graph,
    pub(crate) tail: &'a Tail,
    /// How its output convolutions predict a box.
    pub(crate) kind: Kind,
    /// Whether the best boxes are picked inside the graph, so that nothing is left to suppress.
    pub(crate) is_picked: bool,
    /// Whether the family was named by the user.
    pub(crate) is_forced: bool,
}
