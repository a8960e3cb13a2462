//! `--engine onnxruntime`: the same model on ONNX Runtime, whose library is loaded when it is asked for.
use crate::model::{self, Model};
use anyhow::{Context, Result, bail};
use ir::Tensor;
use ort::session::Session;
use ort::value::TensorRef;
use std::path::Path;
use yolo::{Network, YoloError};

/// ONNX Runtime, loaded.
pub(crate) struct OnnxRuntime(());

impl OnnxRuntime {
    /// Loads the shared library; the process keeps it.
    pub(crate) fn load(library: &Path) -> Result<Self> {
        if !library.is_file() {
            bail!("--ort-library: no such file: {}", library.display());
        }
        // The loader looks beside the executable first, which a relative path does not mean.
        let absolute = std::path::absolute(library)
            .with_context(|| format!("--ort-library {}", library.display()))?;
        ort::init_from(absolute)
            .with_context(|| format!("--ort-library {}", library.display()))?
            .commit();
        Ok(Self(()))
    }

    /// A model as a network with `threads` threads.
    pub(crate) fn network(
        &self,
        model: &Model,
        size_px: [usize; 2],
        threads: usize,
    ) -> Result<OnnxRuntimeNetwork> {
        // A file that ONNX Runtime reads itself is what it is; a checkpoint is what it would be exported as.
        let exported = match model::is_checkpoint(&model.path) {
            true => Some(onnx::encode(&model.graph)?),
            false => None,
        };
        let session = Session::builder()
            .and_then(|b| {
                let mut b = b.with_intra_threads(threads)?;
                match &exported {
                    Some(bytes) => b.commit_from_memory(bytes),
                    None => b.commit_from_file(&model.path),
                }
            })
            .context("ONNX Runtime")?;
        // Of several outputs the first is what detectors are read from.
        let (inputs, outputs) = (session.inputs().len(), session.outputs().len());
        if inputs != 1 || outputs == 0 {
            bail!("expected one input and at least one output, found {inputs} and {outputs}");
        }
        Ok(OnnxRuntimeNetwork { session, size_px })
    }
}

/// A model in ONNX Runtime.
pub(crate) struct OnnxRuntimeNetwork {
    session: Session,
    size_px: [usize; 2],
}

impl OnnxRuntimeNetwork {
    fn run(&mut self, input: &[f32]) -> ort::Result<(Vec<usize>, Vec<f32>)> {
        let [height, width] = self.size_px;
        let tensor = TensorRef::from_array_view(([1_usize, 3, height, width], input))?;
        let outputs = self.session.run(ort::inputs![tensor])?;
        let (shape, data) = outputs[0].try_extract_tensor::<f32>()?;
        // Sizes in an output that exists are not negative.
        let shape = shape.iter().map(|&n| n.unsigned_abs() as usize).collect();
        Ok((shape, data.to_vec()))
    }
}

impl Network for OnnxRuntimeNetwork {
    fn infer(&mut self, input: &[f32]) -> Result<Tensor, YoloError> {
        let (shape, data) = self.run(input).map_err(|source| YoloError::Engine {
            engine: "ONNX Runtime",
            source: Box::new(source),
        })?;
        Ok(Tensor::new(shape, data)?)
    }
}
