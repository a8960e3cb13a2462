//! `metrics.json`: what a run measured and decided.

use std::path::PathBuf;

use observe::{ConfidenceShift, Labelled, Latency, Machine};
use serde::{Deserialize, Serialize};
use yolo::BadInput;
use yolo::metrics::{Metrics, RatioInterval};

use crate::{LabelUse, PruneBudget, RecoveryPoint, Shortfall};

/// What a run measured and decided.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct CompressRecord {
    /// The model as it came.
    pub baseline: StageRecord,
    /// After pruning, in float.
    pub pruned: StageRecord,
    /// The result.
    pub quantized: StageRecord,
    /// The verdict.
    pub gate: GateRecord,
    /// Images that were calibrated on, without those that could not be read.
    pub calibration_images: usize,
    /// Images by which attempts were chosen.
    pub holdout_images: usize,
    /// Digest of their content, by which another run tells whether it calibrated on the same.
    pub calibration_sha256: String,
    /// What is labelled in `val`.
    pub val_labelled: Labelled,
    /// Digest of the images and labels of `val`.
    pub val_sha256: String,
    /// Images of `val` on which the result finds fewer of the labelled objects than the model as it came, the worst first, at most
    /// twelve.
    pub val_lost: Vec<ImageLoss>,
    /// How sure the result is of what the model as it came finds on the hold-out, and from which confidence on it shows as much;
    /// `None` without a hold-out.
    #[serde(default)]
    pub confidence: Option<ConfidenceShift>,
    /// What the machine was while the models were timed, in turns; `None` where none was.
    #[serde(default)]
    pub machine: Option<Machine>,
    /// What was used instead of what was asked, and what the figures do not tell.
    pub warnings: Vec<String>,
    /// Images of all kinds that were skipped.
    pub bad_images: Vec<BadInput>,
    /// Labels that were skipped.
    pub bad_labels: Vec<BadInput>,
}

/// What is no longer found on an image.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct ImageLoss {
    /// The file.
    pub image: PathBuf,
    /// Labelled objects that the model as it came finds: IoU of at least 0.50, confidence of at least 0.25.
    pub found_before: usize,
    /// Those that the result finds.
    pub found_after: usize,
}

/// A stage's model, measured.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct StageRecord {
    /// Size of the file.
    pub file_bytes: u64,
    /// What is known of the model without labelled images.
    #[serde(flatten)]
    pub footprint: Footprint,
    /// Accuracy.
    #[serde(flatten)]
    pub metrics: Metrics,
}

/// Parameters, operations, memory, time and energy of a model.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub struct Footprint {
    /// Learned parameters.
    pub params: u64,
    /// Multiply-accumulate operations.
    pub macs: u64,
    /// Share of the MACs in INT8.
    pub int8_macs_share: f64,
    /// Memory of one session's arena in our engine.
    pub arena_bytes: usize,
    /// In our engine; `None` where it evaluates INT8 in float, whose time says nothing.
    pub latency_ms: Option<Latency>,
    /// Of one inference, in joules, where the processor's counters can be read.
    pub energy_j: Option<f64>,
}

/// The gate's verdict.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct GateRecord {
    /// Share of the baseline's mAP asked for.
    pub keep: f64,
    /// Whether the lower bound had to keep it.
    pub strict: bool,
    /// The last attempt's ratio.
    pub ratio: f64,
    /// The last attempt's lower bound; `None` where `val` has too few images for an interval.
    pub lower_bound: Option<f64>,
    /// The last attempt's upper bound.
    pub upper_bound: Option<f64>,
    /// The verdict.
    pub passed: bool,
    /// All attempts, in order.
    pub attempts: Vec<Attempt>,
}

/// One try at passing the gate.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Attempt {
    /// What was asked; several budgets where they came out the same.
    pub asked: Vec<PruneBudget>,
    /// Share of the MACs that pruning removed.
    pub macs_ratio: f64,
    /// Why that is less than was first asked; `None` where it is not.
    pub shortfall: Option<Shortfall>,
    /// How it was recovered after pruning; `None` where it was not.
    pub recovery: Option<RecoveryRecord>,
    /// Folder with its models and plans.
    pub folder: String,
    /// mAP over the baseline's on the hold-out, which decides whether `val` is read at all; `None` without a hold-out.
    pub holdout: Option<RatioInterval>,
    /// mAP over the baseline's on `val`; `None` when the hold-out ruled the attempt out.
    pub ratio: Option<f64>,
    /// Lower end of its 95 % interval; `None` also where `val` has too few images for one.
    pub lower_bound: Option<f64>,
    /// Upper end.
    pub upper_bound: Option<f64>,
    /// Whether the gate passed.
    pub passed: bool,
}

/// How a pruned model was recovered.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct RecoveryRecord {
    /// The largest rate, relative to each weight's size.
    pub rate: f64,
    /// How labels were used.
    pub labels: LabelUse,
    /// All looks at the held-out images.
    pub curve: Vec<RecoveryPoint>,
    /// The look whose weights are kept.
    pub best: RecoveryPoint,
}

impl CompressRecord {
    /// What is to be said where INT8 is no faster on this machine than the same model in floats, which then serves as well.
    pub fn without_gain(&self) -> Option<String> {
        let [float, int8] = [&self.pruned, &self.quantized].map(|s| s.footprint.latency_ms);
        let [float, int8] = [float?, int8?].map(|latency| latency.median);
        let folder = &self.gate.attempts.last()?.folder;
        (int8 >= float).then(|| {
            format!(
                "INT8 is no faster on this machine ({int8:.2} ms) than the same model in floats ({float:.2} ms), {folder}/pruned.onnx: it is smaller, and that is all"
            )
        })
    }
}

impl Attempt {
    /// A model as it came, not evaluated yet.
    pub(crate) fn new(folder: String) -> Self {
        Self {
            asked: vec![],
            macs_ratio: 0.0,
            shortfall: None,
            recovery: None,
            folder,
            holdout: None,
            ratio: None,
            lower_bound: None,
            upper_bound: None,
            passed: false,
        }
    }
}
