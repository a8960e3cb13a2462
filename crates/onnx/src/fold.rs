//! Operators that only shape computations use: they disappear while a file is read.
//!
//! Spec: onnx.ai/onnx/operators (Constant, Shape, Size, Identity, Dropout, ConstantOfShape, Range; Cast and Expand where they change nothing), opset 9 to 21.
use ir::{DataType, NodeSpec, OpError, Tensor, TensorType};
use std::cell::Cell;

/// Largest constant that folding may make where it is larger than what it is made of.
const MAX_MADE_ELEMENTS: usize = 1 << 19;
/// Largest constant that folding may make at all: the reference computation widens every element.
const MAX_FOLDED_ELEMENTS: usize = 1 << 22;
/// What all folded constants may take beside the size of the file.
const MAX_FOLDED_BYTES: usize = 16 << 20;
/// What all folding may compute beside some operations for each byte of the file: folding must not take longer than reading.
const MAX_FOLDED_WORK: u64 = 1 << 28;
const WORK_PER_BYTE: u64 = 8;

/// Bytes and operations that folding may still take.
#[derive(Debug)]
pub(crate) struct FoldBudget {
    bytes: Cell<usize>,
    work: Cell<u64>,
}

impl FoldBudget {
    /// The budget of a file of that size.
    pub(crate) fn of_file(bytes: usize) -> Self {
        let work = (bytes as u64).saturating_mul(WORK_PER_BYTE);
        Self {
            bytes: Cell::new(bytes.saturating_add(MAX_FOLDED_BYTES)),
            work: Cell::new(work.saturating_add(MAX_FOLDED_WORK)),
        }
    }

    /// Takes what a constant needs; false, and nothing is taken, where too little is left.
    pub(crate) fn take(&self, types: &[TensorType], work: u64) -> bool {
        let bytes = |t: &TensorType| t.elements().saturating_mul(t.dtype.size_bytes().unwrap_or(0));
        let wanted = types.iter().fold(0usize, |n, t| n.saturating_add(bytes(t)));
        let left = self.bytes.get().checked_sub(wanted);
        let work_left = self.work.get().checked_sub(work);
        let (Some(left), Some(work_left)) = (left, work_left) else {
            return false;
        };
        self.bytes.set(left);
        self.work.set(work_left);
        true
    }
}

/// What a node turned out to be.
pub(crate) enum Folded {
    /// Its first input under another name.
    Alias,
    /// A constant.
    Constant(Tensor),
    /// Something that must be computed.
    Not,
}

/// Whether folding may make tensors of these types of those.
pub(crate) fn is_small(inputs: &[&TensorType], outputs: &[TensorType]) -> bool {
    let made = outputs.iter().fold(0usize, |n, t| n.saturating_add(t.elements()));
    let given = inputs.iter().fold(0usize, |n, t| n.saturating_add(t.elements()));
    let floats = inputs.iter().all(|t| t.dtype.is_float());
    made.max(given) <= MAX_MADE_ELEMENTS
        || (floats && made <= given && given <= MAX_FOLDED_ELEMENTS)
}

fn shape_is_small(shape: &[usize]) -> bool {
    shape.iter().fold(1usize, |n, &d| n.saturating_mul(d)) <= MAX_MADE_ELEMENTS
}

/// Folds one node of the default domain.
///
/// # Errors
/// What is wrong with its inputs or attributes.
pub(crate) fn fold(spec: &NodeSpec<'_>) -> Result<Folded, OpError> {
    let folded = match spec.op_type {
        "Constant" => constant(spec)?,
        "Shape" => shape(spec)?,
        "Size" => known_type(spec).map(|t| Tensor::scalar(t.elements() as i64)),
        "Identity" => return Ok(Folded::Alias),
        "Dropout" => {
            return Ok(if is_inference_dropout(spec)? { Folded::Alias } else { Folded::Not });
        }
        "Cast" | "CastLike" => return cast(spec),
        "ConstantOfShape" => constant_of_shape(spec)?,
        "Range" => range(spec)?,
        "Expand" => return expand(spec),
        _ => None,
    };
    Ok(folded.map_or(Folded::Not, Folded::Constant))
}

fn known_type<'a>(spec: &NodeSpec<'a>) -> Option<&'a TensorType> {
    spec.input(0).and_then(|i| i.ty)
}

fn known<'a>(spec: &NodeSpec<'a>, input: usize) -> Option<&'a Tensor> {
    spec.input(input).and_then(|i| i.constant)
}

