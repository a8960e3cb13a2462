//! Drawn circuit boards with defects: a data set that needs no download.
//!
//! Rank 4. A board is laid out on a grid (`boards/layout.rs`), damaged (`boards/defects.rs`), covered pixel by pixel
//! (`boards/raster.rs`), and photographed (`boards/photograph.rs`). A seed decides everything.
#![forbid(unsafe_code)]

mod boards;
mod dataset;

pub use boards::{Board, Defect, NAMES, SIDE_PX, board};
pub use dataset::{DatasetSize, write_dataset};

/// A detector of the defects of [`board`]s: a YOLOv8 of 0.43 M parameters for images of [`SIDE_PX`], as ONNX with 16-bit floats.
///
/// On the 100 boards by which `yoloslim demo` judges, its map_50_95 is 0.668. Made from random weights, in a version that
/// ordered images in another way, by
/// ```text
/// cargo run --release -p yoloslim-demo --example boards -- BOARDS 2400 0 1
/// yoloslim train --arch v8 --width 0.09 --depth 0.33 --imgsz 320 --data BOARDS/data.yaml --epochs 14 --rate 0.015 \
///     --augment flip_vertical=0.5,scale=0.1,translation=0.025,hue=0.00375,saturation=0.125,brightness=0.075 -o trained.onnx
/// yoloslim export trained.onnx --half -o boards.onnx
/// ```
pub const DETECTOR: &[u8] = include_bytes!("../assets/boards.onnx");
