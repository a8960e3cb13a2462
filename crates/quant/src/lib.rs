//! Post-training quantization: observe ranges, plan parameters, apply QuantizeLinear and DequantizeLinear.
//!
//! Rank 3: imports only `ir` and `numerics`. Every step is a pure function of the graph and the observed ranges.
#![forbid(unsafe_code)]

mod apply;
mod bias;
mod calibration_cache;
mod calibrators;
mod equalize;
mod error;
mod patch_moments;
mod plan;
mod points;
mod profile;
mod range;
mod rounding;
mod share;
mod targets;
mod weights;

pub use apply::apply;
pub use bias::correct_biases;
pub use calibration_cache::{cached_values, calibration_cache};
pub use calibrators::{AUTO, Alternative, CALIBRATORS, Calibrator};
pub use equalize::{ChannelScales, channel_scales, depthwise_inputs, equalize};
pub use error::QuantError;
pub use patch_moments::PatchMoments;
pub use plan::{QuantPlan, plan};
pub use points::{QuantizationPoint, check_float, quantization_points};
pub use profile::Profile;
pub use range::Range;
pub use rounding::round_weights;
pub use share::{int8_macs_share, quantized_macs_share};
pub use targets::{
    AVX2, BUILTIN, CPUS, ConcatScales, ENGINES, NPU, Narrow, ONNXRUNTIME, OPENVINO, Placement,
    TENSORRT, Target, TargetCpu, TargetEngine, TargetError, VNNI,
};
