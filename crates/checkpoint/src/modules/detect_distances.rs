//! The head without anchors: each position predicts distances to the four sides, one number each or the expectation of
//! a distribution over `reg_max` bins (arXiv:2006.04388), and a score for each class. Output `[1, 4 + classes, positions]`.
use super::detect::{Head, constant, strides};
use super::{build as build_module, build_child, detect_once, detect_tasks};
use crate::CheckpointError;
use crate::builder::Builder;
use crate::module::Module;
use ir::ValueId;
use ir::ops::{
    BinaryKind, Concat, Reshape, Slice, SliceRange, Softmax, Split, Transcendental,
    TranscendentalKind, Transpose, UnaryKind,
};

pub(super) fn build(
    builder: &mut Builder<'_, '_>,
    module: &Module<'_>,
    levels: &[ValueId],
    form: Form,
) -> Result<Head, CheckpointError> {
    let strides = strides(builder, module, levels.len())?;
    let classes = module.count("nc")?;
    // An end-to-end model has a second pair of branches that detects each object once; the first pair detects it often.
    let [boxes_at, scores_at] = match form {
        Form::Once => ["one2one_cv2", "one2one_cv3"],
        _ => ["cv2", "cv3"],
    };
    let distances = distances(builder, module, boxes_at, levels)?;
    let scores = branch(builder, module, scores_at, levels, Some(classes))?;
    let scores = builder.node(module, UnaryKind::Sigmoid, &[scores])?;
    let grid = Grid::new(builder, module, levels, &strides)?;
    let boxes = grid.boxes(builder, module, distances, form)?;
    match form {
        Form::Boxes => {
            builder.output(module, Concat { axis: 1 }, &[boxes, scores], "output0")?;
        }
        Form::Once => detect_once::select(builder, module, boxes, scores)?,
        Form::Masks => detect_tasks::masks(builder, module, levels, [boxes, scores])?,
        Form::Keypoints => {
            detect_tasks::keypoints(builder, module, levels, [boxes, scores], &grid)?
        }
        Form::Oriented => {
            let angles = detect_tasks::angles(builder, module, levels)?;
            let boxes = grid.oriented(builder, module, distances, angles)?;
            let all = [boxes, scores, angles];
            builder.output(module, Concat { axis: 1 }, &all, "output0")?;
        }
    }
    Ok(Head {
        at: module.path.clone(),
        classes,
        strides,
    })
}

/// What a head gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// Boxes and scores of every position.
    Boxes,
    /// Each object once.
    Once,
    /// Boxes, scores and coefficients of prototype masks; and the prototypes.
    Masks,
    /// Boxes, scores and keypoints.
    Keypoints,
    /// Oriented boxes, scores and angles.
    Oriented,
}

/// The positions of all levels.
pub(super) struct Grid {
    /// Centres in strides, `[1, 2, positions]`.
    pub(super) centres: ValueId,
    /// Strides, `[1, positions]`.
    pub(super) pitch: ValueId,
    pub(super) positions: usize,
}

impl Grid {
    fn new(
        builder: &mut Builder<'_, '_>,
        module: &Module<'_>,
        levels: &[ValueId],
        strides: &[f32],
    ) -> Result<Self, CheckpointError> {
        let (mut xs, mut ys, mut pitch) = (Vec::new(), Vec::new(), Vec::new());
        for (&level, &stride) in levels.iter().zip(strides) {
            let [_, h, w] = builder.image(level, module)?;
            let bytes = h.saturating_mul(w).saturating_mul(24);
            builder.budget.charge(bytes, || module.path.clone())?;
            xs.extend((0..h * w).map(|i| (i % w) as f32 + 0.5));
            ys.extend((0..h * w).map(|i| (i / w) as f32 + 0.5));
            pitch.resize(pitch.len() + h * w, stride);
        }
        let positions = pitch.len();
        xs.extend(ys);
        Ok(Self {
            centres: constant(builder, module, "anchors", &[1, 2, positions], xs)?,
            pitch: constant(builder, module, "strides", &[1, positions], pitch)?,
            positions,
        })
    }

