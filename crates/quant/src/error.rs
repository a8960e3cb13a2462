//! What can be wrong with a quantization.
use ir::{IrError, OpError};
use thiserror::Error;

/// What is wrong with a graph, a plan or an observed range.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
#[allow(missing_docs)]
pub enum QuantError {
    #[error(
        "node `{node}` is a BatchNormalization: fold it into its convolution before quantization"
    )]
    UnfoldedBatchNormalization { node: String },
    #[error(
        "the model is quantized already (node `{node}`, {op_type}): give the float model that it was made from"
    )]
    AlreadyQuantized { node: String, op_type: String },
    #[error("value `{value}` of the plan is not in the graph")]
    UnknownValue { value: String },
    #[error("no range was observed for value `{value}`")]
    MissingRange { value: String },
    #[error("value `{value}`: range [{min}, {max}] is not finite or not in order")]
    BadRange { value: String, min: f32, max: f32 },
    #[error("weight `{value}`: element {index} is {found}")]
    NonFiniteWeight { value: String, index: usize, found: f64 },
    #[error("value `{value}` is planned as a weight and is not a constant")]
    NotConstant { value: String },
    #[error("parameters of value `{value}`: {cause}")]
    Params { value: String, cause: Box<OpError> },
    #[error("opset {found}: per_channel needs opset 13, and node `{node}` cannot be upgraded")]
    Opset { found: i64, node: String },
    #[error("value `{value}` has a line break in its name, which a calibration cache cannot hold")]
    UnwritableName { value: String },
    #[error(transparent)]
    Ir(#[from] IrError),
}
