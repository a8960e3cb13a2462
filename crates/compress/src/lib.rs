//! Stages that change a detector, fed with what is observed on images: each a function from values to a value.
//!
//! Rank 4: joins `prune`, `quant`, `runtime` and `yolo`, which do not know each other. Prints nothing.
#![forbid(unsafe_code)]

mod digest;
mod energy;
mod error;
mod files;
mod gate;
mod latency;
mod measure;
mod observe;
mod pipeline;
mod prune_stage;
mod quantize_stage;
mod recipe;
mod repair;
mod run_dir;

pub use digest::file_digest;
pub use energy::{EnergyMeter, EnergyReading};
pub use error::CompressError;
pub use files::{check_writable, write_file};
pub use gate::{Attempt, Gate};
pub use latency::{Latency, noise};
pub use measure::{StageRecord, THRESHOLDS, runs_as_it_is};
pub use observe::{Observation, sample};
pub use pipeline::{CompressData, CompressRecord, Runner, compress_detector};
pub use prune_stage::{Candidate, PruneBudget, PruneStudy, Pruned, prune_detector};
pub use quantize_stage::{Quantized, quantize_detector};
pub use recipe::{GateRecipe, ImagesRecipe, PruneRecipe, QuantizeRecipe, Recipe};
pub use run_dir::RunDir;
