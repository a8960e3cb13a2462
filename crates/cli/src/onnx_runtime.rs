//! `--engine onnxruntime`: the same model on ONNX Runtime, whose library is loaded when it is asked for.
use anyhow::{Context, Result, bail};
use half::{bf16, f16};
use ir::Tensor;
use ort::session::{Session, SessionInputValue};
use ort::value::{DynValue, TensorElementType, TensorRef, ValueRef, ValueType};
use std::path::Path;
use yolo::{Elements, Network, YoloError};
use yoloslim::{Model, is_checkpoint};

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
        let open = |exported: Option<&[u8]>| {
            let mut builder = Session::builder()?.with_intra_threads(threads)?;
            match exported {
                Some(bytes) => builder.commit_from_memory(bytes),
                None => builder.commit_from_file(&model.path),
            }
        };
        // A file that ONNX Runtime reads itself is what it is; a checkpoint, and a file that takes images in another form
        // than we give them, is what it would be exported as.
        let as_it_is = if is_checkpoint(&model.path) {
            None
        } else {
            Some(open(None).context("ONNX Runtime")?)
        };
        let session = match as_it_is.filter(|session| takes(session, &model.graph)) {
            Some(session) => session,
            None => open(Some(&onnx::encode(&model.graph)?)).context("ONNX Runtime")?,
        };
        let (inputs, outputs) = (session.inputs().len(), session.outputs().len());
        let types = session.inputs().iter().map(|i| element_type(i.dtype()));
        let types: Vec<TensorElementType> = types.collect();
        let shape = |&v: &ir::ValueId| Ok(model.graph.ty(v)?.shape.clone());
        let shapes = model.graph.inputs().iter().map(shape);
        let shapes = shapes.collect::<Result<Vec<_>>>()?;
        if inputs != shapes.len() || outputs == 0 {
            let expected = shapes.len();
            bail!(
                "expected {expected} inputs and at least one output, found {inputs} and {outputs}"
            );
        }
        let inputs = shapes.into_iter().zip(types).collect();
        Ok(OnnxRuntimeNetwork { session, inputs, outputs: Vec::new() })
    }
}

/// Whether a session's inputs are of the graph's shapes, and no bytes.
fn takes(session: &Session, graph: &ir::Graph) -> bool {
    let mut pairs = session.inputs().iter().zip(graph.inputs());
    pairs.all(|(input, &v)| {
        let expected = graph.ty(v).map_or(&[][..], |t| t.shape.as_slice());
        let is = |(&found, &expected): (&i64, &usize)| found < 0 || found == expected as i64;
        match input.dtype() {
            ValueType::Tensor { ty, shape, .. } => {
                *ty != TensorElementType::Uint8 && shape.iter().zip(expected).all(is)
            }
            _ => true,
        }
    })
}

/// A model in ONNX Runtime.
pub(crate) struct OnnxRuntimeNetwork {
    session: Session,
    /// Shapes and element types.
    inputs: Vec<(Vec<usize>, TensorElementType)>,
    /// What the last run gave.
    outputs: Vec<DynValue>,
}

/// The type of a tensor's elements; what is no tensor takes f32 no better than anything else.
fn element_type(ty: &ValueType) -> TensorElementType {
    match ty {
        ValueType::Tensor { ty, .. } => *ty,
        _ => TensorElementType::Float32,
    }
}

/// Numbers as an input of the model takes them.
fn given<'a>(
    shape: &[usize],
    ty: TensorElementType,
    data: &'a [f32],
) -> ort::Result<SessionInputValue<'a>> {
    macro_rules! converted {
        ($convert:expr) => {
            Ok(ort::value::Tensor::from_array((
                shape.to_vec(),
                data.iter().copied().map($convert).collect::<Vec<_>>(),
            ))?
            .into())
        };
    }
    match ty {
        TensorElementType::Float16 => converted!(f16::from_f32),
        TensorElementType::Bfloat16 => converted!(bf16::from_f32),
        TensorElementType::Float64 => converted!(f64::from),
        TensorElementType::Uint8 => converted!(|x| x as u8),
        TensorElementType::Int8 => converted!(|x| x as i8),
        TensorElementType::Int32 => converted!(|x| x as i32),
        TensorElementType::Int64 => converted!(|x| x as i64),
        _ => Ok(TensorRef::from_array_view((shape.to_vec(), data))?.into()),
    }
}

/// An output of the model as numbers.
fn taken(output: ValueRef<'_>) -> ort::Result<(Vec<usize>, Vec<f32>)> {
    macro_rules! converted {
        ($ty:ty, $convert:expr) => {{
            let (shape, data) = output.try_extract_tensor::<$ty>()?;
            (shape, data.iter().copied().map($convert).collect())
        }};
    }
    let (shape, data) = match element_type(output.dtype()) {
        TensorElementType::Float16 => converted!(f16, f16::to_f32),
        TensorElementType::Bfloat16 => converted!(bf16, bf16::to_f32),
        TensorElementType::Float64 => converted!(f64, |x| x as f32),
        TensorElementType::Int32 => converted!(i32, |x| x as f32),
        TensorElementType::Int64 => converted!(i64, |x| x as f32),
        _ => converted!(f32, |x| x),
    };
    // Sizes in an output that exists are not negative.
    let shape = shape.iter().map(|&n| n.unsigned_abs() as usize).collect();
    Ok((shape, data))
}

/// As [`taken`], where ONNX Runtime holds them if they are f32.
fn elements(output: &DynValue) -> Result<Elements<'_>, YoloError> {
    if element_type(output.dtype()) == TensorElementType::Float32 {
        let (_, data) = output.try_extract_tensor::<f32>().map_err(failed)?;
        return Ok(Elements::Borrowed(data));
    }
    Ok(Elements::Owned(taken(output.view()).map_err(failed)?.1))
}

impl OnnxRuntimeNetwork {
    fn run(&mut self, inputs: &[&[f32]]) -> Result<(), YoloError> {
        let inputs = self.inputs.iter().zip(inputs);
        let inputs = inputs.map(|((shape, ty), data)| given(shape, *ty, data));
        let inputs: Vec<SessionInputValue<'_>> =
            inputs.collect::<ort::Result<_>>().map_err(failed)?;
        let outputs = self.session.run(inputs.as_slice()).map_err(failed)?;
        self.outputs = outputs.into_iter().map(|(_, value)| value).collect();
        Ok(())
    }
}

fn failed(cause: ort::Error) -> YoloError {
    YoloError::Engine { engine: "ONNX Runtime", cause: Box::new(cause) }
}

impl Network for OnnxRuntimeNetwork {
    fn infer(&mut self, inputs: &[&[f32]]) -> Result<Vec<Tensor>, YoloError> {
        self.run(inputs)?;
        let tensor = |output: &DynValue| {
            let (shape, data) = taken(output.view()).map_err(failed)?;
            Ok(Tensor::new(shape, data)?)
        };
        self.outputs.iter().map(tensor).collect()
    }

    fn infer_elements(&mut self, inputs: &[&[f32]]) -> Result<Vec<Elements<'_>>, YoloError> {
        self.run(inputs)?;
        self.outputs.iter().map(elements).collect()
    }
}
