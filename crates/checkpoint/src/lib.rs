//! Training checkpoints: the file PyTorch writes, parsed as data and never executed, rebuilt as an [`ir::Graph`].
//!
//! Rank 3: imports only `ir`. Knows no other file format, no dataset and no fast path.
#![forbid(unsafe_code)]

mod budget;
mod builder;
mod channels;
mod container;
mod error;
mod foreign;
mod heads;
mod load;
mod metadata;
mod module;
mod modules;
mod pickle;
mod storages;
mod tree;
mod views;

pub use error::CheckpointError;
pub use load::{Checkpoint, LoadOptions, load, parse};
