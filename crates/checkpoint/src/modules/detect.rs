//! Detection heads: which layer is one, and which form it has.
use super::detect_anchors;
use super::detect_distances::{self, Form};
use crate::CheckpointError;
use crate::builder::Builder;
use crate::module::Module;
use ir::{Tensor, ValueId};

/// Heads that are built, by class.
const HEADS: &[(&str, Form, &str)] = &[
    ("Detect", Form::Boxes, "detect"),
    ("v10Detect", Form::Boxes, "detect"),
    ("Segment", Form::Masks, "segment"),
    ("Pose", Form::Keypoints, "pose"),
    ("OBB", Form::Oriented, "obb"),
];

/// Heads that are recognised and not built.
const OTHER_HEADS: &[(&str, &str)] = &[
    ("Segment26", "an end-to-end segmentation head"),
    ("Pose26", "an end-to-end pose head"),
    ("OBB26", "an end-to-end head for oriented boxes"),
    ("Classify", "a classification head"),
    ("RTDETRDecoder", "a transformer decoder"),
    ("WorldDetect", "a head that reads text"),
    ("YOLOEDetect", "a head that reads text"),
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
    HEADS.iter().any(|h| h.0 == class) || OTHER_HEADS.iter().any(|h| h.0 == class)
}

/// Adds a head, makes its decoded output the model's `output0` and tells its task.
///
/// # Errors
/// `Unsupported` for heads that are not built, and for `end_to_end` where the model was not trained for it; what is wrong with it otherwise.
pub(crate) fn build(
    builder: &mut Builder<'_, '_>,
    module: &Module<'_>,
    levels: &[ValueId],
    end_to_end: bool,
) -> Result<(Head, &'static str), CheckpointError> {
    if let Some((_, feature)) = OTHER_HEADS.iter().find(|h| h.0 == module.class) {
        return Err(module.unsupported(feature));
    }
    let known = HEADS.iter().find(|h| h.0 == module.class);
    let &(_, form, task) = known.ok_or_else(|| module.unsupported("a head of this class"))?;
    let has_anchors = module.find("m")?.is_some();
    let once = end_to_end && form == Form::Boxes && !has_anchors;
    if end_to_end && !(once && module.find("one2one_cv2")?.is_some()) {
        return Err(module.unsupported("detecting each object once, without suppression,"));
    }
    let head = match (has_anchors, form, once) {
        (_, _, true) => detect_distances::build(builder, module, levels, Form::Once)?,
        (true, Form::Boxes, _) => detect_anchors::build(builder, module, levels)?,
        (true, _, _) => return Err(module.unsupported("a head with anchors for another task")),
        (false, _, _) => detect_distances::build(builder, module, levels, form)?,
    };
    Ok((head, task))
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