fn constant(spec: &NodeSpec<'_>) -> Result<Option<Tensor>, OpError> {
    let mut a = spec.attributes.clone();
    if let Some(t) = a.tensor("value")? {
        return Ok(Some(t));
    }
    if let Some(v) = a.float("value_float")? {
        return Ok(Some(Tensor::scalar(v)));
    }
    if let Some(v) = a.int("value_int")? {
        return Ok(Some(Tensor::scalar(v)));
    }
    if let Some(v) = a.floats("value_floats")? {
        return Ok(Some(Tensor::vector(v)));
    }
    Ok(a.ints("value_ints")?.map(Tensor::vector))
}

fn shape(spec: &NodeSpec<'_>) -> Result<Option<Tensor>, OpError> {
    let mut a = spec.attributes.clone();
    let Some(ty) = known_type(spec) else {
        return Ok(None);
    };
    let rank = ty.rank() as i64;
    let bound = |v: i64| (if v < 0 { v.saturating_add(rank) } else { v }).clamp(0, rank) as usize;
    let start = bound(a.int("start")?.unwrap_or(0));
    let end = bound(a.int("end")?.unwrap_or(rank));
    let dims = ty.shape.get(start..end).unwrap_or_default();
    Ok(Some(Tensor::vector(dims.iter().map(|&d| d as i64).collect())))
}

/// The mask has a meaning only in training; a node whose mask is read is left alone.
fn is_inference_dropout(spec: &NodeSpec<'_>) -> Result<bool, OpError> {
    let training = match spec.input(2) {
        None => false,
        Some(mode) => {
            mode.constant.map(Tensor::to_i64).transpose()?.is_none_or(|v| v.iter().any(|&x| x != 0))
        }
    };
    Ok(spec.outputs == 1 && !training)
}

fn cast(spec: &NodeSpec<'_>) -> Result<Folded, OpError> {
    let to = match spec.attributes.clone().int("to")? {
        Some(code) => Some(DataType::from_onnx(i32::try_from(code).unwrap_or(0))),
        None => spec.input(1).and_then(|i| i.ty).map(|t| t.dtype),
    };
    let same = known_type(spec).is_some_and(|t| Some(t.dtype) == to);
    Ok(if same { Folded::Alias } else { Folded::Not })
}

fn constant_of_shape(spec: &NodeSpec<'_>) -> Result<Option<Tensor>, OpError> {
    let Some(shape) = known(spec, 0) else {
        return Ok(None);
    };
    let shape = lengths(shape)?;
    if !shape_is_small(&shape) {
        return Ok(None);
    }
    let value =
        spec.attributes.clone().tensor("value")?.unwrap_or_else(|| Tensor::vector(vec![0f32]));
    if value.dtype().size_bytes().is_none() || value.len() != 1 {
        return Err(OpError::Attribute {
            name: "value".to_owned(),
            expected: "one number",
            found: value.ty().to_string(),
        });
    }
    let n: usize = shape.iter().product();
    Tensor::from_data(shape, value.data().gather(std::iter::repeat_n(0, n))).map(Some)
}

fn lengths(shape: &Tensor) -> Result<Vec<usize>, OpError> {
    let dims = shape.to_i64()?;
    let length = |(axis, &d): (usize, &i64)| {
        usize::try_from(d).map_err(|_| OpError::Index { axis, index: d, length: 0 })
    };
    dims.iter().enumerate().map(length).collect()
}

fn range(spec: &NodeSpec<'_>) -> Result<Option<Tensor>, OpError> {
    let (Some(start), Some(limit), Some(delta)) = (known(spec, 0), known(spec, 1), known(spec, 2))
    else {
        return Ok(None);
    };
    let first = |t: &Tensor| {
        let missing = OpError::ElementCount { shape: vec![], expected: 1, found: t.len() };
        t.to_f64()?.first().copied().ok_or(missing)
    };
    let (from, to, step) = (first(start)?, first(limit)?, first(delta)?);
    let count = ((to - from) / step).ceil().max(0.0);
    if !count.is_finite() || step == 0.0 {
        return Err(OpError::Unsupported { feature: "a Range without end" });
    }
    if count > MAX_MADE_ELEMENTS as f64 {
        return Ok(None);
    }
    let n = count as usize;
    let values: Vec<f64> = (0..n).map(|i| from + i as f64 * step).collect();
    Tensor::from_f64(start.dtype(), [n], &values).map(Some)
}

fn expand(spec: &NodeSpec<'_>) -> Result<Folded, OpError> {
    let (Some(ty), Some(target)) = (known_type(spec), known(spec, 1)) else {
        return Ok(Folded::Not);
    };
    let target = lengths(target)?;
    let missing = ty.rank().checked_sub(target.len());
    let is_within = missing.is_some_and(|skip| {
        let mut pairs = target.iter().zip(&ty.shape[skip..]);
        pairs.all(|(&to, &from)| to == 1 || to == from)
    });
    Ok(if is_within { Folded::Alias } else { Folded::Not })
}
