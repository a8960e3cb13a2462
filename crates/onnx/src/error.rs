//! What can be wrong with an ONNX file.
use ir::{IrError, OpError};
use std::path::PathBuf;
use thiserror::Error;

/// What is wrong with an ONNX file, or why it could not be read or written.
#[derive(Debug, Error)]
#[non_exhaustive]
#[allow(missing_docs)]
pub enum OnnxError {
    #[error("{}: {cause}", path.display())]
    File { path: PathBuf, cause: Box<OnnxError> },
    #[error("cannot read {}: {cause}", path.display())]
    Read { path: PathBuf, cause: std::io::Error },
    #[error("{}", ir::git_lfs::POINTER)]
    GitLfsPointer,
    #[error("not an ONNX model, or a truncated one: {0}")]
    Decode(prost::DecodeError),
    #[error("not an ONNX model, or a truncated one: it holds no graph")]
    NoGraph,
    #[error("the model has no outputs: there is nothing to compute")]
    NoOutputs,
    #[error(
        "input `{input}`: its shape {shape:?} holds {found} elements ({bytes} bytes), more than the {allowed} that are allowed; pass a smaller --imgsz, or export the model with a smaller one"
    )]
    InputTooLarge { input: String, shape: Vec<usize>, found: u128, bytes: u128, allowed: u128 },
    #[error(
        "opset of the default domain: expected {first} to {last}, found {found}; export the model with one of those, such as 17"
    )]
    Opset { first: i64, last: i64, found: String },
    #[error("{feature} `{name}` is not supported")]
    Unsupported { feature: &'static str, name: String },
    #[error("tensor `{tensor}`: its shape {dims:?} needs {expected} bytes, found {found}")]
    TensorBytes { tensor: String, dims: Vec<i64>, expected: u128, found: u128 },
    #[error("tensor `{tensor}`: axis {axis} has the length {found}")]
    TensorDim { tensor: String, axis: usize, found: i64 },
    #[error("tensor `{tensor}`: {cause}")]
    Tensor { tensor: String, cause: OpError },
    #[error("tensor `{tensor}`: external data `{location}` must lie inside the model's folder")]
    ExternalOutside { tensor: String, location: String },
    #[error("tensor `{tensor}`: external data `{location}` cannot be read: {cause}")]
    ExternalRead { tensor: String, location: String, cause: std::io::Error },
    #[error(
        "tensor `{tensor}`: external data `{location}`: bytes {offset}..{end} are asked for, the file has {file_bytes}"
    )]
    ExternalRange { tensor: String, location: String, offset: u64, end: u128, file_bytes: u64 },
    #[error(
        "tensor `{tensor}`: with it, external data of {found} bytes are asked for, more than the {allowed} that files of this size may give: its tensors overlap"
    )]
    ExternalOverlap { tensor: String, found: u64, allowed: u64 },
    #[error("tensor `{tensor}`: external data key `{key}`: expected a number, found `{found}`")]
    ExternalKey { tensor: String, key: String, found: String },
    #[error("node `{node}` is part of a cycle")]
    Cycle { node: String },
    #[error("value `{value}` is used by `{by}` but nothing produces it")]
    Undefined { value: String, by: String },
    #[error("value `{value}` has two producers")]
    TwoProducers { value: String },
    #[error("node `{node}` ({op_type}) with inputs {inputs}: {cause}")]
    Node { node: String, op_type: String, inputs: String, cause: Box<OpError> },
    #[error(
        "node `{node}` ({op_type}) of opset {found} cannot be kept as it is: {op_type} changed in opset {since}, and opset {expected} is the lowest that is written; it is kept without being understood: {reason}; export the model with opset {expected} or higher"
    )]
    CannotUpgrade {
        node: String,
        op_type: String,
        found: i64,
        since: i64,
        expected: i64,
        reason: String,
    },
    #[error("input `{input}`: expected a tensor of a known type, found none")]
    InputType { input: String },
    #[error(
        "a batch of {batch} is fixed in the file, and its operators hold on to it ({reason}): export it with batch 1 or a dynamic batch"
    )]
    FixedBatch { batch: usize, reason: String },
    #[error("input `{input}` has dynamic axes {axes:?}: pass --imgsz")]
    DynamicImgsz { input: String, axes: Vec<String> },
    #[error("input `{input}` has dynamic axes {axes:?}, which must be static")]
    DynamicAxes { input: String, axes: Vec<String> },
    #[error(
        "input `{input}` has the static image size {found:?} (height, width), --imgsz asks for {expected:?}"
    )]
    StaticImgsz { input: String, expected: [usize; 2], found: [usize; 2] },
    #[error("the encoded model needs {found} bytes, a protobuf file may have {expected}")]
    TooLarge { expected: usize, found: usize },
    #[error(transparent)]
    Ir(Box<IrError>),
}

impl From<IrError> for OnnxError {
    fn from(error: IrError) -> Self {
        Self::Ir(Box::new(error))
    }
}

impl From<prost::DecodeError> for OnnxError {
    fn from(error: prost::DecodeError) -> Self {
        Self::Decode(error)
    }
}
