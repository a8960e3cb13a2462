//! Makes a trained YOLO detector several times smaller and faster, and runs it.
//!
//! | to | use |
//! |---|---|
//! | find objects in images | [`Detector::load`], [`Detector::detect`] |
//! | read a model, whatever its file | [`Model::open`] |
//! | prune and quantize it, with its accuracy proven | [`Model::recipe`], [`Model::splits`], [`compress()`] |
//! | see what is computed inside it | [`Model::observation`] |
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let tiny = testkit::tiny_folder::TinyFolder::new(0, 0);
//! # let path = tiny.path("tiny.onnx");
//! # let scene = testkit::tiny::scene(7);
//! # let side = testkit::tiny::SIDE_PX as u32;
//! # let image = image::RgbImage::from_raw(side, side, scene.rgb).expect("three bytes a pixel");
//! let mut detector = yoloslim::Detector::load(path)?;
//! for detection in detector.detect(&image)? {
//!     println!("{} {:.2}", detector.class_name(detection.class), detection.score);
//! }
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

mod compression;
mod data;
mod detector;
mod error;
mod model;

pub use compress::{CompressRecord, PruneBudget, Recipe, Run, RunDir};
pub use compression::compress;
pub use data::open_split;
pub use detector::Detector;
pub use error::Error;
pub use image::RgbImage;
pub use model::{Model, Reading, is_checkpoint};
pub use observe::{Engine, ImageSet, Observation, Splits};
pub use yolo::{BoxXyxy, Dataset, Detection, Thresholds};
