//! Post-training quantization: observe ranges, plan parameters, apply QuantizeLinear and DequantizeLinear.
//!
//! Rank 3: imports only `ir` and `numerics`. Every step is a pure function of the graph and the observed ranges.
#![forbid(unsafe_code)]

mod apply;
mod bias;
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
    BUILTIN, BUILTIN_AVX2, ONNXRUNTIME, ONNXRUNTIME_AVX2, Placement, TARGETS, Target,
};
