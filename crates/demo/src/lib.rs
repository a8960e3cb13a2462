//! Drawn circuit boards with defects: a data set that needs no download.
//!
//! Rank 4. A board is laid out on a grid (`boards/layout.rs`), damaged (`boards/defects.rs`), covered pixel by pixel
//! (`boards/raster.rs`), and photographed (`boards/photograph.rs`). A seed decides everything.
#![forbid(unsafe_code)]

mod boards;
mod dataset;

pub use boards::{Board, Defect, NAMES, SIDE_PX, board};
pub use dataset::{DatasetSize, write_dataset};
