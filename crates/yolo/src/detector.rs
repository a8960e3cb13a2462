//! A detector: family preprocessing, the compiled plan, decoding and NMS.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

use image::RgbImage;
use ir::{Graph, IrError, Normalised, Tensor, TensorType, ValueId};
use runtime::{Outputs, Plan, PlanOptions, Session};

use crate::families::{Family, Head, identify};
use crate::{
    Detection, Letterbox, Pixels, Planes, Region, Thresholds, YoloError, YuvFrame, YuvPixels, nms,
};

/// Most detections an image may give, as the family's own tools limit it.
pub const MAX_DET: usize = 300;

/// An input or an output of a network.
#[derive(Clone, Debug, PartialEq)]
pub struct Port {
    /// Its name in the model.
    pub name: String,
    /// Type and shape of its elements.
    pub ty: TensorType,
}

/// A detector compiled once, from which every thread makes its own session.
#[derive(Clone)]
pub struct CompiledDetector {
    /// The recognised head.
    pub head: Arc<Head>,
    /// The executable schedule.
    pub plan: Arc<Plan>,
    /// The network's inputs, in the order of [`Network::infer`].
    pub inputs: Vec<Port>,
    /// The network's outputs, in the order of [`Network::infer`].
    pub outputs: Vec<Port>,
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
    /// `Runtime` when the graph cannot be executed, `Graph` when the shape of an input or output is not known.
    pub fn compile(
        graph: &Normalised,
        head: &Arc<Head>,
        options: &PlanOptions,
    ) -> Result<Self, YoloError> {
        let plan = Plan::compile(graph, &[], options)?;
        let port = |id: &ValueId| {
            let name = graph.value(*id).name.clone();
            Ok(Port { name, ty: graph.ty(*id)?.clone() })
        };
        let ports = |ids: &[ValueId]| ids.iter().map(port).collect::<Result<_, IrError>>();
        Ok(Self {
            head: Arc::clone(head),
            plan: Arc::new(plan),
            inputs: ports(graph.inputs())?,
            outputs: ports(graph.outputs())?,
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
    /// The network's outputs for its inputs, `[1, C, H, W] f32` each in row-major order.
    ///
    /// # Errors
    /// What the engine says.
    fn infer(&mut self, inputs: &[&[f32]]) -> Result<Vec<Tensor>, YoloError>;

    /// As [`Network::infer`], the outputs' elements where the engine holds them, if it can give them there. An output that is
    /// not of type f32 has none.
    ///
    /// # Errors
    /// As [`Network::infer`].
    fn infer_elements(&mut self, inputs: &[&[f32]]) -> Result<Vec<Elements<'_>>, YoloError> {
        let elements = |t: Tensor| Cow::Owned(t.as_slice().unwrap_or_default().to_vec());
        Ok(self.infer(inputs)?.into_iter().map(elements).collect())
    }

    /// As [`Network::infer_elements`], for pixels in the order of the network's channels, each byte standing for `scale` times
    /// itself.
    ///
    /// # Errors
    /// As [`Network::infer`].
    fn infer_pixels(
        &mut self,
        inputs: &[Pixels],
        scale: f32,
    ) -> Result<Vec<Elements<'_>>, YoloError> {
        let planes = Planes(inputs.iter().map(|p| p.planes(scale)).collect());
        self.infer_elements(&planes.slices())
    }
}

/// Elements of an output in row-major order.
pub type Elements<'a> = Cow<'a, [f32]>;

fn held(outputs: Outputs<'_>) -> Result<Vec<Elements<'_>>, YoloError> {
    outputs.iter().map(|elements| Ok(Cow::Borrowed(elements?))).collect()
}

impl Network for Session {
    fn infer(&mut self, inputs: &[&[f32]]) -> Result<Vec<Tensor>, YoloError> {
        Ok(self.run(inputs)?)
    }

    fn infer_elements(&mut self, inputs: &[&[f32]]) -> Result<Vec<Elements<'_>>, YoloError> {
        held(Session::infer(self, inputs)?)
    }

    fn infer_pixels(
        &mut self,
        inputs: &[Pixels],
        scale: f32,
    ) -> Result<Vec<Elements<'_>>, YoloError> {
        let bytes: Vec<&[u8]> = inputs.iter().map(|p| p.bytes.as_slice()).collect();
        held(self.infer_u8(&bytes, scale)?)
    }
}

