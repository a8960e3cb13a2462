//! Tensors, graphs, operators, rewrites, shape inference and the plain reference interpreter.
//!
//! Rank 1: imports nothing of yoloslim. Knows no file format, no dataset and no fast path.
#![forbid(unsafe_code)]

mod attributes;
mod batch;
mod channels;
mod cut;
mod dtype;
mod edit;
mod error;
pub mod git_lfs;
mod graph;
mod half_precision;
mod imgsz;
pub mod interpreter;
mod named;
mod names;
mod normalise;
pub mod ops;
mod pixel_blocks;
mod quant_params;
pub mod rewrites;
mod subgraph;
mod tail;
mod tensor;

pub use attributes::{Attribute, Attributes};
pub use batch::with_batch;
pub use channels::{ChannelLink, Channels, FreezeReason, KeptAxes, Port, PortAxis, Span};
pub use cut::{CutOutput, cut};
pub use dtype::DataType;
pub use edit::Edit;
pub use error::{IrError, OpError};
pub use graph::{Graph, Node, NodeId, Value, ValueId};
pub use half_precision::{other_floats, part_to_f16, to_f16, to_f32};
pub use imgsz::whole_imgsz;
pub use named::{Named, UnknownName, named};
pub use names::UniqueNames;
pub use normalise::{Canonical, Normalised, canonicalise, fake_quantize, normalise, recognise};
pub use ops::{
    InputSpec, LoweredInput, LoweredNode, LoweredOutput, NodeSpec, Op, Operator, Parsed,
    QuantFacts, Shapes,
};
pub use pixel_blocks::{PixelBlocks, PixelGrid};
pub use quant_params::QuantParams;
pub use subgraph::subgraph;
pub use tail::{Tail, find_tail};
pub use tensor::{Element, Tensor, TensorData, TensorType, elements};
