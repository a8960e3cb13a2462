//! A detector that runs.

use std::path::Path;

use image::RgbImage;
use ir::Graph;
use observe::Engine;
use yolo::families::{Family, Head};
use yolo::{CompiledDetector, Detection, Thresholds};

use crate::{Error, Model};

/// A detector, compiled for this CPU, with memory and threads of its own.
pub struct Detector {
    detector: yolo::Detector,
}

impl Detector {
    /// Reads a model, as [`Model::open`], and compiles it for all cores of this machine.
    ///
    /// # Errors
    /// As [`Model::open`]; `Yolo` for a model that is no detector, or for which there is not enough memory.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, Error> {
        Self::new(Model::open(path)?, Engine::default())
    }

    /// As [`Detector::load`], from the bytes of an ONNX file whose weights are all inside.
    ///
    /// # Errors
    /// As [`Detector::load`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        let graph = onnx::parse(bytes, None, &onnx::LoadOptions::default())?;
        Self::compile(graph, None, Engine::default())
    }

    /// Compiles a model for an engine of the caller's choice.
    ///
    /// # Errors
    /// `Yolo`, as [`Detector::load`].
    pub fn new(model: Model, engine: Engine) -> Result<Self, Error> {
        Self::compile(model.graph, model.reading.family, engine)
    }

    fn compile(
        graph: Graph,
        family: Option<&'static Family>,
        engine: Engine,
    ) -> Result<Self, Error> {
        let compiled = CompiledDetector::open(graph, family, &engine.options)?;
        Ok(Self { detector: compiled.session(engine.threads)? })
    }

    /// Finds objects in an image, the most confident first; boxes are in its pixels. What counts as an object is what the tools
    /// of the model's family show.
    ///
    /// # Errors
    /// `Yolo` where the model reads several images of a scene, or a step of the plan complains.
    pub fn detect(&mut self, image: &RgbImage) -> Result<Vec<Detection>, Error> {
        let thresholds = self.head().family.thresholds;
        self.detect_above(image, thresholds)
    }

    /// As [`Detector::detect`], with thresholds of the caller's choice.
    ///
    /// # Errors
    /// As [`Detector::detect`].
    pub fn detect_above(
        &mut self,
        image: &RgbImage,
        thresholds: Thresholds,
    ) -> Result<Vec<Detection>, Error> {
        Ok(self.detector.detect(std::slice::from_ref(image), thresholds)?)
    }

    /// The recognised head: family, classes, input size.
    pub fn head(&self) -> &Head {
        self.detector.head()
    }

    /// Name of a class; `class 3` where the model carries no names.
    pub fn class_name(&self, class: usize) -> String {
        let names = self.head().names.as_ref();
        let name = names.and_then(|names| names.get(class));
        name.map_or_else(|| format!("class {class}"), String::clone)
    }
}