/// Where a detection's time went, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct DetectionTimes {
    /// From the image or frame to the network's input.
    pub preprocess_ms: f64,
    /// In the network.
    pub inference_ms: f64,
    /// From the network's outputs to boxes.
    pub postprocess_ms: f64,
}

/// A detector that runs.
pub struct Detector {
    head: Arc<Head>,
    network: Box<dyn Network>,
    yuv: YuvPixels,
    times: DetectionTimes,
}

impl Detector {
    /// A detector on any engine.
    pub fn new(head: &Arc<Head>, network: Box<dyn Network>) -> Self {
        Self {
            head: Arc::clone(head),
            network,
            yuv: YuvPixels::default(),
            times: DetectionTimes::default(),
        }
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
        let started = Instant::now();
        let (pixels, geometry) = self.head.input.pixels(images)?;
        let prepared = Instant::now();
        let scale = self.head.input.preprocess.scale;
        let outputs = self.network.infer_pixels(&pixels, scale)?;
        let inferred = Instant::now();
        let found = found(&self.head, &outputs, geometry, thresholds)?;
        self.times = times([started, prepared, inferred, Instant::now()]);
        Ok(found)
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
        let started = Instant::now();
        let geometry = self.head.input.pixels_of_yuv(frame, &mut self.yuv)?;
        let prepared = Instant::now();
        let scale = self.head.input.preprocess.scale;
        let pixels = std::slice::from_ref(self.yuv.pixels());
        let outputs = self.network.infer_pixels(pixels, scale)?;
        let inferred = Instant::now();
        let mut found = found(&self.head, &outputs, geometry, thresholds)?;
        let Region { left, top, .. } = frame.region();
        found.iter_mut().for_each(|d| d.bbox = d.bbox.shifted(left as f32, top as f32));
        self.times = times([started, prepared, inferred, Instant::now()]);
        Ok(found)
    }

    /// Where the time of the last detection went.
    pub fn times(&self) -> DetectionTimes {
        self.times
    }

    /// The network's outputs for its inputs, as [`Network::infer`].
    ///
    /// # Errors
    /// As [`Network::infer`].
    pub fn infer(&mut self, inputs: &[&[f32]]) -> Result<Vec<Tensor>, YoloError> {
        self.network.infer(inputs)
    }
}

/// What the network's outputs tell, in pixels of the image that was letterboxed.
fn found(
    head: &Head,
    outputs: &[Elements<'_>],
    geometry: Letterbox,
    thresholds: Thresholds,
) -> Result<Vec<Detection>, YoloError> {
    let outputs: Vec<&[f32]> = outputs.iter().map(|elements| &**elements).collect();
    let candidates = head.decoder.decode_elements(&outputs, thresholds.conf)?;
    // Where nothing is suppressed, a candidate is never dropped for its overlap.
    let iou = if head.decoder.needs_nms() { thresholds.iou } else { f32::INFINITY };
    let mut found = nms(&candidates, iou, MAX_DET);
    for detection in &mut found {
        detection.bbox = geometry.to_image(detection.bbox);
    }
    Ok(found)
}

fn times([started, prepared, inferred, done]: [Instant; 4]) -> DetectionTimes {
    let ms = |from: Instant, to: Instant| to.duration_since(from).as_secs_f64() * 1e3;
    DetectionTimes {
        preprocess_ms: ms(started, prepared),
        inference_ms: ms(prepared, inferred),
        postprocess_ms: ms(inferred, done),
    }
}
