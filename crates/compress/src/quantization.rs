//! Quantization: ranges observed on images, equalized channels, corrected biases, a plan, a QDQ graph.

use ir::{DataType, Graph, QuantParams};
use observe::{CalibrationUse, Model, Observation, ObserveError, range_use};
use quant::{Calibrator, QuantPlan, Target};
use serde::{Deserialize, Serialize};
use yolo::BadInput;

use crate::CompressError;

mod calibrate;
mod calibration_cache;
mod learnt;
mod moments;
mod noise;
mod precision;
mod search;
pub(crate) mod tuning;
mod vendor;

pub use calibration_cache::calibration_cache;
pub use learnt::Lessons;
pub use noise::{LayerNoise, Noise};
pub use precision::{HEAD_PRECISIONS, HeadPrecision};
use search::Search;
pub use search::usual_runs;
pub use vendor::{
    Preprocessing, TensorRange, VendorDescription, VendorOutput, VendorParts, cut_for_vendor,
};

/// Images on which it is described how a quantized model uses its ranges, at most.
const DESCRIBED: usize = 32;

/// How much time goes into accuracy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum QuantizeBudget {
    /// One pass over the images for the ranges.
    Fast,
    /// Channels that drown in noise are equalized, and biases corrected; where much is still lost, other ranges and rounding by
    /// second moments are tried.
    Normal,
    /// They are always tried, and scales and weights learn from the float model; where much is lost even so, the few layers that lose
    /// most are left float.
    Thorough,
}

/// All budgets by name.
pub const QUANTIZE_BUDGETS: &[(&str, QuantizeBudget)] = &[
    ("fast", QuantizeBudget::Fast),
    ("normal", QuantizeBudget::Normal),
    ("thorough", QuantizeBudget::Thorough),
];

/// How to quantize.
#[derive(Clone, Debug)]
pub struct QuantizeOptions<'a> {
    /// Engine that will run the model.
    pub target: Target,
    /// What chooses ranges.
    pub calibrator: &'static Calibrator,
    /// How much time goes into accuracy.
    pub budget: QuantizeBudget,
    /// Whether the noise of every layer is measured.
    pub explain: bool,
    /// In which numbers the head's output convolutions compute.
    pub head: HeadPrecision,
    /// Layers that stay float besides: names in which `*` and `?` stand for other characters, or positions such as `#12`.
    pub float: Vec<String>,
    /// What the thorough budget learns from; `None` for the float model on the images that are not set aside.
    pub lessons: Option<Lessons<'a>>,
}

/// A step that was taken, or tried and given up.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct SearchStep {
    /// What was done.
    pub step: String,
    /// 1 minus the average precision on the evaluation images, with the float model's confident detections as truth; without a
    /// decoder the relative error of the outputs. `None` where there are no evaluation images.
    pub detection_error: Option<f64>,
    /// Whether it stayed.
    pub kept: bool,
}

/// The range that was decided for one quantization point.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct RangeDecision {
    /// Name of the value.
    pub value: String,
    /// What gave the range: a search, `input` where it is that of the image's pixels, or `learnt`.
    pub range_by: String,
    /// Lower end of the range.
    pub min: f32,
    /// Upper end.
    pub max: f32,
    /// Smallest value observed.
    pub observed_min: f32,
    /// Largest value observed.
    pub observed_max: f32,
    /// Share of the values that the quantized model has here and that lie outside of the range, on calibration images; `None` where
    /// none could be counted.
    pub clipped: Option<f64>,
}

/// How a quantized detector came about, as a run keeps it.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct QuantizeAccount {
    /// What was tried, in order.
    pub steps: Vec<SearchStep>,
    /// The range of every tensor.
    pub ranges: Vec<RangeDecision>,
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
    pub steps: Vec<SearchStep>,
    /// The range of every tensor.
    pub ranges: Vec<RangeDecision>,
    /// The noise of every layer, where it was asked for.
    pub noise: Option<Noise>,
    /// Names of the layers that were left float, on request or since they lose most, in the order of execution.
    pub float_layers: Vec<String>,
}

/// Calibrates on the observation's images and quantizes. `log` is told what goes on where it takes long.
///
/// Within more than the fast budget the steps that are tried are evaluated on every third image, at most 48: one stays if the
/// quantized model's detections on them come clearly closer to the float model's.
///
/// # Errors
/// `NonFinite` when activations are not numbers; `NoLayer` when a layer that is to stay float is not there;
/// `VendorQuantizes` for a target whose own tool quantizes; as the stages otherwise.
pub fn quantize_detector(
    observation: &Observation<'_>,
    options: &QuantizeOptions<'_>,
    log: &dyn Fn(&str),
) -> Result<Quantized, CompressError> {
    if options.target.engine().placement.is_vendors() {
        return Err(CompressError::VendorQuantizes { target: options.target.engine().name });
    }
    let mut quantized =
        Search::new(observation, options, image_params(observation)?, log)?.run()?;
    if options.head == HeadPrecision::Fp16 {
        precision::narrow_head(&mut quantized.graph)?;
    }
    describe_use(observation, &mut quantized)?;
    Ok(quantized)
}

/// Writes into the model how it uses its ranges on its calibration images, so that other images can be held against them.
fn describe_use(
    observation: &Observation<'_>,
    quantized: &mut Quantized,
) -> Result<(), CompressError> {
    let images = observation.images;
    let every = images.len().div_ceil(DESCRIBED).max(1);
    let described = images.with(images.paths.iter().step_by(every).cloned().collect());
    let model = Model { graph: &quantized.graph, ..observation.model };
    let observation = Observation { model, images: &described, progress: &|_| (), ..*observation };
    match range_use(&observation) {
        Ok((tensors, bad)) => {
            let seen = described.len() - bad.len();
            for range in &mut quantized.ranges {
                let tensor = tensors.iter().find(|t| t.value == range.value);
                range.clipped = tensor.map(|t| t.seen.clipped);
            }
            CalibrationUse::new(&tensors, seen).describe(&mut quantized.graph);
            Ok(())
        }
        // Some other images could be read, and what is wrong with these was told.
        Err(ObserveError::NoImages { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// A pixel's byte is its own quantized value.
fn image_params(observation: &Observation<'_>) -> Result<QuantParams, CompressError> {
    let scale = observation.model.input.preprocess.scale;
    Ok(QuantParams::per_tensor(scale, 0, DataType::U8)?)
}
