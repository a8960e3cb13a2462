//! `--engine onnxruntime`: the same model on ONNX Runtime, whose library is loaded when it is asked for.
use crate::model::{self, Model};
use anyhow::{Context, Result, bail};
use ir::Tensor;
use ort::session::{Session, SessionInputValue};
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
    pub(crate) fn network(&self, model: &Model, threads: usize) -> Result<OnnxRuntimeNetwork> {
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
        let shape = |&v: &ir::ValueId| Ok(model.graph.ty(v)?.shape.clone());
        let shapes = model.graph.inputs().iter().map(shape);
        let shapes = shapes.collect::<Result<Vec<_>>>()?;
        if inputs != shapes.len() || outputs == 0 {
            let expected = shapes.len();
            bail!(
                "expected {expected} inputs and at least one output, found {inputs} and {outputs}"
            );
        }
        Ok(OnnxRuntimeNetwork { session, shapes })
    }
}

/// A model in ONNX Runtime.
pub(crate) struct OnnxRuntimeNetwork {
    session: Session,
    /// Of its inputs.
    shapes: Vec<Vec<usize>>,
}

impl OnnxRuntimeNetwork {
    fn run(&mut self, inputs: &[&[f32]]) -> ort::Result<(Vec<usize>, Vec<f32>)> {
        let given = self.shapes.iter().zip(inputs);
        let given = given
            .map(|(shape, &data)| Ok(TensorRef::from_array_view((shape.clone(), data))?.into()));
        let given: Vec<SessionInputValue<'_>> = given.collect::<ort::Result<_>>()?;
        let outputs = self.session.run(given.as_slice())?;
        let (shape, data) = outputs[0].try_extract_tensor::<f32>()?;
        // Sizes in an output that exists are not negative.
        let shape = shape.iter().map(|&n| n.unsigned_abs() as usize).collect();
        Ok((shape, data.to_vec()))
    }
}

impl Network for OnnxRuntimeNetwork {
    fn infer(&mut self, inputs: &[&[f32]]) -> Result<Tensor, YoloError> {
        let (shape, data) = self.run(inputs).map_err(|source| YoloError::Engine {
            engine: "ONNX Runtime",
            source: Box::new(source),
        })?;
        Ok(Tensor::new(shape, data)?)
    }
}
