//! What can be wrong with what is to be trained.
use ir::{IrError, OpError};
use runtime::RuntimeError;
use thiserror::Error;

/// Why a graph cannot be trained.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
#[allow(missing_docs)]
pub enum TrainError {
    #[error(
        "node `{node}` ({op_type}) has no gradient, so what lies before it cannot be trained; cut the graph in front of it, or train only what comes after it"
    )]
    InferenceOnly { node: String, op_type: String },
    #[error("node `{node}` ({op_type}): {feature} has no gradient")]
    UnsupportedGradient { node: String, op_type: String, feature: &'static str },
    #[error("value `{value}` is no constant of floats, so it cannot be trained")]
    NotAParameter { value: String },
    #[error("the nodes that read `{parameter}` hold it fixed, so it cannot be trained")]
    HeldFixed { parameter: String },
    #[error("parameter `{parameter}`: {error}")]
    Parameter { parameter: String, error: OpError },
    #[error(
        "{what} is no finite number: the weights as they were before are kept; a smaller rate may help"
    )]
    NotFinite { what: String },
    #[error(
        "the graph cannot be run on {images} images at once ({reason}); train it with a batch of 1"
    )]
    Batch { images: usize, reason: String },
    #[error(transparent)]
    Graph(#[from] IrError),
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
}
