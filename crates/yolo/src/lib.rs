//! YOLO detectors around the engine: data sets in, letterboxed pixels to the network, detections,
//! accuracy and pictures out.
#![forbid(unsafe_code)]

mod atomic_file;
mod dataset;
mod detection;
mod error;
pub mod metrics;
mod nms;
mod results;

pub use dataset::{
    BadInput, Dataset, ImageItem, Label, LabelBox, MAX_DECODED_BYTES, MAX_SIDE_PX, read_rgb,
    read_size,
};
pub use detection::{BoxXyxy, Detection};
pub use error::YoloError;
pub use nms::{MAX_CANDIDATES, nms};
pub use results::{CocoResult, read_results, write_results};
