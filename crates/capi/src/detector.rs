//! A detector with what C asks of it, in safe Rust.
#![forbid(unsafe_code)]
use image::RgbImage;
use std::ffi::CString;
use std::path::Path;
use thiserror::Error;
use yoloslim::{Detection, Detector, Engine, Model, Thresholds};

/// What can go wrong behind the C interface.
#[derive(Debug, Error)]
#[non_exhaustive]
pub(crate) enum CapiError {
    #[error("`{argument}`: expected {expected}, found {found}")]
    Argument { argument: &'static str, expected: &'static str, found: String },
    #[error(transparent)]
    Yoloslim(Box<yoloslim::Error>),
    #[error("the frame needs {bytes} bytes of memory, which cannot be had")]
    Memory { bytes: usize },
    #[error("a bug in yoloslim: {message}")]
    Panic { message: String },
}

impl From<yoloslim::Error> for CapiError {
    fn from(error: yoloslim::Error) -> Self {
        Self::Yoloslim(Box::new(error))
    }
}

/// Most threads that one detector is given.
const MAX_THREADS: usize = 1024;

/// Order of the bytes of a pixel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pixels {
    Rgb,
    Bgr,
    Gray,
}

impl Pixels {
    pub(crate) fn from_c(value: u32) -> Result<Pixels, CapiError> {
        match value {
            0 => Ok(Pixels::Rgb),
            1 => Ok(Pixels::Bgr),
            2 => Ok(Pixels::Gray),
            _ => Err(CapiError::Argument {
                argument: "pixels",
                expected: "YOLOSLIM_RGB, YOLOSLIM_BGR or YOLOSLIM_GRAY",
                found: value.to_string(),
            }),
        }
    }

    pub(crate) fn bytes(self) -> usize {
        match self {
            Pixels::Rgb | Pixels::Bgr => 3,
            Pixels::Gray => 1,
        }
    }
}

/// Longest side of a frame.
const MAX_SIDE_PX: u32 = 16_384;

/// How rows of pixels lie in memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame {
    pub(crate) width_px: u32,
    pub(crate) height_px: u32,
    pub(crate) stride_bytes: usize,
    pub(crate) pixels: Pixels,
}

impl Frame {
    /// Bytes from the first pixel to the end of the last.
    pub(crate) fn bytes(&self) -> Result<usize, CapiError> {
        let refuse =
            |argument, expected, found: String| CapiError::Argument { argument, expected, found };
        let (width, height) = (self.width_px as usize, self.height_px as usize);
        if width == 0 || height == 0 || self.width_px.max(self.height_px) > MAX_SIDE_PX {
            let found = format!("{width} x {height}");
            return Err(refuse("width, height", "1 to 16384 pixels", found));
        }
        let row = width * self.pixels.bytes();
        let all = self.stride_bytes.checked_mul(height - 1);
        match all.and_then(|all| all.checked_add(row)) {
            Some(bytes) if self.stride_bytes >= row && isize::try_from(bytes).is_ok() => Ok(bytes),
            _ => Err(refuse(
                "stride_bytes",
                "at least the bytes of a row",
                self.stride_bytes.to_string(),
            )),
        }
    }

    /// The frame as the detector takes it.
    ///
    /// # Errors
    /// `Memory` where there is none for it: a failed allocation would end the program that called.
    fn to_rgb(self, data: &[u8]) -> Result<RgbImage, CapiError> {
        let (width, height) = (self.width_px as usize, self.height_px as usize);
        let row = width * self.pixels.bytes();
        let bytes = 3 * width * height;
        let mut rgb = Vec::new();
        rgb.try_reserve_exact(bytes).map_err(|_| CapiError::Memory { bytes })?;
        for line in data.chunks(self.stride_bytes).take(height) {
            let line = &line[..row];
            match self.pixels {
                Pixels::Rgb => rgb.extend_from_slice(line),
                Pixels::Bgr => rgb.extend(line.chunks_exact(3).flat_map(|p| [p[2], p[1], p[0]])),
                Pixels::Gray => rgb.extend(line.iter().flat_map(|&p| [p; 3])),
            }
        }
        let image = RgbImage::from_raw(self.width_px, self.height_px, rgb);
        image.ok_or(CapiError::Memory { bytes })
    }
}

/// What the opaque pointer of the header points to.
pub(crate) struct Loaded {
    detector: Detector,
    names: Vec<CString>,
}

