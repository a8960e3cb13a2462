//! Stages that change a detector, fed with what is observed on images: each a function from values to a value.
//!
//! Rank 4: joins `prune`, `quant`, `runtime` and `yolo`, which do not know each other. Prints nothing.
#![forbid(unsafe_code)]

mod energy;
mod error;
mod files;
mod latency;
mod observe;
mod pipeline;
mod prune_stage;
mod quantize_stage;

pub use energy::{EnergyMeter, EnergyReading};
pub use error::CompressError;
pub use files::{check_writable, write_file};
pub use latency::{Latency, noise};
pub use observe::{Observation, sample};
pub use pipeline::{
    Attempt, CompressData, CompressOptions, CompressRecord, Gate, StageRecord, compress_detector,
};
pub use prune_stage::{PruneBudget, Pruned, prune_detector};
pub use quantize_stage::{Quantized, quantize_detector};
