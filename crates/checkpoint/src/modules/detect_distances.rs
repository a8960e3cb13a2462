//! The head without anchors: each position predicts distances to the four sides, one number each or the expectation of
//! a distribution over `reg_max` bins (arXiv:2006.04388), and a score for each class. Output `[1, 4 + classes, positions]`.
use super::detect::{Head, constant, strides};
use super::{build as build_module, build_child, detect_once};
use crate::CheckpointError;
use crate::builder::Builder;
use crate::module::Module;
use ir::ValueId;
use ir::ops::{BinaryKind, Concat, Reshape, Slice, SliceRange, Softmax, Transpose, UnaryKind};

pub(super) fn build(
    builder: &mut Builder<'_, '_>,
    module: &Module<'_>,
    levels: &[ValueId],
    end_to_end: bool,
) -> Result<Head, CheckpointError> {
    let strides = strides(builder, module, levels.len())?;
    let classes = module.count("nc")?;
    let head = Head {
        at: module.path.clone(),
        classes,
        strides,
    };
    // An end-to-end model has a second pair of branches that detects each object once; the first pair detects it often.
    let [boxes_at, scores_at] = match end_to_end {
        true => ["one2one_cv2", "one2one_cv3"],
        false => ["cv2", "cv3"],
    };
    let distances = distances(builder, module, boxes_at, levels)?;
    let scores = branch(builder, module, scores_at, levels, classes)?;
    let sizes = levels.iter().map(|&v| builder.image(v, module));
    let sizes = sizes.collect::<Result<Vec<_>, _>>()?;
    let corners = corners(builder, module, distances, &sizes)?;
    let pitch = pitch(builder, module, &sizes, &head.strides)?;
    if end_to_end {
        let boxes = builder.node(module, Concat { axis: 1 }, &corners)?;
        let boxes = builder.node(module, BinaryKind::Mul, &[boxes, pitch])?;
        let scores = builder.node(module, UnaryKind::Sigmoid, &[scores])?;
        detect_once::select(builder, module, boxes, scores)?;
        return Ok(head);
    }
    let boxes = centre_and_size(builder, module, corners)?;
    let boxes = builder.node(module, BinaryKind::Mul, &[boxes, pitch])?;
    let scores = builder.node(module, UnaryKind::Sigmoid, &[scores])?;
    builder.output(module, Concat { axis: 1 }, &[boxes, scores], "output0")?;
    Ok(head)
}

/// Distances to left, top, right and bottom, in strides: `[1, 4, positions]`.
fn distances(
    builder: &mut Builder<'_, '_>,
    module: &Module<'_>,
    name: &str,
    levels: &[ValueId],
) -> Result<ValueId, CheckpointError> {
    let bins = module.count("reg_max")?.max(1);
    let boxes = branch(builder, module, name, levels, bins.saturating_mul(4))?;
    match bins {
        1 => Ok(boxes),
        _ => expectation(builder, module, boxes, bins),
    }
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

/// The two corners of each box, in strides.
fn corners(
    builder: &mut Builder<'_, '_>,
    module: &Module<'_>,
    distances: ValueId,
    sizes: &[[usize; 3]],
) -> Result<[ValueId; 2], CheckpointError> {
    let positions: usize = sizes.iter().map(|[_, h, w]| h * w).sum();
    let bytes = positions.saturating_mul(16);
    builder.budget.charge(bytes, || module.path.clone())?;
    let (mut xs, mut ys) = (Vec::new(), Vec::new());
    for &[_, h, w] in sizes {
        xs.extend((0..h * w).map(|i| (i % w) as f32 + 0.5));
        ys.extend((0..h * w).map(|i| (i / w) as f32 + 0.5));
    }
    xs.extend(ys);
    let centres = constant(builder, module, "anchors", &[1, 2, positions], xs)?;
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
    Ok([low, high])
}

/// The stride of each position.
fn pitch(
    builder: &mut Builder<'_, '_>,
    module: &Module<'_>,
    sizes: &[[usize; 3]],
    strides: &[f32],
) -> Result<ValueId, CheckpointError> {
    let mut pitch = Vec::new();
    for (&[_, h, w], &stride) in sizes.iter().zip(strides) {
        builder.budget.charge(h * w * 8, || module.path.clone())?;
        pitch.resize(pitch.len() + h * w, stride);
    }
    let shape = [1, pitch.len()];
    constant(builder, module, "strides", &shape, pitch)
}

fn centre_and_size(
    builder: &mut Builder<'_, '_>,
    module: &Module<'_>,
    [low, high]: [ValueId; 2],
) -> Result<ValueId, CheckpointError> {
    let two = constant(builder, module, "two", &[], vec![2.0])?;
    let sum = builder.node(module, BinaryKind::Add, &[low, high])?;
    let centre = builder.node(module, BinaryKind::Div, &[sum, two])?;
    let size = builder.node(module, BinaryKind::Sub, &[high, low])?;
    builder.node(module, Concat { axis: 1 }, &[centre, size])
}
