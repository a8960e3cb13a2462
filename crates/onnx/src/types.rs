//! Types of values: what a file declares, and how its open axes are closed.
use crate::OnnxError;
use crate::proto::{Dimension, TensorShapeProto, TensorTypeProto, TypeProto, ValueInfoProto};
use ir::{DataType, TensorType};

/// Most elements of an input: an image of three channels and 16 384 pixels a side, the largest that is read, holds three
/// quarters of it.
const MAX_INPUT_ELEMENTS: u128 = 1 << 30;

/// The declared type, if it is a tensor with a static shape.
pub(crate) fn static_type(info: &ValueInfoProto) -> Option<TensorType> {
    let tensor = info.r#type.as_ref()?.tensor_type.as_ref()?;
    let dims = &tensor.shape.as_ref()?.dim;
    let lengths = dims.iter().map(|d| length(d, dims.len() == 4));
    let shape = lengths.collect::<Option<Vec<_>>>()?;
    Some(TensorType::new(DataType::from_onnx(tensor.elem_type()), shape))
}

/// A length; negative numbers are what exporters write where they do not know it, and of images so is 0.
fn length(dim: &Dimension, is_image: bool) -> Option<usize> {
    let length = dim.dim_value.and_then(|v| usize::try_from(v).ok());
    length.filter(|&v| v > 0 || !is_image)
}

/// A type as the file declares it; `None` declares only the name.
pub(crate) fn declare(name: &str, ty: Option<&TensorType>) -> ValueInfoProto {
    let dim = |&d: &usize| Dimension { dim_value: Some(d as i64), ..Dimension::default() };
    let tensor = |t: &TensorType| TensorTypeProto {
        elem_type: Some(t.dtype.to_onnx()),
        shape: Some(TensorShapeProto { dim: t.shape.iter().map(dim).collect() }),
    };
    let ty = ty.map(|t| TypeProto { tensor_type: Some(tensor(t)), ..TypeProto::default() });
    ValueInfoProto { name: Some(name.to_owned()), r#type: ty, ..ValueInfoProto::default() }
}

/// Whether an image's height and width are both open.
pub(crate) fn has_open_sides(info: &ValueInfoProto) -> bool {
    let tensor = info.r#type.as_ref().and_then(|t| t.tensor_type.as_ref());
    let dims = tensor.and_then(|t| t.shape.as_ref()).map(|s| s.dim.as_slice());
    let open: Vec<bool> =
        dims.unwrap_or_default().iter().map(|d| length(d, true).is_none()).collect();
    matches!(open.as_slice(), [_, _, true, true] | [_, true, true, false])
}

/// The type of a model input: an open first axis is a batch of 1, an open height or width comes from `imgsz`, or
/// else from what the file states.
///
/// # Errors
/// `DynamicImgsz`, `DynamicAxes` or `StaticImgsz`, naming the input and its axes.
pub(crate) fn input_type(
    info: &ValueInfoProto,
    imgsz: Option<[usize; 2]>,
    stated: Option<[usize; 2]>,
) -> Result<TensorType, OnnxError> {
    let tensor = info.r#type.as_ref().and_then(|t| t.tensor_type.as_ref());
    let (tensor, shape) = tensor
        .and_then(|t| Some((t, t.shape.as_ref()?)))
        .ok_or_else(|| OnnxError::InputType { input: info.name().to_owned() })?;
    let is_image = shape.dim.len() == 4;
    let lengths = shape.dim.iter().map(|d| length(d, is_image));
    let mut lengths: Vec<Option<usize>> = lengths.collect();
    // Channels are few where they come last, and no image is as small.
    let is_last = is_image
        && matches!(lengths[3], Some(1..=4))
        && lengths[1..3].iter().all(|side| side.is_none_or(|n| n > 4));
    let (y, x) = if is_last { (1, 2) } else { (2, 3) };
    if let Some(batch @ None) = lengths.first_mut() {
        *batch = Some(1);
    }
    if let (true, Some([h, w])) = (is_image, imgsz) {
        let found = [lengths[y].unwrap_or(h), lengths[x].unwrap_or(w)];
        if found != [h, w] {
            return Err(OnnxError::StaticImgsz {
                input: info.name().to_owned(),
                expected: [h, w],
                found,
            });
        }
        (lengths[y], lengths[x]) = (Some(h), Some(w));
    }
    if let (true, Some([h, w])) = (is_image, stated) {
        lengths[y].get_or_insert(h);
        lengths[x].get_or_insert(w);
    }
    let open = (0..lengths.len()).filter(|&axis| lengths[axis].is_none());
    let open: Vec<usize> = open.collect();
    if !open.is_empty() {
        let input = info.name().to_owned();
        let axes = open.iter().map(|&a| axis_name(a, &shape.dim[a])).collect();
        let imgsz_helps = is_image && open.iter().all(|axis| [y, x].contains(axis));
        return Err(if imgsz_helps {
            OnnxError::DynamicImgsz { input, axes }
        } else {
            OnnxError::DynamicAxes { input, axes }
        });
    }
    let shape: Vec<usize> = lengths.into_iter().flatten().collect();
    let ty = TensorType::new(DataType::from_onnx(tensor.elem_type()), shape);
    check_elements(info, ty)
}

/// Refuses an input that no memory holds.
fn check_elements(info: &ValueInfoProto, ty: TensorType) -> Result<TensorType, OnnxError> {
    let found = (ty.shape.iter()).fold(1u128, |n, &d| n.saturating_mul(d as u128));
    if found > MAX_INPUT_ELEMENTS {
        return Err(OnnxError::InputTooLarge {
            input: info.name().to_owned(),
            bytes: found.saturating_mul(ty.dtype.size_bytes().unwrap_or(1) as u128),
            found,
            shape: ty.shape,
            allowed: MAX_INPUT_ELEMENTS,
        });
    }
    Ok(ty)
}

fn axis_name(axis: usize, dim: &Dimension) -> String {
    match dim.dim_param.as_deref() {
        Some(name) if !name.is_empty() => format!("{axis} ({name})"),
        _ => axis.to_string(),
    }
}
