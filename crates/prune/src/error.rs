//! What can go wrong when a graph is pruned.
use ir::{IrError, OpError};
use thiserror::Error;

/// What is wrong with a request to prune.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
#[allow(missing_docs)]
pub enum PruneError {
    #[error("node `{node}` ({op_type}) links channels outside its tensors")]
    BadLink { node: String, op_type: String },
    #[error("the plan names group `{group}`, which the graph does not have")]
    UnknownGroup { group: String },
    #[error("group `{group}` cannot be pruned: {reason}")]
    FrozenGroup { group: String, reason: String },
    #[error("group `{group}` has {width} channels; channel {channel} is outside or listed twice")]
    BadChannel { group: String, channel: usize, width: usize },
    #[error("the plan removes all {width} channels of group `{group}`")]
    NothingLeft { group: String, width: usize },
    #[error("the plan was made for another graph: layer `{layer}` differs")]
    PlanMismatch { layer: String },
    #[error(
        "node `{node}`: weight `{weight}` is not a plain constant; prune before quantizing the model"
    )]
    WeightNotConstant { node: String, weight: String },
    #[error("group `{group}` has no BatchNormalization, and nothing was seen of its convolutions")]
    NoBatchNormalization { group: String },
    #[error("group `{group}`: nothing was seen of the convolutions that read it")]
    NoStatistics { group: String },
    #[error("group `{group}`: no gradient of a loss by its parameters was observed")]
    NoGradients { group: String },
    #[error("weight `{weight}` holds a number that is not finite")]
    NotFinite { weight: String },
    #[error("group `{group}`: expected {expected} scores of importance, found {found}")]
    ImportanceLength { group: String, expected: usize, found: usize },
    #[error("`{name}` must be {expected}, found {found}")]
    Limit { name: &'static str, expected: &'static str, found: f64 },
    #[error("value `{value}`: expected {expected} means, found {found}")]
    MeansLength { value: String, expected: usize, found: usize },
    #[error("metadata `{key}` does not describe this graph: {found}")]
    Metadata { key: &'static str, found: String },
    #[error("tensor `{value}`: {cause}")]
    Tensor { value: String, cause: OpError },
    #[error(transparent)]
    Graph(#[from] IrError),
}
