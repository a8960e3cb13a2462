//! Detection heads: which layer is one, and which form it has.
use crate::CheckpointError;
use crate::modules::{Built, Scope};
use ir::ValueId;
use ir::ops::{Concat, Reshape};

mod anchors;
mod distances;
mod grid;
mod once;
mod tasks;

/// Heads that are built, by class.
const HEADS: &[(&str, Form, &str)] = &[
    ("Detect", Form::Boxes, "detect"),
    ("DDetect", Form::Boxes, "detect"),
    ("IDetect", Form::Boxes, "detect"),
    ("IAuxDetect", Form::Boxes, "detect"),
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
    ("YOLOESegment", "a head that reads text"),
    ("YOLOESegment26", "a head that reads text"),
    ("LRPCHead", "a head that reads text"),
    ("SemanticSegment", "a head for semantic segmentation"),
    ("Depth", "a head for depth"),
    ("DualDDetect", "a second head for training"),
    ("TripleDDetect", "a second head for training"),
    ("IKeypoint", "YOLOv7's pose head"),
    ("IBin", "YOLOv7's head with bins"),
];

/// What a head says about the model.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    /// Attribute path of the head.
    pub(crate) at: String,
    /// The task it was trained for, as exporters write it.
    pub(crate) task: &'static str,
    /// Number of classes.
    pub(crate) classes: usize,
    /// Pixels between positions, by level.
    pub(crate) strides: Vec<f32>,
}

/// What a head gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// Boxes and scores of every position.
    Boxes,
    /// Each object once.
    Once,
    /// Boxes, scores and coefficients of prototype masks; and the prototypes.
    Masks,
    /// Boxes, scores and keypoints.
    Keypoints,
    /// Oriented boxes, scores and angles.
    Oriented,
}

/// Whether a layer ends the model.
pub(crate) fn is_head(class: &str) -> bool {
    HEADS.iter().any(|h| h.0 == class) || OTHER_HEADS.iter().any(|h| h.0 == class)
}

/// Adds a head and makes its decoded output the model's `output0`.
///
/// # Errors
/// `Unsupported` for heads that are not built, and for `end_to_end` where the model was not trained for it; what is wrong with it otherwise.
pub(crate) fn build(
    s: &mut Scope<'_, '_>,
    levels: &[ValueId],
    end_to_end: bool,
) -> Result<Head, CheckpointError> {
    if let Some((_, feature)) = OTHER_HEADS.iter().find(|h| h.0 == s.module.class) {
        return Err(s.module.unsupported(feature));
    }
    let known = HEADS.iter().find(|h| h.0 == s.module.class);
    let &(_, form, task) = known.ok_or_else(|| s.module.unsupported("a head of this class"))?;
    let has_anchors = s.module.find("m")?.is_some();
    if has_anchors && form != Form::Boxes {
        return Err(s.module.unsupported("a head with anchors for another task"));
    }
    let can_detect_once = form == Form::Boxes && s.module.find("one2one_cv2")?.is_some();
    if end_to_end && (has_anchors || !can_detect_once) {
        let feature = "detecting each object once, without suppression,";
        return Err(s.module.unsupported(feature));
    }
    let strides = if has_anchors {
        anchors::build(s, levels)?
    } else if end_to_end {
        distances::build(s, levels, Form::Once)?
    } else {
        distances::build(s, levels, form)?
    };
    Ok(Head { at: s.module.path.clone(), task, classes: s.module.count("nc")?, strides })
}

/// The stride of every level.
fn strides(s: &mut Scope<'_, '_>, levels: usize) -> Result<Vec<f32>, CheckpointError> {
    let stride = s.tensor("stride")?;
    let values = stride.as_slice::<f32>().map_err(|e| s.operator(e))?;
    let usable = values.len() == levels && values.iter().all(|s| (1.0..=1024.0).contains(s));
    if !usable {
        return Err(CheckpointError::Expected {
            at: format!("{}.stride", s.module.path),
            expected: "one stride from 1 to 1024 for each level",
            found: format!("{:?}", &values[..values.len().min(8)]),
        });
    }
    Ok(values.to_vec())
}

/// The convolutions of one branch at every level, as `[1, width, positions]`.
fn branch(s: &mut Scope<'_, '_>, name: &str, levels: &[ValueId], width: Option<usize>) -> Built {
    let branch = s.module.child(name)?;
    let stacks = branch.children()?;
    if stacks.len() != levels.len() {
        return Err(CheckpointError::Expected {
            at: branch.path,
            expected: "one stack of convolutions for each level",
            found: format!("{} for {} levels", stacks.len(), levels.len()),
        });
    }
    let mut rows = Vec::with_capacity(levels.len());
    for (stack, &level) in stacks.iter().zip(levels) {
        let x = s.run(stack, level)?;
        let [c, h, w] = s.image(x)?;
        let shape = vec![1, width.unwrap_or(c), h * w];
        rows.push(s.node(Reshape { shape }, &[x])?);
    }
    s.node(Concat { axis: 2 }, &rows)
}

/// The largest stride of a head in pixels, of which both sides of an image must be multiples; 1 where it states none.
pub(crate) fn coarsest_stride(s: &mut Scope<'_, '_>) -> usize {
    let stride = s.tensor("stride");
    let values = stride.as_ref().map_or(&[][..], |t| t.as_slice::<f32>().unwrap_or_default());
    let usable = values.iter().filter(|s| (1.0..=1024.0).contains(*s));
    usable.copied().fold(1.0, f32::max) as usize
}
