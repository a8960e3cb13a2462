//! What heads for other tasks predict beside boxes and scores, from a third branch at every level: coefficients of prototype
//! masks (YOLACT, arXiv:1904.02689), keypoints (YOLO-Pose, arXiv:2204.06806), the angle of an oriented box.
use super::detect::constant;
use super::detect_distances::{Grid, branch};
use super::{build, build_child, element_wise};
use crate::CheckpointError;
use crate::builder::Builder;
use crate::module::Module;
use crate::tree::Id;
use ir::ValueId;
use ir::ops::{BinaryKind, Concat, Reshape, Split, UnaryKind};
use std::f32::consts::PI;

/// Outputs `[1, 4 + classes + masks, positions]` and the prototypes `[1, masks, H / 4, W / 4]`.
pub(super) fn masks(
    builder: &mut Builder<'_, '_>,
    module: &Module<'_>,
    levels: &[ValueId],
    [boxes, scores]: [ValueId; 2],
) -> Result<(), CheckpointError> {
    let coefficients = branch(builder, module, "cv4", levels, None)?;
    let all = [boxes, scores, coefficients];
    builder.output(module, Concat { axis: 1 }, &all, "output0")?;
    let finest = levels
        .first()
        .copied()
        .ok_or_else(|| module.unsupported("a head without levels"))?;
    let proto = module.child("proto")?;
    let mut x = finest;
    for name in ["cv1", "upsample", "cv2"] {
        x = build_child(builder, &proto, name, x)?;
    }
    let last = proto.child("cv3")?;
    x = build_child(builder, &last, "conv", x)?;
    if let Some(norm) = last.find("bn")? {
        x = build(builder, &norm, &[x])?;
    }
    let act = last.child("act")?;
    builder.output(&act, element_wise::kind(&act)?, &[x], "output1")?;
    Ok(())
}

/// Output `[1, 4 + classes + keypoints · 2 or 3, positions]`: x and y in pixels and, of three numbers, whether it is seen.
pub(super) fn keypoints(
    builder: &mut Builder<'_, '_>,
    module: &Module<'_>,
    levels: &[ValueId],
    [boxes, scores]: [ValueId; 2],
    grid: &Grid,
) -> Result<(), CheckpointError> {
    let (points, numbers) = keypoint_shape(module)?;
    let width = points.saturating_mul(numbers);
    let x = branch(builder, module, "cv4", levels, Some(width))?;
    let shape = vec![1, points, numbers, grid.positions];
    let mut x = builder.node(module, Reshape { shape }, &[x])?;
    let mut seen = None;
    if numbers == 3 {
        let sizes = vec![2, 1];
        let parts = builder.nodes(module, Split { axis: 2, sizes }, &[x], 2)?;
        x = parts[0];
        seen = Some(builder.node(module, UnaryKind::Sigmoid, &[parts[1]])?);
    }
    let two = constant(builder, module, "two", &[], vec![2.0])?;
    let half = constant(builder, module, "half", &[], vec![0.5])?;
    let corner = builder.node(module, BinaryKind::Sub, &[grid.centres, half])?;
    let x = builder.node(module, BinaryKind::Mul, &[x, two])?;
    let x = builder.node(module, BinaryKind::Add, &[x, corner])?;
    let mut x = builder.node(module, BinaryKind::Mul, &[x, grid.pitch])?;
    if let Some(seen) = seen {
        x = builder.node(module, Concat { axis: 2 }, &[x, seen])?;
    }
    let shape = vec![1, width, grid.positions];
    let x = builder.node(module, Reshape { shape }, &[x])?;
    builder.output(module, Concat { axis: 1 }, &[boxes, scores, x], "output0")?;
    Ok(())
}

/// Number of keypoints, and 2 or 3 numbers for each.
fn keypoint_shape(module: &Module<'_>) -> Result<(usize, usize), CheckpointError> {
    let count = |v: Id| module.tree.int(v).and_then(|i| usize::try_from(i).ok());
    let shape = module
        .attribute("kpt_shape")
        .and_then(|v| module.tree.sequence(v));
    match shape {
        Some(&[points, numbers]) => count(points).zip(count(numbers)),
        _ => None,
    }
    .filter(|(_, numbers)| matches!(numbers, 2 | 3))
    .ok_or_else(|| module.unsupported("keypoints of other than 2 or 3 numbers"))
}

/// Angles from -π/4 to 3π/4, `[1, 1, positions]`.
pub(super) fn angles(
    builder: &mut Builder<'_, '_>,
    module: &Module<'_>,
    levels: &[ValueId],
) -> Result<ValueId, CheckpointError> {
    let x = branch(builder, module, "cv4", levels, Some(1))?;
    let x = builder.node(module, UnaryKind::Sigmoid, &[x])?;
    let quarter = constant(builder, module, "quarter", &[], vec![0.25])?;
    let pi = constant(builder, module, "pi", &[], vec![PI])?;
    let x = builder.node(module, BinaryKind::Sub, &[x, quarter])?;
    builder.node(module, BinaryKind::Mul, &[x, pi])
}
