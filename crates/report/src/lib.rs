//! A run as one HTML page that opens offline, and pictures of detections.
//!
//! Rank 6: shows what `compress` recorded, decides nothing.
#![forbid(unsafe_code)]

mod charts;
mod contents;
mod coverage;
mod error;
mod figures;
mod page;
mod pictures;
mod quantization;
mod sensitivity;
mod text;
mod write;

pub use contents::Material;
pub use coverage::{CoveredImage, coverage_page};
pub use error::ReportError;
pub use figures::{layer_name, percent};
pub use pictures::{drawn, side_by_side};
pub use sensitivity::sensitivity_svg;
pub use write::{portable_report, write_report};
