//! A picture on its way from a source to a detector.
use image::RgbImage;
use std::time::{Instant, SystemTime};
use yolo::YuvColours;

/// A picture on its way from a source to a detector.
#[derive(Debug)]
pub(crate) struct Frame {
    /// Its samples.
    pub(crate) picture: Picture,
    /// Its number at its source, from 0 at the start of the program.
    pub(crate) number: u64,
    /// When it was whole.
    pub(crate) arrived: Instant,
    /// The same by the clock on the wall.
    pub(crate) arrived_at: SystemTime,
    /// How much later than its source's own rate, where that is known: what the decoder and the pipe held it back.
    pub(crate) late_ms: f64,
}

/// Samples of a picture.
#[derive(Debug)]
pub(crate) enum Picture {
    /// As a decoder gives them: planes Y, U and V, 4:2:0.
    Yuv {
        /// The planes, one after another.
        bytes: Vec<u8>,
        /// Width and height.
        size_px: [usize; 2],
        /// How they become red, green and blue.
        colours: YuvColours,
    },
    /// As image files give them.
    Rgb(RgbImage),
}

impl Picture {
    /// Width and height.
    pub(crate) fn size_px(&self) -> [usize; 2] {
        match self {
            Self::Yuv { size_px, .. } => *size_px,
            Self::Rgb(image) => [image.width() as usize, image.height() as usize],
        }
    }
}
