//! The head without anchors: each position predicts distances to the four sides, one number each or the expectation of
//! a distribution over `reg_max` bins (arXiv:2006.04388), and a score for each class. Output `[1, 4 + classes, positions]`.
use super::detect::{Head, constant, strides};
use super::{build as build_module, build_child};
use crate::CheckpointError;
use crate::builder::Builder;
use crate::module::Module;
use ir::ValueId;
use ir::ops::{BinaryKind, Concat, Reshape, Slice, SliceRange, Softmax, Transpose, UnaryKind};

pub(super) fn build(
    builder: &mut Builder<'_, '_>,
    module: &Module<'_>,
    levels: &[ValueId],
) -> Result<Head, CheckpointError> {
    let strides = strides(builder, module, levels.len())?;
    let classes = module.count("nc")?;
    let bins = module.count("reg_max")?.max(1);
    let sizes = levels
        .iter()
        .map(|&v| builder.image(v, module).map(|[_, h, w]| [h, w]))
        .collect::<Result<Vec<_>, _>>()?;
    // An end-to-end model has a second pair of branches (`one2one_*`) that detects each object once; these detect it often.
    let boxes = branch(builder, module, "cv2", levels, bins.saturating_mul(4))?;
    let scores = branch(builder, module, "cv3", levels, classes)?;
    let distances = match bins {
        1 => boxes,
        _ => expectation(builder, module, boxes, bins)?,
    };
    let boxes = decode(builder, module, distances, &sizes, &strides)?;
    let scores = builder.node(module, UnaryKind::Sigmoid, &[scores])?;
    builder.output(module, Concat { axis: 1 }, &[boxes, scores], "output0")?;
    Ok(Head {
        at: module.path.clone(),
        classes,
        strides,
    })
}

/// The convolutions of one branch at every level, as `[1, width, positions]`.
fn branch(
    builder: &mut Builder<'_, '_>,
    module: &Module<'_>,
    name: &str,
    levels: &[ValueId],
    width: usize,
) -> Result<ValueId, CheckpointError> {
    let branch = module.child(name)?;
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
        let x = build_module(builder, stack, &[level])?;
        let [_, h, w] = builder.image(x, stack)?;
        let shape = vec![1, width, h * w];
        rows.push(builder.node(module, Reshape { shape }, &[x])?);
    }
    builder.node(module, Concat { axis: 2 }, &rows)
}

/// The expected bin of each of the four distributions.
fn expectation(
    builder: &mut Builder<'_, '_>,
    module: &Module<'_>,
    boxes: ValueId,
    bins: usize,
) -> Result<ValueId, CheckpointError> {
    let dfl = module.child("dfl")?;
    let positions = builder.shape(boxes)[2];
    let shape = vec![1, 4, bins, positions];
    let x = builder.node(&dfl, Reshape { shape }, &[boxes])?;
    let perm = vec![0, 2, 1, 3];
    let x = builder.node(&dfl, Transpose { perm }, &[x])?;
    let softmax = Softmax {
        axis: 1,
        coerced: vec![],
    };
    let x = builder.node(&dfl, softmax, &[x])?;
    let x = build_child(builder, &dfl, "conv", x)?;
    let shape = vec![1, 4, positions];
    builder.node(&dfl, Reshape { shape }, &[x])
}

/// Distances left, top, right, bottom of each position's centre, in strides, as centre and size in pixels.
fn decode(
    builder: &mut Builder<'_, '_>,
    module: &Module<'_>,
    distances: ValueId,
    sizes: &[[usize; 2]],
    strides: &[f32],
) -> Result<ValueId, CheckpointError> {
    let positions: usize = sizes.iter().map(|[h, w]| h * w).sum();
    builder
        .budget
        .charge(positions * 24, || module.path.clone())?;
    let (mut xs, mut ys, mut pitch) = (Vec::new(), Vec::new(), Vec::new());
    for (&[h, w], &stride) in sizes.iter().zip(strides) {
        xs.extend((0..h * w).map(|i| (i % w) as f32 + 0.5));
        ys.extend((0..h * w).map(|i| (i / w) as f32 + 0.5));
        pitch.resize(pitch.len() + h * w, stride);
    }
    xs.extend(ys);
    let centres = constant(builder, module, "anchors", &[1, 2, positions], xs)?;
    let pitch = constant(builder, module, "strides", &[1, positions], pitch)?;
    let two = constant(builder, module, "two", &[], vec![2.0])?;
    let half = |start: usize| Slice {
        ranges: vec![SliceRange {
            axis: 1,
            start,
            len: 2,
            step: 1,
        }],
    };
    let before = builder.node(module, half(0), &[distances])?;
    let after = builder.node(module, half(2), &[distances])?;
    let low = builder.node(module, BinaryKind::Sub, &[centres, before])?;
    let high = builder.node(module, BinaryKind::Add, &[centres, after])?;
    let sum = builder.node(module, BinaryKind::Add, &[low, high])?;
    let centre = builder.node(module, BinaryKind::Div, &[sum, two])?;
    let size = builder.node(module, BinaryKind::Sub, &[high, low])?;
    let boxes = builder.node(module, Concat { axis: 1 }, &[centre, size])?;
    builder.node(module, BinaryKind::Mul, &[boxes, pitch])
}
