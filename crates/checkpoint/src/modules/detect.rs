//! Detection heads: which layer is one, and which form it has.
use super::{detect_anchors, detect_distances};
use crate::CheckpointError;
use crate::builder::Builder;
use crate::module::Module;
use ir::{Tensor, ValueId};

/// Heads by class, and what those of another task than detection are called.
const HEADS: &[(&str, Option<&'static str>)] = &[
    ("Detect", None),
    ("v10Detect", None),
    ("Segment", Some("a segmentation head")),
    ("Segment26", Some("a segmentation head")),
    ("Pose", Some("a pose head")),
    ("Pose26", Some("a pose head")),
    ("OBB", Some("a head for oriented boxes")),
    ("OBB26", Some("a head for oriented boxes")),
    ("Classify", Some("a classification head")),
    ("RTDETRDecoder", Some("a transformer decoder")),
    ("WorldDetect", Some("a head that reads text")),
    ("YOLOEDetect", Some("a head that reads text")),
];

/// What a head tells of the model.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    /// Attribute path of the head.
    pub(crate) at: String,
    /// Number of classes.
    pub(crate) classes: usize,
    /// Pixels between positions, by level.
    pub(crate) strides: Vec<f32>,
}

/// Whether a layer ends the model.
pub(crate) fn is_head(class: &str) -> bool {
    HEADS.iter().any(|(c, _)| *c == class)
}

/// Adds a head and makes its decoded output the model's `output0`.
///
/// # Errors
/// `Unsupported` for heads of other tasks, and for `end_to_end` where the model was not trained for it; what is wrong with it otherwise.
pub(crate) fn build(
    builder: &mut Builder<'_, '_>,
    module: &Module<'_>,
    levels: &[ValueId],
    end_to_end: bool,
) -> Result<Head, CheckpointError> {
    let other = HEADS.iter().find(|(c, _)| *c == module.class);
    if let Some((_, Some(feature))) = other {
        return Err(module.unsupported(feature));
    }
    let has_anchors = module.find("m")?.is_some();
    if end_to_end && (has_anchors || module.find("one2one_cv2")?.is_none()) {
        return Err(module.unsupported("detecting each object once, without suppression,"));
    }
    match has_anchors {
        true => detect_anchors::build(builder, module, levels),
        false => detect_distances::build(builder, module, levels, end_to_end),
    }
}

/// The stride of every level.
pub(super) fn strides(
    builder: &mut Builder<'_, '_>,
    module: &Module<'_>,
    levels: usize,
) -> Result<Vec<f32>, CheckpointError> {
    let id = module.required_tensor("stride")?;
    let stride = builder.tensor(module, "stride", id)?;
    let values = elements(module, &stride)?;
    let usable = values.len() == levels && values.iter().all(|s| (1.0..=1024.0).contains(s));
    if !usable {
        return Err(CheckpointError::Expected {
            at: format!("{}.stride", module.path),
            expected: "one stride from 1 to 1024 for each level",
            found: format!("{:?}", &values[..values.len().min(8)]),
        });
    }
    Ok(values.to_vec())
}

/// The elements of a tensor that was read as f32.
pub(super) fn elements<'t>(
    module: &Module<'_>,
    tensor: &'t Tensor,
) -> Result<&'t [f32], CheckpointError> {
    tensor
        .as_slice::<f32>()
        .map_err(|source| CheckpointError::Operator {
            at: module.path.clone(),
            source,
        })
}

/// A constant of f32.
pub(super) fn constant(
    builder: &mut Builder<'_, '_>,
    module: &Module<'_>,
    name: &str,
    shape: &[usize],
    values: Vec<f32>,
) -> Result<ValueId, CheckpointError> {
    let tensor = Tensor::new(shape, values).map_err(|source| CheckpointError::Operator {
        at: module.path.clone(),
        source,
    })?;
    builder.constant(module, name, tensor)
}
