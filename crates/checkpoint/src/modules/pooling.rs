//! Max pooling and spatial pyramid pooling (arXiv:1406.4729).
use super::{build, build_child, single};
use crate::CheckpointError;
use crate::builder::Builder;
use crate::module::Module;
use ir::ValueId;
use ir::ops::{BinaryKind, Concat, MaxPool};

pub(super) fn max_pool(
    builder: &mut Builder<'_, '_>,
    module: &Module<'_>,
    inputs: &[ValueId],
) -> Result<ValueId, CheckpointError> {
    let x = single(module, inputs)?;
    let [ph, pw] = module.pair("padding")?;
    let op = MaxPool {
        kernel_shape: module.pair("kernel_size")?,
        strides: module.pair("stride")?.map(|s| s.max(1)),
        dilations: module.pair("dilation")?.map(|d| d.max(1)),
        pads: [ph, pw, ph, pw],
        ceil_mode: module.flag("ceil_mode"),
    };
    builder.node(module, op, &[x])
}

/// Poolings of several sizes side by side.
pub(super) fn spp(
    builder: &mut Builder<'_, '_>,
    module: &Module<'_>,
    inputs: &[ValueId],
) -> Result<ValueId, CheckpointError> {
    let x = build_child(builder, module, "cv1", single(module, inputs)?)?;
    let mut levels = vec![x];
    for pool in module.child("m")?.children()? {
        levels.push(build(builder, &pool, &[x])?);
    }
    let all = builder.node(module, Concat { axis: 1 }, &levels)?;
    build_child(builder, module, "cv2", all)
}

/// The same pooling several times in a row, which pools ever larger windows.
pub(super) fn sppf(
    builder: &mut Builder<'_, '_>,
    module: &Module<'_>,
    inputs: &[ValueId],
) -> Result<ValueId, CheckpointError> {
    let x = single(module, inputs)?;
    let mut levels = vec![build_child(builder, module, "cv1", x)?];
    let count = module.attribute("n").map_or(Ok(3), |_| module.count("n"))?;
    for _ in 0..count {
        let last = levels[levels.len() - 1];
        levels.push(build_child(builder, module, "m", last)?);
    }
    let all = builder.node(module, Concat { axis: 1 }, &levels)?;
    let y = build_child(builder, module, "cv2", all)?;
    match module.flag("add") {
        true => builder.node(module, BinaryKind::Add, &[y, x]),
        false => Ok(y),
    }
}
