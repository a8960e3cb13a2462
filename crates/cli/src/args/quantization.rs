//! Arguments of quantization.
#![allow(missing_docs, reason = "fields that gather other arguments have no help text")]
use super::{ImagesArgs, MemoryArgs, ModelArgs, choice, keyed};
use crate::beside::{CacheFiles, VendorFiles};
use clap::Args as ClapArgs;
use compress::{HEAD_PRECISIONS, HeadPrecision, QUANTIZE_BUDGETS, QuantizeBudget};
use observe::SHOWN_CONF;
use quant::{Calibrator, Target, TargetCpu, TargetEngine, TargetError};
use std::path::{Path, PathBuf};

/// What `quantize` writes beside the model.
pub(super) fn files_beside(target: Target, out: &Path) -> Vec<PathBuf> {
    let of_cache = CacheFiles::beside(target, out).map(CacheFiles::into_paths);
    let of_vendor = VendorFiles::beside(target, out).map(VendorFiles::into_paths);
    of_cache.into_iter().chain(of_vendor).flatten().collect()
}

/// How a model is quantized.
#[derive(Debug, ClapArgs)]
pub(crate) struct QuantArgs {
    /// Engine that will run the model. For `npu` (Ascend, Rockchip, Hailo, ESP-DL) the vendor's tool quantizes: `quantize` writes
    /// a float model cut behind the head's output convolutions, and beside it the list of calibration images (.calibration.txt)
    /// and the ranges of all tensors (.ranges.json).
    #[arg(long, default_value = "builtin", value_parser = choice::<TargetEngine>())]
    target: &'static TargetEngine,
    /// CPU that will run it, vnni unless said. With avx2 weights have 7 bits: on CPUs without VNNI those of 8 bits saturate in
    /// ONNX Runtime and OpenVINO, and are slower in our engine.
    #[arg(long, value_parser = choice::<TargetCpu>())]
    cpu: Option<&'static TargetCpu>,
    /// How the ranges of quantized tensors are chosen.
    #[arg(long, default_value = "auto", value_parser = choice::<Calibrator>())]
    pub(crate) calibrator: &'static Calibrator,
    /// In which numbers the head's output convolutions compute. fp16 also stores what is behind them in 16 bits, up to where
    /// boxes are computed. int8 unless a recipe says otherwise.
    #[arg(long, value_parser = keyed(HEAD_PRECISIONS))]
    pub(crate) head: Option<HeadPrecision>,
    /// A layer that stays float: its name, in which * and ? stand for other characters, or its position among the layers
    /// with weights, such as #12. May be given several times.
    #[arg(long, value_name = "PATTERN")]
    pub(crate) float: Vec<String>,
}

impl QuantArgs {
    /// Who will run the model.
    ///
    /// # Errors
    /// `NoCpu` where `--cpu` means nothing to the engine.
    pub(crate) fn target(&self) -> Result<Target, TargetError> {
        Target::new(self.target, self.cpu)
    }
}

/// Arguments of `quantize`.
#[derive(Debug, ClapArgs)]
pub(crate) struct QuantizeArgs {
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    #[command(flatten)]
    pub(crate) images: ImagesArgs,
    /// The ONNX file to write.
    #[arg(short, long, value_name = "OUT.onnx")]
    pub(crate) out: PathBuf,
    #[command(flatten)]
    pub(crate) quant: QuantArgs,
    /// Calibrate as the run did that wrote this recipe.toml: on the same images, of the same data, by the same calibrator.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["SamplingArgs", "calibrator"])]
    pub(crate) recipe: Option<PathBuf>,
    /// How much time goes into accuracy: fast takes the ranges, normal also equalizes channels, corrects
    /// biases and, where much is still lost, tries other ranges and rounding; thorough always tries them.
    #[arg(long, default_value = "normal", value_parser = keyed(QUANTIZE_BUDGETS))]
    pub(crate) budget: QuantizeBudget,
    /// Also list what was tried, the noise of every layer, the range of every tensor, and how sure the model still is of what it
    /// finds on training images.
    #[arg(long)]
    pub(crate) explain: bool,
    /// Confidence from which the float model's detections are used, to recommend one for the quantized model.
    #[arg(long, value_name = "CONF", default_value_t = SHOWN_CONF, requires = "explain", value_parser = confidence)]
    pub(crate) conf: f64,
    #[command(flatten)]
    pub(crate) memory: MemoryArgs,
}

/// A confidence that some detections have and some have not.
fn confidence(text: &str) -> Result<f64, String> {
    let conf = text.parse().ok().filter(|conf| (0.03..1.0).contains(conf));
    conf.ok_or_else(|| "expected a number from 0.03 to below 1".to_owned())
}