impl Loaded {
    pub(crate) fn load(path: &Path, threads: usize) -> Result<Loaded, CapiError> {
        if threads > MAX_THREADS {
            return Err(CapiError::Argument {
                argument: "threads",
                expected: "0 to 1024",
                found: threads.to_string(),
            });
        }
        let mut engine = Engine::default();
        if threads > 0 {
            engine.threads = threads;
        }
        let detector = Detector::new(Model::open(path)?, engine)?;
        let names = detector.head().names.iter().flatten();
        // A name with a zero byte could not be read from C.
        let name = |n: &String| CString::new(n.replace('\0', "")).unwrap_or_default();
        Ok(Loaded { names: names.map(name).collect(), detector })
    }

    pub(crate) fn classes(&self) -> usize {
        self.detector.head().classes
    }

    pub(crate) fn name(&self, class: usize) -> Option<&CString> {
        self.names.get(class)
    }

    pub(crate) fn detect(
        &mut self,
        data: &[u8],
        frame: Frame,
        thresholds: Thresholds,
    ) -> Result<Vec<Detection>, CapiError> {
        let usual = self.detector.head().family.thresholds;
        let thresholds = Thresholds {
            conf: threshold("conf", thresholds.conf, usual.conf)?,
            iou: threshold("iou", thresholds.iou, usual.iou)?,
        };
        Ok(self.detector.detect_above(&frame.to_rgb(data)?, thresholds)?)
    }
}

/// A threshold as C gives it: below 0 it is what the model's family has.
fn threshold(argument: &'static str, value: f32, usual: f32) -> Result<f32, CapiError> {
    match value {
        v if v < 0.0 && v.is_finite() => Ok(usual),
        v if (0.0..=1.0).contains(&v) => Ok(v),
        v => Err(CapiError::Argument {
            argument,
            expected: "0 to 1, or below 0 for what is usual for the model's family",
            found: v.to_string(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(width_px: u32, height_px: u32, stride_bytes: usize, pixels: Pixels) -> Frame {
        Frame { width_px, height_px, stride_bytes, pixels }
    }

    #[test]
    fn frame_with_padded_rows_skips_the_padding() {
        let data = [1, 2, 3, 4, 5, 6, 99, 7, 8, 9, 10, 11, 12];
        let bgr = frame(2, 2, 7, Pixels::Bgr);
        assert_eq!(bgr.bytes().expect("it fits"), data.len());
        assert_eq!(
            bgr.to_rgb(&data).expect("it fits").into_raw(),
            [3, 2, 1, 6, 5, 4, 9, 8, 7, 12, 11, 10]
        );
    }

    #[test]
    fn load_of_models_beyond_measure_is_an_error() {
        use ir::ops::Expand;
        use ir::{DataType, Graph, TensorType};
        let folder = tempfile::tempdir().expect("a folder");
        let refused = |name: &str, shape: [usize; 4], repeats: [usize; 4]| {
            let mut graph = Graph::new(17);
            let mut edit = graph.edit();
            let x = edit.input("images", TensorType::new(DataType::F32, shape));
            for i in 0..64 {
                let op = Expand { repeats: repeats.to_vec() };
                let made = edit.node("wide", op, &[x], &[&format!("y{i}")]);
                edit.output(made[0]);
            }
            graph.apply(edit).expect("a valid graph");
            let path = folder.path().join(name);
            let bytes = onnx::encode(&graph).expect("it is encoded");
            std::fs::write(&path, bytes).expect("it can be written");
            let refused = Loaded::load(&path, 1).err().expect("it is refused");
            refused.to_string()
        };
        let large = refused("large.onnx", [1, 3, 20_000, 20_000], [1, 1, 1, 1]);
        assert!(large.contains("1200000000 elements"), "{large}");
        // No head is found in it, or no memory; it is not taken in any case.
        refused("wide.onnx", [1, 3, 8, 8], [1, 1, 1 << 12, 1 << 11]);
        let many = Loaded::load(&folder.path().join("absent.onnx"), 1 << 20).err();
        let many = many.expect("it is refused").to_string();
        assert!(many.contains("0 to 1024"), "{many}");
    }

    #[test]
    fn threshold_below_zero_is_the_familys_and_above_one_an_error() {
        assert_eq!(threshold("iou", -1.0, 0.45).ok(), Some(0.45));
        assert_eq!(threshold("iou", 0.7, 0.45).ok(), Some(0.7));
        for bad in [1.5, f32::NAN, f32::NEG_INFINITY] {
            assert!(threshold("iou", bad, 0.45).is_err(), "{bad}");
        }
    }

    #[test]
    fn frame_out_of_range_is_an_error() {
        for bad in [
            frame(0, 1, 3, Pixels::Rgb),
            frame(1, 1 << 20, 3, Pixels::Rgb),
            frame(2, 2, 5, Pixels::Rgb),
            frame(2, 3, usize::MAX, Pixels::Gray),
        ] {
            assert!(bad.bytes().is_err(), "{bad:?}");
        }
    }
}
