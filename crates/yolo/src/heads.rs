//! Heads: what their output convolutions predict, and how the outputs behind them are read.
//!
//! A family says what a head predicts; exporters write the rest of the graph in many ways. So a reading of the outputs is a
//! hypothesis, and objects planted into the convolutions tell which one is right.
mod anchors;
mod decoder;
mod family;
mod predictions;
mod probe;
mod raw_head;
mod raw_maps;
mod readings;
mod subject;

pub use anchors::ANCHORS;
pub use decoder::Decoder;
pub(crate) use family::Evidence;
pub use family::Family;
pub(crate) use predictions::Kind;
pub use raw_head::RawHead;
pub(crate) use raw_head::{RawBoxes, RawChannels, RawForm};
pub use raw_maps::{PICKED, RawMap, RawPart};
pub(crate) use subject::{Recognised, Subject};
