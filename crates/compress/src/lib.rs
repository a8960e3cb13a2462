//! Prunes and quantizes a detector with what is observed on images, and judges the result.
//!
//! Rank 5: stages are functions from values to a value, [`compress_detector`] is the whole way. Prints nothing.
#![forbid(unsafe_code)]

mod artifact;
mod digest;
mod error;
mod evaluation;
mod examples;
mod gate;
mod learning;
mod pipeline;
mod pruning;
mod quantization;
mod recipe;
mod record;
mod recovery;
mod repair;
mod run;
mod run_dir;
mod source;
mod thresholds;
mod training;

pub use digest::{dataset_digest, file_digest};
pub use error::CompressError;
pub use learning::remove_state;
pub use pipeline::compress_detector;
pub use pruning::{
    Candidate, FrozenGroup, GroupCut, GroupSensitivity, PruneAccount, PruneBudget, PruneOptions,
    PruneStudy, Pruned, Reach, Reached, Reckoning, SensitivityPoint, Shortfall, ThinnedLayer,
    prune_detector,
};
pub use quantization::{
    HEAD_PRECISIONS, HeadPrecision, LayerNoise, Lessons, Noise, Preprocessing, QUANTIZE_BUDGETS,
    QuantizeAccount, QuantizeBudget, QuantizeOptions, Quantized, RangeDecision, SearchStep,
    TensorRange, VendorDescription, VendorOutput, VendorParts, calibration_cache, cut_for_vendor,
    quantize_detector, usual_runs,
};
pub use recipe::{GateRecipe, PruneRecipe, QuantizeRecipe, Recipe, RecoverRecipe};
pub use record::{
    Attempt, CompressRecord, Footprint, GateRecord, ImageLoss, RecoveryRecord, StageRecord,
};
pub use recovery::{
    HeadedModel, IsEnough, LABEL_USES, LabelTrial, LabelUse, RecoverHooks, RecoverOptions,
    RecoverSubject, Recovered, RecoveryPoint, recover_detector,
};
pub use repair::{REPAIR_STEPS, RepairStep};
pub use run::Run;
pub use run_dir::RunDir;
pub use thresholds::THRESHOLDS;
pub use training::{
    TrainHooks, TrainOptions, TrainPoint, TrainSubject, Trained, standardise, train_detector,
};
