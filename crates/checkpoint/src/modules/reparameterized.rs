//! Parallel convolutions that are one when they run (RepVGG, arXiv:2101.03697), and the blocks of YOLOv9 (arXiv:2402.13616)
//! and YOLOv10 (arXiv:2405.14458) around them.
use super::{build, build_child, cross_stage, single};
use crate::CheckpointError;
use crate::builder::Builder;
use crate::module::Module;
use ir::ValueId;
use ir::ops::{AveragePool, BinaryKind, Concat, MaxPool, Split};

/// The sum of what two or three branches give, then the activation.
fn sum(
    builder: &mut Builder<'_, '_>,
    module: &Module<'_>,
    x: ValueId,
    branches: [&str; 3],
) -> Result<ValueId, CheckpointError> {
    let mut total = None;
    for name in branches {
        let Some(branch) = module.find(name)? else {
            continue;
        };
        let y = build(builder, &branch, &[x])?;
        total = Some(match total {
            Some(sum) => builder.node(module, BinaryKind::Add, &[sum, y])?,
            None => y,
        });
    }
    let total = total.ok_or_else(|| module.unsupported("a block without branches"))?;
    build_child(builder, module, "act", total)
}

pub(super) fn rep_conv(
    builder: &mut Builder<'_, '_>,
    module: &Module<'_>,
    inputs: &[ValueId],
) -> Result<ValueId, CheckpointError> {
    let x = single(module, inputs)?;
    // A block that is merged already has the one convolution.
    sum(
        builder,
        module,
        x,
        match module.find("conv")? {
            Some(_) => ["conv", "", ""],
            None => ["conv1", "conv2", "bn"],
        },
    )
}

/// The large and the small depthwise convolution of YOLOv10's inverted blocks.
pub(super) fn rep_vgg_dw(
    builder: &mut Builder<'_, '_>,
    module: &Module<'_>,
    inputs: &[ValueId],
) -> Result<ValueId, CheckpointError> {
    let x = single(module, inputs)?;
    sum(builder, module, x, ["conv", "conv1", ""])
}

/// Compact inverted block: a run of convolutions beside a shortcut.
pub(super) fn cib(
    builder: &mut Builder<'_, '_>,
    module: &Module<'_>,
    inputs: &[ValueId],
) -> Result<ValueId, CheckpointError> {
    let x = single(module, inputs)?;
    let y = build_child(builder, module, "cv1", x)?;
    match module.flag("add") {
        true => builder.node(module, BinaryKind::Add, &[x, y]),
        false => Ok(y),
    }
}

/// Channels first, then the smaller image.
pub(super) fn sc_down(
    builder: &mut Builder<'_, '_>,
    module: &Module<'_>,
    inputs: &[ValueId],
) -> Result<ValueId, CheckpointError> {
    let y = build_child(builder, module, "cv1", single(module, inputs)?)?;
    build_child(builder, module, "cv2", y)
}

/// Halves of a smoothed image are made smaller, one by a convolution, one by pooling.
pub(super) fn a_down(
    builder: &mut Builder<'_, '_>,
    module: &Module<'_>,
    inputs: &[ValueId],
) -> Result<ValueId, CheckpointError> {
    let smooth = AveragePool {
        kernel_shape: [2, 2],
        strides: [1, 1],
        dilations: [1, 1],
        pads: [0; 4],
        ceil_mode: false,
        count_include_pad: true,
    };
    let pool = MaxPool {
        kernel_shape: [3, 3],
        strides: [2, 2],
        dilations: [1, 1],
        pads: [1; 4],
        ceil_mode: false,
    };
    let x = builder.node(module, smooth, &[single(module, inputs)?])?;
    let [c, _, _] = builder.image(x, module)?;
    let sizes = vec![c.div_ceil(2), c / 2];
    let halves = builder.nodes(module, Split { axis: 1, sizes }, &[x], 2)?;
    let a = build_child(builder, module, "cv1", halves[0])?;
    let b = builder.node(module, pool, &[halves[1]])?;
    let b = build_child(builder, module, "cv2", b)?;
    builder.node(module, Concat { axis: 1 }, &[a, b])
}

/// Two stages after a cut, all of which go into the last convolution.
pub(super) fn elan(
    builder: &mut Builder<'_, '_>,
    module: &Module<'_>,
    inputs: &[ValueId],
) -> Result<ValueId, CheckpointError> {
    let mut parts = cross_stage::halves(builder, module, single(module, inputs)?)?;
    for name in ["cv2", "cv3"] {
        let last = parts[parts.len() - 1];
        parts.push(build_child(builder, module, name, last)?);
    }
    let all = builder.node(module, Concat { axis: 1 }, &parts)?;
    build_child(builder, module, "cv4", all)
}

/// Poolings in a row between two convolutions.
pub(super) fn spp_elan(
    builder: &mut Builder<'_, '_>,
    module: &Module<'_>,
    inputs: &[ValueId],
) -> Result<ValueId, CheckpointError> {
    let mut levels = vec![build_child(
        builder,
        module,
        "cv1",
        single(module, inputs)?,
    )?];
    for name in ["cv2", "cv3", "cv4"] {
        let last = levels[levels.len() - 1];
        levels.push(build_child(builder, module, name, last)?);
    }
    let all = builder.node(module, Concat { axis: 1 }, &levels)?;
    build_child(builder, module, "cv5", all)
}
