//! ONNX files: read into an [`ir::Graph`] and written from one.
//!
//! Rank 3: imports only `ir`. Knows no dataset, no training checkpoint and no fast path.
#![forbid(unsafe_code)]

mod attributes;
mod encode;
mod error;
mod external;
mod fold;
mod grids;
mod interface;
mod load;
mod opsets;
mod proto;
mod subgraphs;
mod sweep;
mod tensors;
mod topology;
mod types;

pub use encode::encode;
pub use error::OnnxError;
pub use load::{LoadOptions, external_files, load, parse};
