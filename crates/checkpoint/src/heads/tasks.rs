//! What heads for other tasks predict beside boxes and scores, from a third branch at every level: coefficients of prototype
//! masks (YOLACT, arXiv:1904.02689), keypoints (YOLO-Pose, arXiv:2204.06806), the angle of an oriented box.
use super::branch;
use super::grid::Grid;
use crate::CheckpointError;
use crate::module::Module;
use crate::modules::{Built, Scope, function_of_activation};
use ir::ValueId;
use ir::ops::{BinaryKind, Concat, Reshape, Split, UnaryKind};
use std::f32::consts::PI;

/// Outputs `[1, 4 + classes + masks, positions]` and the prototypes `[1, masks, H / 4, W / 4]`.
pub(super) fn masks(
    s: &mut Scope<'_, '_>,
    levels: &[ValueId],
    [boxes, scores]: [ValueId; 2],
) -> Result<(), CheckpointError> {
    let coefficients = branch(s, "cv4", levels, None)?;
    let all = [boxes, scores, coefficients];
    s.output(Concat { axis: 1 }, &all, "output0")?;
    let finest =
        levels.first().copied().ok_or_else(|| s.module.unsupported("a head without levels"))?;
    let proto = s.module.child("proto")?;
    let x = s.within(&proto).chain(&["cv1", "upsample", "cv2"], finest)?;
    let last = proto.child("cv3")?;
    let x = s.within(&last).optional_chain(&["conv", "bn"], x)?;
    let act = last.child("act")?;
    s.within(&act).output(function_of_activation(&act)?, &[x], "output1")?;
    Ok(())
}

/// Output `[1, 4 + classes + keypoints · 2 or 3, positions]`: x and y in pixels and, of three numbers, whether it is seen.
pub(super) fn keypoints(
    s: &mut Scope<'_, '_>,
    levels: &[ValueId],
    [boxes, scores]: [ValueId; 2],
    grid: &Grid,
) -> Result<(), CheckpointError> {
    let (points, numbers) = keypoint_shape(s.module)?;
    let width = points.saturating_mul(numbers);
    let x = branch(s, "cv4", levels, Some(width))?;
    let shape = vec![1, points, numbers, grid.positions];
    let mut x = s.node(Reshape { shape }, &[x])?;
    let mut seen = None;
    if numbers == 3 {
        let sizes = vec![2, 1];
        let parts = s.nodes(Split { axis: 2, sizes }, &[x], 2)?;
        x = parts[0];
        seen = Some(s.node(UnaryKind::Sigmoid, &[parts[1]])?);
    }
    let two = s.scalar("two", 2.0)?;
    let half = s.scalar("half", 0.5)?;
    let corner = s.node(BinaryKind::Sub, &[grid.centres, half])?;
    let x = s.mul(x, two)?;
    let x = s.add(x, corner)?;
    let mut x = s.mul(x, grid.pitch)?;
    if let Some(seen) = seen {
        x = s.node(Concat { axis: 2 }, &[x, seen])?;
    }
    let shape = vec![1, width, grid.positions];
    let x = s.node(Reshape { shape }, &[x])?;
    s.output(Concat { axis: 1 }, &[boxes, scores, x], "output0")?;
    Ok(())
}

/// Number of keypoints, and 2 or 3 numbers for each.
fn keypoint_shape(module: &Module<'_>) -> Result<(usize, usize), CheckpointError> {
    let shape = module.attribute("kpt_shape");
    match shape.and_then(|v| module.tree.counts(v)).as_deref() {
        Some(&[points, numbers @ (2 | 3)]) => Ok((points, numbers)),
        _ => Err(module.unsupported("keypoints of other than 2 or 3 numbers")),
    }
}

/// Angles from -π/4 to 3π/4, `[1, 1, positions]`.
pub(super) fn angles(s: &mut Scope<'_, '_>, levels: &[ValueId]) -> Built {
    let x = branch(s, "cv4", levels, Some(1))?;
    let x = s.node(UnaryKind::Sigmoid, &[x])?;
    let quarter = s.scalar("quarter", 0.25)?;
    let pi = s.scalar("pi", PI)?;
    let x = s.node(BinaryKind::Sub, &[x, quarter])?;
    s.mul(x, pi)
}
