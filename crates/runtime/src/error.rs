//! What can be wrong with compiling or running a plan.
use ir::{DataType, IrError, OpError};
use kernels::KernelError;
use thiserror::Error;

/// Why a graph cannot be compiled or run.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
#[allow(missing_docs)]
pub enum RuntimeError {
    #[error("node `{node}` ({op_type}) is not known to yoloslim and cannot be executed")]
    Opaque { node: String, op_type: String },
    #[error("value `{value}`: the runtime computes in f32, found {found}")]
    DType { value: String, found: DataType },
    #[error("value `{value}` cannot be observed: it is constant or exists only as integers")]
    NotObservable { value: String },
    #[error("value `{value}` is no parameter: only what the graph marks as one can change")]
    NotAParameter { value: String },
    #[error("parameter `{parameter}`: expected {expected} elements, found {found}")]
    ParameterLength { parameter: String, expected: usize, found: usize },
    #[error("the model has {expected} inputs, {found} were given")]
    InputCount { expected: usize, found: usize },
    #[error("input `{input}`: expected {expected} elements, found {found}")]
    InputLength { input: String, expected: usize, found: usize },
    #[error("the model has {expected} outputs, room for {found} was given")]
    OutputCount { expected: usize, found: usize },
    #[error("output {index}: expected room for {expected} elements, found {found}")]
    OutputLength { index: usize, expected: usize, found: usize },
    #[error(
        "running the model needs {needed} bytes of memory, and {available} are available; its largest value is {largest}: use a smaller image size or a smaller model"
    )]
    Memory { needed: usize, available: usize, largest: String },
    #[error(
        "node `{node}`: what is computed from constants alone would take {found} {unit}, more than the {allowed} that are allowed"
    )]
    Constants { node: String, unit: &'static str, found: u64, allowed: u64 },
    #[error("node `{node}`: {cause}")]
    Kernel { node: String, cause: KernelError },
    #[error("node `{node}`: {cause}")]
    Operator { node: String, cause: OpError },
    #[error(transparent)]
    Graph(#[from] IrError),
}

impl RuntimeError {
    /// Adds the node to a kernel's complaint.
    pub(crate) fn kernel(node: &str) -> impl FnOnce(KernelError) -> RuntimeError + '_ {
        move |cause| RuntimeError::Kernel { node: node.to_owned(), cause }
    }

    /// Adds the node to an operator's complaint.
    pub(crate) fn operator(node: &str) -> impl FnOnce(OpError) -> RuntimeError + '_ {
        move |cause| RuntimeError::Operator { node: node.to_owned(), cause }
    }
}
