//! Quantization: ranges observed on images, equalized channels, corrected biases, a plan, a QDQ graph.

use ir::{DataType, Graph, QuantParams};
use quant::{QuantPlan, Target};
use serde::Serialize;
use yolo::BadInput;

use crate::{CompressError, Observation};

mod calibrate;
mod ladder;
mod moments;

use ladder::Ladder;

/// How much time goes into accuracy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuantizeBudget {
    /// One pass over the images for the ranges.
    Fast,
    /// Channels that drown in noise are equalized, and biases corrected; where much is still lost, other ranges and rounding by
    /// second moments are tried.
    Normal,
    /// They are always tried, and ranges for single tensors too.
    Thorough,
}

/// All budgets by name.
pub const QUANTIZE_BUDGETS: &[(&str, QuantizeBudget)] = &[
    ("fast", QuantizeBudget::Fast),
    ("normal", QuantizeBudget::Normal),
    ("thorough", QuantizeBudget::Thorough),
];

/// How to quantize.
#[derive(Clone, Copy, Debug)]
pub struct QuantizeOptions<'a> {
    /// Engine that will run the model.
    pub target: &'a Target,
    /// Name of an observer.
    pub calibrator: &'a str,
    /// How much time goes into accuracy.
    pub budget: QuantizeBudget,
}

/// One step that was taken or tried.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LadderStep {
    /// What.
    pub step: String,
    /// 1 minus the average precision on the images that judge, with the float model's sure detections as truth; without a
    /// decoder the relative error of the outputs. `None` where none judged.
    pub detection_error: Option<f64>,
    /// Whether it stayed.
    pub kept: bool,
}

/// What was decided for one tensor.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SiteDecision {
    /// Name of the value.
    pub value: String,
    /// Search that gave the range.
    pub range_by: String,
    /// Lower end of the range.
    pub min: f32,
    /// Upper end.
    pub max: f32,
    /// Smallest value observed.
    pub observed_min: f32,
    /// Largest value observed.
    pub observed_max: f32,
}

/// A quantized detector and how it came about.
#[derive(Debug)]
pub struct Quantized {
    /// The QDQ graph.
    pub graph: Graph,
    /// What was decided.
    pub plan: QuantPlan,
    /// Share of the MACs whose convolution reads integer input and weights.
    pub int8_macs_share: f64,
    /// Calibration images that could not be read.
    pub bad_images: Vec<BadInput>,
    /// What was tried, in order.
    pub steps: Vec<LadderStep>,
    /// The range of every tensor.
    pub sites: Vec<SiteDecision>,
}

/// Calibrates on the observation's images and quantizes, within the normal budget.
///
/// # Errors
/// As [`quantize_detector_within`].
pub fn quantize_detector(
    observation: &Observation<'_>,
    target: &Target,
    calibrator: &str,
) -> Result<Quantized, CompressError> {
    let options = QuantizeOptions {
        target,
        calibrator,
        budget: QuantizeBudget::Normal,
    };
    quantize_detector_within(observation, &options)
}

/// Calibrates on the observation's images and quantizes.
///
/// Within more than the fast budget every third image, at most 48, judges the steps that are tried: one stays if the
/// quantized model's detections on them come clearly closer to the float model's.
///
/// # Errors
/// `UnknownName` for a calibrator that is not in the list, `NonFinite` when activations are not numbers; as the stages otherwise.
pub fn quantize_detector_within(
    observation: &Observation<'_>,
    options: &QuantizeOptions<'_>,
) -> Result<Quantized, CompressError> {
    let known = || {
        let names: Vec<&str> = quant::OBSERVERS.iter().map(|o| o.0).collect();
        names.join(", ")
    };
    if !quant::OBSERVERS.iter().any(|o| o.0 == options.calibrator) {
        return Err(CompressError::UnknownName {
            what: "calibrator",
            found: options.calibrator.to_owned(),
            expected: known(),
        });
    }
    let scale = observation.input.preprocess.scale;
    let input_params = QuantParams::per_tensor(scale, 0, DataType::U8)?;
    Ladder::new(observation, options, input_params)?.climb()
}
