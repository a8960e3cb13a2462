//! What moves values without weights of its own: sequences, concatenation, space to depth, upsampling.
use super::{build, build_child, single};
use crate::CheckpointError;
use crate::builder::Builder;
use crate::module::Module;
use ir::ValueId;
use ir::ops::{Concat, CoordinateMode, Extent, NearestMode, Resize, ResizeMode, Slice, SliceRange};

pub(super) fn sequential(
    builder: &mut Builder<'_, '_>,
    module: &Module<'_>,
    inputs: &[ValueId],
) -> Result<ValueId, CheckpointError> {
    let mut x = single(module, inputs)?;
    for child in module.children()? {
        x = build(builder, &child, &[x])?;
    }
    Ok(x)
}

pub(super) fn concat(
    builder: &mut Builder<'_, '_>,
    module: &Module<'_>,
    inputs: &[ValueId],
) -> Result<ValueId, CheckpointError> {
    let axis = module.count("d")?;
    builder.node(module, Concat { axis }, inputs)
}

/// Every second row and column four times over, as four times the channels: (even, even), (odd row, even column),
/// (even row, odd column), (odd, odd).
pub(super) fn focus(
    builder: &mut Builder<'_, '_>,
    module: &Module<'_>,
    inputs: &[ValueId],
) -> Result<ValueId, CheckpointError> {
    let x = single(module, inputs)?;
    let [_, h, w] = builder.image(x, module)?;
    let every_second = |axis: usize, start: usize, len: usize| Slice {
        ranges: vec![SliceRange {
            axis,
            start,
            len: len.saturating_sub(start).div_ceil(2),
            step: 2,
        }],
    };
    let mut quarters = Vec::with_capacity(4);
    for (row, column) in [(0, 0), (1, 0), (0, 1), (1, 1)] {
        let rows = builder.node(module, every_second(2, row, h), &[x])?;
        quarters.push(builder.node(module, every_second(3, column, w), &[rows])?);
    }
    let all = builder.node(module, Concat { axis: 1 }, &quarters)?;
    build_child(builder, module, "conv", all)
}

pub(super) fn upsample(
    builder: &mut Builder<'_, '_>,
    module: &Module<'_>,
    inputs: &[ValueId],
) -> Result<ValueId, CheckpointError> {
    let x = single(module, inputs)?;
    builder.image(x, module)?;
    let scale = module.number("scale_factor");
    let scale = scale.map_err(|_| module.unsupported("upsampling by other than one factor"))?;
    if !(1.0..=64.0).contains(&scale) {
        return Err(module.unsupported("upsampling by less than 1 or more than 64"));
    }
    let (mode, coordinate_mode) = match module.text("mode") {
        Some("nearest") => (
            ResizeMode::Nearest(NearestMode::Floor),
            CoordinateMode::Asymmetric,
        ),
        Some("bilinear") if module.flag("align_corners") => {
            (ResizeMode::Linear, CoordinateMode::AlignCorners)
        }
        Some("bilinear") => (ResizeMode::Linear, CoordinateMode::HalfPixel),
        _ => return Err(module.unsupported("upsampling that is neither nearest nor bilinear")),
    };
    let op = Resize {
        mode,
        coordinate_mode,
        extent: Extent::Scales([scale as f32; 2]),
    };
    builder.node(module, op, &[x])
}