    /// Boxes in pixels: two corners for those that are detected once, otherwise centre and size.
    fn boxes(
        &self,
        builder: &mut Builder<'_, '_>,
        module: &Module<'_>,
        distances: ValueId,
        form: Form,
    ) -> Result<ValueId, CheckpointError> {
        let [before, after] = halves(builder, module, distances)?;
        let low = builder.node(module, BinaryKind::Sub, &[self.centres, before])?;
        let high = builder.node(module, BinaryKind::Add, &[self.centres, after])?;
        let parts = match form {
            Form::Once => [low, high],
            _ => {
                let two = constant(builder, module, "two", &[], vec![2.0])?;
                let sum = builder.node(module, BinaryKind::Add, &[low, high])?;
                let centre = builder.node(module, BinaryKind::Div, &[sum, two])?;
                [centre, builder.node(module, BinaryKind::Sub, &[high, low])?]
            }
        };
        let boxes = builder.node(module, Concat { axis: 1 }, &parts)?;
        builder.node(module, BinaryKind::Mul, &[boxes, self.pitch])
    }

    /// Centre and size in pixels of boxes whose sides are turned by `angles`: the distances are along the sides.
    fn oriented(
        &self,
        builder: &mut Builder<'_, '_>,
        module: &Module<'_>,
        distances: ValueId,
        angles: ValueId,
    ) -> Result<ValueId, CheckpointError> {
        let [before, after] = halves(builder, module, distances)?;
        let size = builder.node(module, BinaryKind::Add, &[before, after])?;
        let two = constant(builder, module, "two", &[], vec![2.0])?;
        let shift = builder.node(module, BinaryKind::Sub, &[after, before])?;
        let shift = builder.node(module, BinaryKind::Div, &[shift, two])?;
        let sizes = vec![1, 1];
        let shift = builder.nodes(module, Split { axis: 1, sizes }, &[shift], 2)?;
        let cos = builder.node(module, transcendental(TranscendentalKind::Cos), &[angles])?;
        let sin = builder.node(module, transcendental(TranscendentalKind::Sin), &[angles])?;
        let mut turned = Vec::with_capacity(2);
        for (a, b, join) in [(cos, sin, BinaryKind::Sub), (sin, cos, BinaryKind::Add)] {
            let x = builder.node(module, BinaryKind::Mul, &[shift[0], a])?;
            let y = builder.node(module, BinaryKind::Mul, &[shift[1], b])?;
            turned.push(builder.node(module, join, &[x, y])?);
        }
        let turned = builder.node(module, Concat { axis: 1 }, &turned)?;
        let centre = builder.node(module, BinaryKind::Add, &[turned, self.centres])?;
        let boxes = builder.node(module, Concat { axis: 1 }, &[centre, size])?;
        builder.node(module, BinaryKind::Mul, &[boxes, self.pitch])
    }
}

fn transcendental(kind: TranscendentalKind) -> Transcendental {
    Transcendental { kind }
}

/// Rows 0 and 1, and rows 2 and 3.
fn halves(
    builder: &mut Builder<'_, '_>,
    module: &Module<'_>,
    x: ValueId,
) -> Result<[ValueId; 2], CheckpointError> {
    let half = |start: usize| Slice {
        ranges: vec![SliceRange {
            axis: 1,
            start,
            len: 2,
            step: 1,
        }],
    };
    Ok([
        builder.node(module, half(0), &[x])?,
        builder.node(module, half(2), &[x])?,
    ])
}

/// Distances to left, top, right and bottom, in strides: `[1, 4, positions]`.
fn distances(
    builder: &mut Builder<'_, '_>,
    module: &Module<'_>,
    name: &str,
    levels: &[ValueId],
) -> Result<ValueId, CheckpointError> {
    let bins = module.count("reg_max")?.max(1);
    let boxes = branch(builder, module, name, levels, Some(bins.saturating_mul(4)))?;
    match bins {
        1 => Ok(boxes),
        _ => expectation(builder, module, boxes, bins),
    }
}

/// The convolutions of one branch at every level, as `[1, width, positions]`.
pub(super) fn branch(
    builder: &mut Builder<'_, '_>,
    module: &Module<'_>,
    name: &str,
    levels: &[ValueId],
    width: Option<usize>,
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
        let [c, h, w] = builder.image(x, stack)?;
        let shape = vec![1, width.unwrap_or(c), h * w];
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
