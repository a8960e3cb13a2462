//! Post-training quantization: observe ranges, plan parameters, apply QuantizeLinear and DequantizeLinear.
//!
//! Rank 3: imports only `ir`. Every step is a pure function of the graph and the observed ranges.
#![forbid(unsafe_code)]

mod apply;
mod bias;
mod equalize;
mod error;
mod moments;
pub mod observers;
mod plan;
mod range;
mod rounding;
mod share;
mod sites;
mod targets;
mod weights;

pub use apply::apply;
pub use bias::correct_biases;
pub use equalize::{ChannelScales, channel_scales, depthwise_inputs, equalize};
pub use error::QuantError;
pub use moments::Moments;
pub use observers::{OBSERVERS, Observer, observer};
pub use plan::{QuantPlan, plan};
pub use range::Range;
pub use rounding::round_weights;
pub use share::{int8_macs_share, quantized_macs_share};
pub use sites::{Site, check_float, sites};
pub use targets::{BUILTIN, BUILTIN_AVX2, ONNXRUNTIME, ONNXRUNTIME_AVX2, TARGETS, Target, target};
