//! Detectors observed while they run on images: activations, how far two models agree, error by layer, time and energy,
//! and which images of a data set are used for what.
//!
//! Rank 4: joins `runtime`, `yolo` and `quant`. Changes no model, prints nothing and writes no file.
#![forbid(unsafe_code)]

mod activations;
mod agreement;
pub mod calibset;
mod energy;
mod engine;
mod error;
mod image_set;
mod latency;
mod layer_error;
mod observation;
mod range_use;
mod speed;
mod splits;

pub use activations::{Activations, Cut};
pub use agreement::{
    ConfidenceShift, DetectionAgreement, ImageAgreement, Reference, SHOWN_CONF, Shown,
    detection_agreement,
};
pub use engine::Engine;
pub use error::ObserveError;
pub use image_set::{ImageSet, check_bad_images};
pub use latency::{
    Compared, Latency, Machine, Measured, PlannedModel, Run, Runs, noise, runs_in_integers,
};
pub use layer_error::{Histogram, LayerError, histograms, layer_errors};
pub use observation::{Model, Observation, Progress};
pub use range_use::{CalibrationUse, Shift, TensorUse, Use, has_shifted, range_use};
pub use speed::Speed;
pub use splits::{CHOICES, Choice, Labelled, Sampling, Splits, copies};
