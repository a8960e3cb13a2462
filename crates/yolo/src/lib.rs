//! YOLO detectors around the engine: data sets in, letterboxed pixels to the network, detections,
//! accuracy and pictures out.
#![forbid(unsafe_code)]

mod appearance;
mod augment;
mod dataset;
mod degradation;
mod detection;
mod detector;
mod doubt;
mod draw;
mod error;
mod evaluate;
pub mod families;
mod fitted;
mod heads;
mod iou;
pub mod losses;
pub mod metrics;
mod model_input;
mod network;
mod nms;
mod preprocess;
mod printable;
mod regular_file;
mod results;
mod streams;
mod whole_file;
mod yuv;

pub use appearance::{Appearance, ImageMeasures};
pub use augment::{Augmentation, AugmentedInput, Draw, DrawKey, LabelledScene};
pub use dataset::{
    BadInput, Dataset, IMAGE_EXTENSIONS, ImageItem, Label, LabelBox, MAX_DECODING_BYTES,
    MAX_PIXELS, decode_rgb, decode_size, first_of_content, is_image_name, lacks_end_marker,
    most_bad, read_rgb, read_size,
};
pub use degradation::{Degradation, Patch, covered, four_in_one};
pub use detection::{BoxXyxy, Detection, Thresholds};
pub use detector::{CompiledDetector, DetectionTimes, Detector, Elements, MAX_DET, Network, Port};
pub use doubt::Doubt;
pub use draw::{draw_detections, save_image};
pub use error::YoloError;
pub use evaluate::{Evaluation, evaluate_detector, evaluate_sessions};
pub use fitted::trunk;
pub use iou::iou;
pub use model_input::{ModelInput, Pixels, Planes};
pub use network::NetworkOptions;
pub use nms::nms;
pub use preprocess::{LETTERBOX, Letterbox, PADDING, Placement, Preprocess, letterbox};
pub use printable::printable;
pub use results::{CocoResult, read_results, results_json, write_results};
pub use streams::Streams;
pub use whole_file::{between_files, check_writable, is_partial, write_file};
pub use yuv::{Region, YuvColours, YuvFrame, YuvMatrix, YuvPixels, YuvPlane, YuvRange};
