//! The head without anchors: each position predicts distances to the four sides, one number each or the expectation of
//! a distribution over `reg_max` bins (arXiv:2006.04388), and a score for each class. Output `[1, 4 + classes, positions]`.
use super::grid::Grid;
use super::{Form, branch, once, strides, tasks};
use crate::CheckpointError;
use crate::modules::{Built, Scope};
use ir::ValueId;
use ir::ops::{Concat, Reshape, Softmax, Transpose, UnaryKind};

/// Adds the head and gives the stride of every level.
pub(super) fn build(
    s: &mut Scope<'_, '_>,
    levels: &[ValueId],
    form: Form,
) -> Result<Vec<f32>, CheckpointError> {
    let strides = strides(s, levels.len())?;
    let classes = s.module.count("nc")?;
    // An end-to-end model has a second pair of branches that detects each object once; the first pair detects it often.
    let [boxes_at, scores_at] =
        if form == Form::Once { ["one2one_cv2", "one2one_cv3"] } else { ["cv2", "cv3"] };
    let distances = distances(s, boxes_at, levels)?;
    let scores = branch(s, scores_at, levels, Some(classes))?;
    let scores = s.node(UnaryKind::Sigmoid, &[scores])?;
    let grid = Grid::new(s, levels, &strides)?;
    let boxes = grid.boxes(s, distances, form)?;
    match form {
        Form::Boxes => {
            s.output(Concat { axis: 1 }, &[boxes, scores], "output0")?;
        }
        Form::Once => once::select(s, boxes, scores)?,
        Form::Masks => tasks::masks(s, levels, [boxes, scores])?,
        Form::Keypoints => tasks::keypoints(s, levels, [boxes, scores], &grid)?,
        Form::Oriented => {
            let angles = tasks::angles(s, levels)?;
            let boxes = grid.oriented(s, distances, angles)?;
            let all = [boxes, scores, angles];
            s.output(Concat { axis: 1 }, &all, "output0")?;
        }
    }
    Ok(strides)
}

/// Distances to left, top, right and bottom, in strides: `[1, 4, positions]`.
fn distances(s: &mut Scope<'_, '_>, name: &str, levels: &[ValueId]) -> Built {
    let bins = s.module.count("reg_max")?.max(1);
    let boxes = branch(s, name, levels, Some(bins.saturating_mul(4)))?;
    if bins == 1 {
        return Ok(boxes);
    }
    expectation(s, boxes, bins)
}

/// The expected bin of each of the four distributions.
fn expectation(s: &mut Scope<'_, '_>, boxes: ValueId, bins: usize) -> Built {
    let positions = s.shape(boxes)[2];
    let dfl = s.module.child("dfl")?;
    let mut s = s.within(&dfl);
    let shape = vec![1, 4, bins, positions];
    let x = s.node(Reshape { shape }, &[boxes])?;
    let perm = vec![0, 2, 1, 3];
    let x = s.node(Transpose { perm }, &[x])?;
    let softmax = Softmax { axis: 1, coerced: vec![] };
    let x = s.node(softmax, &[x])?;
    let x = s.child("conv", x)?;
    let shape = vec![1, 4, positions];
    s.node(Reshape { shape }, &[x])
}
