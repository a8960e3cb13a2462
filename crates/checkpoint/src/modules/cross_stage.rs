//! Residual and cross-stage-partial blocks (arXiv:1911.11929); C2f and C3k2 keep every stage (ELAN, arXiv:2211.04800).
use super::{build, build_child, single};
use crate::CheckpointError;
use crate::builder::Builder;
use crate::module::Module;
use ir::ValueId;
use ir::ops::{BinaryKind, Concat, Split};

pub(super) fn bottleneck(
    builder: &mut Builder<'_, '_>,
    module: &Module<'_>,
    inputs: &[ValueId],
) -> Result<ValueId, CheckpointError> {
    let x = single(module, inputs)?;
    let y = build_child(builder, module, "cv1", x)?;
    let y = build_child(builder, module, "cv2", y)?;
    match module.flag("add") {
        true => builder.node(module, BinaryKind::Add, &[x, y]),
        false => Ok(y),
    }
}

/// Half of the channels pass the bottlenecks, half pass by, one convolution mixes them.
pub(super) fn c3(
    builder: &mut Builder<'_, '_>,
    module: &Module<'_>,
    inputs: &[ValueId],
) -> Result<ValueId, CheckpointError> {
    let x = single(module, inputs)?;
    let through = build_child(builder, module, "cv1", x)?;
    let through = build_child(builder, module, "m", through)?;
    let past = build_child(builder, module, "cv2", x)?;
    let both = builder.node(module, Concat { axis: 1 }, &[through, past])?;
    build_child(builder, module, "cv3", both)
}

/// As C3, with bare convolutions before one normalisation of both halves.
pub(super) fn bottleneck_csp(
    builder: &mut Builder<'_, '_>,
    module: &Module<'_>,
    inputs: &[ValueId],
) -> Result<ValueId, CheckpointError> {
    let x = single(module, inputs)?;
    let through = build_child(builder, module, "cv1", x)?;
    let through = build_child(builder, module, "m", through)?;
    let through = build_child(builder, module, "cv3", through)?;
    let past = build_child(builder, module, "cv2", x)?;
    let both = builder.node(module, Concat { axis: 1 }, &[through, past])?;
    let both = build_child(builder, module, "bn", both)?;
    let both = build_child(builder, module, "act", both)?;
    build_child(builder, module, "cv4", both)
}

/// As C3, with one convolution whose output is cut in two.
pub(super) fn c2(
    builder: &mut Builder<'_, '_>,
    module: &Module<'_>,
    inputs: &[ValueId],
) -> Result<ValueId, CheckpointError> {
    let parts = halves(builder, module, single(module, inputs)?)?;
    let through = build_child(builder, module, "m", parts[0])?;
    let both = builder.node(module, Concat { axis: 1 }, &[through, parts[1]])?;
    build_child(builder, module, "cv2", both)
}

/// The first convolution's output is cut in two; each stage reads the last and all go into the last convolution.
pub(super) fn c2f(
    builder: &mut Builder<'_, '_>,
    module: &Module<'_>,
    inputs: &[ValueId],
) -> Result<ValueId, CheckpointError> {
    let mut parts = halves(builder, module, single(module, inputs)?)?;
    for stage in module.child("m")?.children()? {
        let last = parts[parts.len() - 1];
        parts.push(build(builder, &stage, &[last])?);
    }
    let all = builder.node(module, Concat { axis: 1 }, &parts)?;
    build_child(builder, module, "cv2", all)
}

/// The two halves of `cv1`, `c` channels each.
pub(super) fn halves(
    builder: &mut Builder<'_, '_>,
    module: &Module<'_>,
    x: ValueId,
) -> Result<Vec<ValueId>, CheckpointError> {
    let y = build_child(builder, module, "cv1", x)?;
    let c = module.count("c")?;
    let op = Split {
        axis: 1,
        sizes: vec![c, c],
    };
    builder.nodes(module, op, &[y], 2)
}
