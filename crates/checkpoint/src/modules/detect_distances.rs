//! The head without anchors: each position predicts distances to the four sides, one number each or the expectation of
//! a distribution over `reg_max` bins (arXiv:2006.04388), and a score for each class. Output `[1, 4 + classes, positions]`.
use super::detect::{Head, strides};
use super::{detect_once, detect_tasks};
use crate::CheckpointError;
use crate::scope::{Built, Scope};
use ir::ValueId;
use ir::ops::{
    BinaryKind, Concat, Reshape, Slice, SliceRange, Softmax, Split, Transcendental,
    TranscendentalKind, Transpose, UnaryKind,
};

pub(super) fn build(
    s: &mut Scope<'_, '_, '_>,
    levels: &[ValueId],
    form: Form,
) -> Result<Head, CheckpointError> {
    let strides = strides(s, levels.len())?;
    let classes = s.module.count("nc")?;
    // An end-to-end model has a second pair of branches that detects each object once; the first pair detects it often.
    let [boxes_at, scores_at] = match form {
        Form::Once => ["one2one_cv2", "one2one_cv3"],
        _ => ["cv2", "cv3"],
    };
    let distances = distances(s, boxes_at, levels)?;
    let scores = branch(s, scores_at, levels, Some(classes))?;
    let scores = s.node(UnaryKind::Sigmoid, &[scores])?;
    let grid = Grid::new(s, levels, &strides)?;
    let boxes = grid.boxes(s, distances, form)?;
    match form {
        Form::Boxes => {
            s.output(Concat { axis: 1 }, &[boxes, scores], "output0")?;
        }
        Form::Once => detect_once::select(s, boxes, scores)?,
        Form::Masks => detect_tasks::masks(s, levels, [boxes, scores])?,
        Form::Keypoints => detect_tasks::keypoints(s, levels, [boxes, scores], &grid)?,
        Form::Oriented => {
            let angles = detect_tasks::angles(s, levels)?;
            let boxes = grid.oriented(s, distances, angles)?;
            let all = [boxes, scores, angles];
            s.output(Concat { axis: 1 }, &all, "output0")?;
        }
    }
    Ok(Head {
        at: s.module.path.clone(),
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
        s: &mut Scope<'_, '_, '_>,
        levels: &[ValueId],
        strides: &[f32],
    ) -> Result<Self, CheckpointError> {
        let (mut xs, mut ys, mut pitch) = (Vec::new(), Vec::new(), Vec::new());
        for (&level, &stride) in levels.iter().zip(strides) {
            let [_, h, w] = s.image(level)?;
            let bytes = h.saturating_mul(w).saturating_mul(24);
            s.builder.budget.charge(bytes, || s.module.path.clone())?;
            xs.extend((0..h * w).map(|i| (i % w) as f32 + 0.5));
            ys.extend((0..h * w).map(|i| (i / w) as f32 + 0.5));
            pitch.resize(pitch.len() + h * w, stride);
        }
        let positions = pitch.len();
        xs.extend(ys);
        Ok(Self {
            centres: s.constant("anchors", &[1, 2, positions], xs)?,
            pitch: s.constant("strides", &[1, positions], pitch)?,
            positions,
        })
    }

    /// Boxes in pixels: two corners for those that are detected once, otherwise centre and size.
    fn boxes(&self, s: &mut Scope<'_, '_, '_>, distances: ValueId, form: Form) -> Built {
        let [before, after] = halves(s, distances)?;
        let low = s.node(BinaryKind::Sub, &[self.centres, before])?;
        let high = s.add(self.centres, after)?;
        let parts = match form {
            Form::Once => [low, high],
            _ => {
                let two = s.scalar("two", 2.0)?;
                let sum = s.add(low, high)?;
                let centre = s.node(BinaryKind::Div, &[sum, two])?;
                [centre, s.node(BinaryKind::Sub, &[high, low])?]
            }
        };
        let boxes = s.concat(&parts)?;
        s.mul(boxes, self.pitch)
    }

    /// Centre and size in pixels of boxes whose sides are turned by `angles`: the distances are along the sides.
    fn oriented(&self, s: &mut Scope<'_, '_, '_>, distances: ValueId, angles: ValueId) -> Built {
        let [before, after] = halves(s, distances)?;
        let size = s.add(before, after)?;
        let two = s.scalar("two", 2.0)?;
        let shift = s.node(BinaryKind::Sub, &[after, before])?;
        let shift = s.node(BinaryKind::Div, &[shift, two])?;
        let sizes = vec![1, 1];
        let shift = s.nodes(Split { axis: 1, sizes }, &[shift], 2)?;
        let cos = s.node(transcendental(TranscendentalKind::Cos), &[angles])?;
        let sin = s.node(transcendental(TranscendentalKind::Sin), &[angles])?;
        let mut turned = Vec::with_capacity(2);
        for (a, b, join) in [(cos, sin, BinaryKind::Sub), (sin, cos, BinaryKind::Add)] {
            let x = s.node(BinaryKind::Mul, &[shift[0], a])?;
            let y = s.node(BinaryKind::Mul, &[shift[1], b])?;
            turned.push(s.node(join, &[x, y])?);
        }
        let turned = s.concat(&turned)?;
        let centre = s.add(turned, self.centres)?;
        let boxes = s.concat(&[centre, size])?;
        s.mul(boxes, self.pitch)
    }
}

fn transcendental(kind: TranscendentalKind) -> Transcendental {
    Transcendental { kind }
}

/// Rows 0 and 1, and rows 2 and 3.
fn halves(s: &mut Scope<'_, '_, '_>, x: ValueId) -> Result<[ValueId; 2], CheckpointError> {
    let half = |start: usize| Slice {
        ranges: vec![SliceRange {
            axis: 1,
            start,
            len: 2,
            step: 1,
        }],
    };
    Ok([s.node(half(0), &[x])?, s.node(half(2), &[x])?])
}

/// Distances to left, top, right and bottom, in strides: `[1, 4, positions]`.
fn distances(s: &mut Scope<'_, '_, '_>, name: &str, levels: &[ValueId]) -> Built {
    let bins = s.module.count("reg_max")?.max(1);
    let boxes = branch(s, name, levels, Some(bins.saturating_mul(4)))?;
    match bins {
        1 => Ok(boxes),
        _ => expectation(s, boxes, bins),
    }
}

/// The convolutions of one branch at every level, as `[1, width, positions]`.
pub(super) fn branch(
    s: &mut Scope<'_, '_, '_>,
    name: &str,
    levels: &[ValueId],
    width: Option<usize>,
) -> Built {
    let branch = s.module.child(name)?;
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
        let x = s.run(stack, level)?;
        let [c, h, w] = s.image(x)?;
        let shape = vec![1, width.unwrap_or(c), h * w];
        rows.push(s.node(Reshape { shape }, &[x])?);
    }
    s.node(Concat { axis: 2 }, &rows)
}

/// The expected bin of each of the four distributions.
fn expectation(s: &mut Scope<'_, '_, '_>, boxes: ValueId, bins: usize) -> Built {
    let positions = s.builder.shape(boxes)[2];
    let dfl = s.module.child("dfl")?;
    let mut s = s.of(&dfl);
    let shape = vec![1, 4, bins, positions];
    let x = s.node(Reshape { shape }, &[boxes])?;
    let perm = vec![0, 2, 1, 3];
    let x = s.node(Transpose { perm }, &[x])?;
    let softmax = Softmax {
        axis: 1,
        coerced: vec![],
    };
    let x = s.node(softmax, &[x])?;
    let x = s.child("conv", x)?;
    let shape = vec![1, 4, positions];
    s.node(Reshape { shape }, &[x])
}
