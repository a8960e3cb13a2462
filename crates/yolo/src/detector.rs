//! A detector: family preprocessing, the compiled plan, decoding and NMS.

use std::sync::Arc;

use image::RgbImage;
use ir::{Graph, Tensor, rewrites};
use runtime::{Plan, PlanOptions, Session};

use crate::families::{Head, ModelInput, RawOutput};
use crate::{Detection, Letterbox, YoloError, letterbox, nms};

/// Most detections an image may give, as the family's own tools limit it.
pub const MAX_DET: usize = 300;

/// What counts as a detection.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Thresholds {
    /// Lowest confidence.
    pub conf: f32,
    /// Highest overlap of two boxes of one class.
    pub iou: f32,
}

/// A detector compiled once, from which every thread makes its own session.
#[derive(Clone)]
pub struct CompiledDetector {
    /// The recognised head.
    pub head: Arc<Head>,
    /// The executable schedule.
    pub plan: Arc<Plan>,
}

impl CompiledDetector {
    /// Compiles a graph for detection; BatchNorm is folded on the way.
    ///
    /// # Errors
    /// `NoFamily`, `UnknownFamily` as [`crate::families::identify`]; `Graph` and `Runtime` when the graph cannot be executed.
    pub fn compile(
        graph: &Graph,
        family: Option<&str>,
        options: &PlanOptions,
    ) -> Result<Self, YoloError> {
        let head = crate::families::identify(graph, family)?;
        let mut graph = graph.clone();
        for rewrite in rewrites::REWRITES {
            rewrites::apply(&mut graph, rewrite)?;
        }
        let plan = Plan::compile(&graph, &[], options)?;
        Ok(Self {
            head: Arc::new(head),
            plan: Arc::new(plan),
        })
    }

    /// A detector with memory and `threads` threads of its own.
    ///
    /// # Errors
    /// `Runtime` when there is not enough memory.
    pub fn session(&self, threads: usize) -> Result<Detector, YoloError> {
        let session = Session::new(&self.plan, threads)?;
        Ok(Detector::new(&self.head, Box::new(session)))
    }
}

/// The engine under a detector: runs the network and nothing else.
pub trait Network: Send {
    /// The network's output for an input `[1, 3, H, W] f32` in row-major order.
    ///
    /// # Errors
    /// What the engine says; a network without exactly one output of type f32.
    fn infer(&mut self, input: &[f32]) -> Result<Tensor, YoloError>;

    /// As [`Network::infer`], for pixels `[H, W, 3]` in the order of the network's channels, each byte standing for
    /// `scale` times itself.
    ///
    /// # Errors
    /// As [`Network::infer`].
    fn infer_pixels(&mut self, pixels: &[u8], scale: f32) -> Result<Tensor, YoloError> {
        self.infer(&to_planes(pixels, scale))
    }
}

impl Network for Session {
    fn infer(&mut self, input: &[f32]) -> Result<Tensor, YoloError> {
        Ok(self.run(&[input])?.remove(0))
    }

    fn infer_pixels(&mut self, pixels: &[u8], scale: f32) -> Result<Tensor, YoloError> {
        Ok(self.run_u8(pixels, scale)?.remove(0))
    }
}

/// A detector that runs.
pub struct Detector {
    head: Arc<Head>,
    network: Box<dyn Network>,
}

impl Detector {
    /// A detector on any engine.
    pub fn new(head: &Arc<Head>, network: Box<dyn Network>) -> Self {
        Self {
            head: Arc::clone(head),
            network,
        }
    }

    /// The recognised head.
    pub fn head(&self) -> &Arc<Head> {
        &self.head
    }

    /// Finds objects: boxes in pixels of `image`, best first.
    ///
    /// # Errors
    /// `Runtime` when a step of the plan complains, `Engine` when another engine does.
    pub fn detect(
        &mut self,
        image: &RgbImage,
        thresholds: Thresholds,
    ) -> Result<Vec<Detection>, YoloError> {
        let (pixels, geometry) = pixels(image, &self.head.input());
        let scale = self.head.family.preprocess.scale;
        let output = self.network.infer_pixels(&pixels, scale)?;
        let raw = RawOutput::new(&output, self.head.size_px)?;
        let candidates = (self.head.family.decode)(&raw, thresholds.conf);
        // Where nothing is suppressed, a candidate is never dropped for its overlap.
        let iou = if self.head.family.nms {
            thresholds.iou
        } else {
            f32::INFINITY
        };
        let mut found = nms(&candidates, iou, MAX_DET);
        for detection in &mut found {
            detection.bbox = geometry.to_image(detection.bbox);
        }
        Ok(found)
    }
}

/// An image as the network's input `[1, 3, H, W] f32`, and how it was placed there.
pub fn prepare(image: &RgbImage, input: &ModelInput) -> (Vec<f32>, Letterbox) {
    let (pixels, geometry) = pixels(image, input);
    (to_planes(&pixels, input.preprocess.scale), geometry)
}

/// An image as pixels `[H, W, 3]` of the network's input, in the order of its channels, and how it was placed there.
fn pixels(image: &RgbImage, input: &ModelInput) -> (Vec<u8>, Letterbox) {
    let [height, width] = input.size_px;
    let preprocess = input.preprocess;
    let source = (image.width() as usize, image.height() as usize);
    let geometry = Letterbox::new(preprocess.placement, source, (width, height));
    let mut pixels = letterbox(image, &geometry);
    if preprocess.bgr {
        pixels
            .as_chunks_mut::<3>()
            .0
            .iter_mut()
            .for_each(|p| p.swap(0, 2));
    }
    (pixels, geometry)
}

/// Interleaved bytes as planes `[1, 3, H, W] f32`.
fn to_planes(pixels: &[u8], scale: f32) -> Vec<f32> {
    let plane = pixels.len() / 3;
    let mut input = vec![0.0; 3 * plane];
    for (channel, out) in input.chunks_exact_mut(plane.max(1)).enumerate() {
        for (o, pixel) in out.iter_mut().zip(pixels.as_chunks::<3>().0) {
            *o = f32::from(pixel[channel]) * scale;
        }
    }
    input
}
