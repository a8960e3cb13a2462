//! Stages that change a detector, fed with what is observed on images: each a function from values to a value.
//!
//! Rank 4: joins `prune`, `quant`, `runtime` and `yolo`, which do not know each other. Prints nothing.
#![forbid(unsafe_code)]

mod activations;
mod agreement;
mod digest;
mod energy;
mod error;
mod gate;
mod judge;
mod latency;
mod layer_error;
mod measure;
mod observe;
mod picture;
mod pipeline;
mod prune_stage;
mod quantize_stage;
mod recipe;
mod repair;
mod report;
mod run_dir;
mod seen;
mod splits;

pub use agreement::{Agreement, ImageAgreement, SHOWN_CONF, agreement};
pub use digest::file_digest;
pub use error::CompressError;
pub use gate::{Attempt, Gate};
pub use latency::{Latency, Runs, noise};
pub use layer_error::{Histogram, LayerError, Watched};
pub use measure::{StageRecord, THRESHOLDS, runs_as_it_is};
pub use observe::{Observation, sample};
pub use picture::{drawn, side_by_side};
pub use pipeline::{CompressData, CompressRecord, Runner, compress_detector};
pub use prune_stage::{
    Candidate, FrozenGroup, GroupCut, GroupSensitivity, PruneAccount, PruneBudget, PruneOptions,
    PruneStudy, Pruned, REPAIR_STEPS, Reach, Reached, RepairStep, SensitivityPoint, Shortfall,
    ThinnedLayer, prune_detector,
};
pub use quantize_stage::{
    LadderStep, QUANTIZE_BUDGETS, QuantizeBudget, QuantizeOptions, Quantized, SiteDecision,
    quantize_detector, quantize_detector_within,
};
pub use recipe::{GateRecipe, ImagesRecipe, PruneRecipe, QuantizeRecipe, Recipe};
pub use report::{ReportSource, percent, sensitivity_svg, write_report};
pub use run_dir::RunDir;
pub use splits::{Drawn, Labelled};
