//! Blocks that make half of their channels cheaply from the other half (GhostNet, arXiv:1911.11907).
use super::{build, build_child, single};
use crate::CheckpointError;
use crate::builder::Builder;
use crate::module::Module;
use ir::ValueId;
use ir::ops::{BinaryKind, Concat};

pub(super) fn conv(
    builder: &mut Builder<'_, '_>,
    module: &Module<'_>,
    inputs: &[ValueId],
) -> Result<ValueId, CheckpointError> {
    let own = build_child(builder, module, "cv1", single(module, inputs)?)?;
    let cheap = build_child(builder, module, "cv2", own)?;
    builder.node(module, Concat { axis: 1 }, &[own, cheap])
}

pub(super) fn bottleneck(
    builder: &mut Builder<'_, '_>,
    module: &Module<'_>,
    inputs: &[ValueId],
) -> Result<ValueId, CheckpointError> {
    let x = single(module, inputs)?;
    let through = build(builder, &module.child("conv")?, &[x])?;
    let past = build(builder, &module.child("shortcut")?, &[x])?;
    builder.node(module, BinaryKind::Add, &[through, past])
}
