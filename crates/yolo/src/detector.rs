//! A detector: family preprocessing, the compiled plan, decoding and NMS.

use std::sync::Arc;

use image::RgbImage;
use ir::{Graph, Normalised, Tensor};
use runtime::{Plan, PlanOptions, Session};

use crate::families::{Family, Head, identify};
use crate::{
    BoxXyxy, Detection, Letterbox, Pixels, Planes, Region, Thresholds, YoloError, YuvFrame,
    YuvPixels, nms,
};

/// Most detections an image may give, as the family's own tools limit it.
pub const MAX_DET: usize = 300;

/// A detector compiled once, from which every thread makes its own session.
#[derive(Clone)]
pub struct CompiledDetector {
    /// The recognised head.
    pub head: Arc<Head>,
    /// The executable schedule.
    pub plan: Arc<Plan>,
}

impl CompiledDetector {
    /// Recognises the head of a graph, of the family if one is named, and compiles it.
    ///
    /// # Errors
    /// As [`identify`] and [`CompiledDetector::compile`]; `Graph` when the graph cannot be normalised.
    pub fn open(
        graph: Graph,
        family: Option<&'static Family>,
        options: &PlanOptions,
    ) -> Result<Self, YoloError> {
        let graph = ir::normalise(graph)?;
        let head = Arc::new(identify(&graph, family)?);
        Self::compile(&graph, &head, options)
    }

    /// Compiles a graph whose head was recognised, in this graph or in one that it was made from by pruning or quantization.
    ///
    /// # Errors
    /// `Runtime` when the graph cannot be executed.
    pub fn compile(
        graph: &Normalised,
        head: &Arc<Head>,
        options: &PlanOptions,
    ) -> Result<Self, YoloError> {
        let plan = Plan::compile(graph, &[], options)?;
        Ok(Self { head: Arc::clone(head), plan: Arc::new(plan) })
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
    /// The network's outputs for its inputs, `[1, C, H, W] f32` each in row-major order.
    ///
    /// # Errors
    /// What the engine says.
    fn infer(&mut self, inputs: &[&[f32]]) -> Result<Vec<Tensor>, YoloError>;

    /// As [`Network::infer`], for pixels in the order of the network's channels, each byte standing for `scale` times
    /// itself. The outputs' elements replace those of the last call of the same network, or an empty list; one that is not
    /// of type f32 has none.
    ///
    /// # Errors
    /// As [`Network::infer`].
    fn infer_pixels(
        &mut self,
        inputs: &[Pixels],
        scale: f32,
        outputs: &mut Vec<Vec<f32>>,
    ) -> Result<(), YoloError> {
        let planes = Planes(inputs.iter().map(|p| p.planes(scale)).collect());
        *outputs = elements(&self.infer(&planes.slices())?);
        Ok(())
    }
}

impl Network for Session {
    fn infer(&mut self, inputs: &[&[f32]]) -> Result<Vec<Tensor>, YoloError> {
        Ok(self.run(inputs)?)
    }

    fn infer_pixels(
        &mut self,
        inputs: &[Pixels],
        scale: f32,
        outputs: &mut Vec<Vec<f32>>,
    ) -> Result<(), YoloError> {
        let bytes: Vec<&[u8]> = inputs.iter().map(|p| p.bytes.as_slice()).collect();
        // The first call tells how long they are.
        if outputs.iter().any(Vec::is_empty) || outputs.is_empty() {
            *outputs = elements(&self.run_u8(&bytes, scale)?);
            return Ok(());
        }
        let mut outputs: Vec<&mut [f32]> = outputs.iter_mut().map(Vec::as_mut_slice).collect();
        Ok(self.run_u8_into(&bytes, scale, &mut outputs)?)
    }
}

fn elements(outputs: &[Tensor]) -> Vec<Vec<f32>> {
    outputs.iter().map(|t| t.as_slice().unwrap_or_default().to_vec()).collect()
}

/// A detector that runs.
pub struct Detector {
    head: Arc<Head>,
    network: Box<dyn Network>,
    /// The network's outputs for the last image; memory for the next one's.
    outputs: Vec<Vec<f32>>,
    yuv: YuvPixels,
}

impl Detector {
    /// A detector on any engine.
    pub fn new(head: &Arc<Head>, network: Box<dyn Network>) -> Self {
        let (outputs, yuv) = (Vec::new(), YuvPixels::default());
        Self { head: Arc::clone(head), network, outputs, yuv }
    }

    /// The recognised head.
    pub fn head(&self) -> &Arc<Head> {
        &self.head
    }

    /// Finds objects in the images of a scene, most often one: boxes in pixels of the first, best first.
    ///
    /// # Errors
    /// `ImageCount` where the network reads another number of images, `Runtime` when a step of the plan complains,
    /// `Engine` when another engine does, `OutputClass` and `OutputLength` as [`Decoder::decode`](crate::families::Decoder::decode).
    pub fn detect(
        &mut self,
        images: &[RgbImage],
        thresholds: Thresholds,
    ) -> Result<Vec<Detection>, YoloError> {
        let (pixels, geometry) = self.head.input.pixels(images)?;
        let scale = self.head.input.preprocess.scale;
        self.network.infer_pixels(&pixels, scale, &mut self.outputs)?;
        self.found(geometry, thresholds)
    }

    /// As [`Detector::detect`], of a frame, or the part that was cropped from it, without an image in between: boxes in
    /// pixels of the whole frame. Memory is kept from frame to frame.
    ///
    /// # Errors
    /// As [`Detector::detect`].
    pub fn detect_yuv(
        &mut self,
        frame: &YuvFrame<'_>,
        thresholds: Thresholds,
    ) -> Result<Vec<Detection>, YoloError> {
        let geometry = self.head.input.pixels_of_yuv(frame, &mut self.yuv)?;
        let scale = self.head.input.preprocess.scale;
        let pixels = std::slice::from_ref(self.yuv.pixels());
        self.network.infer_pixels(pixels, scale, &mut self.outputs)?;
        let mut found = self.found(geometry, thresholds)?;
        let Region { left, top, .. } = frame.region();
        let (left, top) = (left as f32, top as f32);
        for BoxXyxy { left: x, top: y, right, bottom } in found.iter_mut().map(|d| &mut d.bbox) {
            (*x, *right) = (*x + left, *right + left);
            (*y, *bottom) = (*y + top, *bottom + top);
        }
        Ok(found)
    }

    /// What the network's outputs tell, in pixels of what was letterboxed.
    fn found(
        &self,
        geometry: Letterbox,
        thresholds: Thresholds,
    ) -> Result<Vec<Detection>, YoloError> {
        let outputs: Vec<&[f32]> = self.outputs.iter().map(Vec::as_slice).collect();
        let candidates = self.head.decoder.decode_elements(&outputs, thresholds.conf)?;
        // Where nothing is suppressed, a candidate is never dropped for its overlap.
        let iou = if self.head.decoder.needs_nms() { thresholds.iou } else { f32::INFINITY };
        let mut found = nms(&candidates, iou, MAX_DET);
        for detection in &mut found {
            detection.bbox = geometry.to_image(detection.bbox);
        }
        Ok(found)
    }
}
