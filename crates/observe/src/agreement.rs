//! How far the outputs of one model lie from those of another: by detections where a decoder reads them, else by the
//! outputs themselves.
//!
//! [`Reference`] answers for a model that is being changed, with one number, many times; [`detection_agreement`] for two
//! models that are finished, object by object.

mod confidence;
mod detections;
mod outputs;
mod precision;
mod reference;

pub use confidence::{ConfidenceShift, Shown};
pub use detections::{DetectionAgreement, ImageAgreement, SHOWN_CONF, detection_agreement};
pub use reference::Reference;
