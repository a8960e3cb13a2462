//! What can be wrong with an operator or a graph.
use crate::DataType;
use thiserror::Error;

/// What is wrong with one application of an operator; the caller adds the node.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
#[allow(missing_docs)]
pub enum OpError {
    #[error("expected {expected} inputs, found {found}")]
    InputCount { expected: &'static str, found: usize },
    #[error("expected {expected} outputs, found {found}")]
    OutputCount { expected: usize, found: usize },
    #[error("input {input}: expected rank {expected}, found shape {found:?}")]
    Rank { input: usize, expected: &'static str, found: Vec<usize> },
    #[error("input {input}, axis {axis}: expected length {expected}, found {found}")]
    AxisLength { input: usize, axis: usize, expected: usize, found: usize },
    #[error("axis {axis} is outside a tensor of rank {rank}")]
    Axis { axis: i64, rank: usize },
    #[error("index {index} is outside axis {axis} of length {length}")]
    Index { axis: usize, index: i64, length: usize },
    #[error("shapes {a:?} and {b:?} do not broadcast")]
    Broadcast { a: Vec<usize>, b: Vec<usize> },
    #[error("expected elements of type {expected}, found {found}")]
    DType { expected: DataType, found: DataType },
    #[error("elements of type {found} are not supported here")]
    UnsupportedDType { found: DataType },
    #[error("shape {shape:?} is too large")]
    TooLarge { shape: Vec<usize> },
    #[error("shape {shape:?} needs {expected} elements, found {found}")]
    ElementCount { shape: Vec<usize>, expected: usize, found: usize },
    #[error("attribute `{name}` is missing")]
    MissingAttribute { name: &'static str },
    #[error("attribute `{name}`: expected {expected}, found {found}")]
    Attribute { name: String, expected: &'static str, found: String },
    #[error("attribute `{name}` is not known for this operator")]
    UnknownAttribute { name: String },
    #[error("{feature} is not supported")]
    Unsupported { feature: &'static str },
    #[error("scale of channel {channel} must be finite and positive, found {found}")]
    BadScale { channel: usize, found: f32 },
    #[error("zero_point {found} of channel {channel} is outside {dtype}")]
    BadZeroPoint { channel: usize, found: i32, dtype: DataType },
    #[error("input {input} must be constant and is computed from the model's input")]
    NotStatic { input: usize },
    #[error("the operator is not known to yoloslim and cannot be executed")]
    Opaque,
}

/// What is wrong with a graph.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
#[allow(missing_docs)]
pub enum IrError {
    #[error("node `{node}` ({op_type}) with inputs {inputs}: {cause}")]
    Op { node: String, op_type: String, inputs: String, cause: Box<OpError> },
    #[error("node `{node}` is part of a cycle")]
    Cycle { node: String },
    #[error("value `{value}` is used by `{by}` but nothing produces it")]
    Undefined { value: String, by: String },
    #[error("value `{value}` has two producers")]
    TwoProducers { value: String },
    #[error(
        "the shape of value `{value}` is not known: it comes from an operator yoloslim does not know"
    )]
    UnknownType { value: String },
    #[error("input `{input}`: expected {expected}, found {found}")]
    InputType { input: String, expected: String, found: String },
    #[error("the graph has {expected} inputs, {found} were given")]
    InputCount { expected: usize, found: usize },
    #[error("rewrite `{rewrite}`: {cause}")]
    Rewrite { rewrite: &'static str, cause: Box<IrError> },
}
