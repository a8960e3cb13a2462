//! The positions at which a head without anchors predicts, and the boxes that distances from them make.
use super::Form;
use crate::CheckpointError;
use crate::modules::{Built, Scope};
use ir::ValueId;
use ir::ops::{BinaryKind, Slice, SliceRange, Split, UnaryKind};

/// The positions of all levels.
pub(super) struct Grid {
    /// Centres in strides, `[1, 2, positions]`.
    pub(super) centres: ValueId,
    /// Strides, `[1, positions]`.
    pub(super) pitch: ValueId,
    pub(super) positions: usize,
}

impl Grid {
    pub(super) fn new(
        s: &mut Scope<'_, '_>,
        levels: &[ValueId],
        strides: &[f32],
    ) -> Result<Self, CheckpointError> {
        let (mut xs, mut ys, mut pitch) = (Vec::new(), Vec::new(), Vec::new());
        for (&level, &stride) in levels.iter().zip(strides) {
            let [_, h, w] = s.image(level)?;
            let bytes = h.saturating_mul(w).saturating_mul(24);
            s.charge(bytes)?;
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
    pub(super) fn boxes(&self, s: &mut Scope<'_, '_>, distances: ValueId, form: Form) -> Built {
        let [before, after] = halves(s, distances)?;
        let low = s.node(BinaryKind::Sub, &[self.centres, before])?;
        let high = s.add(self.centres, after)?;
        let parts = if form == Form::Once {
            [low, high]
        } else {
            let two = s.scalar("two", 2.0)?;
            let sum = s.add(low, high)?;
            let centre = s.node(BinaryKind::Div, &[sum, two])?;
            [centre, s.node(BinaryKind::Sub, &[high, low])?]
        };
        let boxes = s.concat(&parts)?;
        s.mul(boxes, self.pitch)
    }

    /// Centre and size in pixels of boxes whose sides are turned by `angles`: the distances are along the sides.
    pub(super) fn oriented(
        &self,
        s: &mut Scope<'_, '_>,
        distances: ValueId,
        angles: ValueId,
    ) -> Built {
        let [before, after] = halves(s, distances)?;
        let size = s.add(before, after)?;
        let two = s.scalar("two", 2.0)?;
        let shift = s.node(BinaryKind::Sub, &[after, before])?;
        let shift = s.node(BinaryKind::Div, &[shift, two])?;
        let sizes = vec![1, 1];
        let shift = s.nodes(Split { axis: 1, sizes }, &[shift], 2)?;
        let cos = s.node(UnaryKind::Cos, &[angles])?;
        let sin = s.node(UnaryKind::Sin, &[angles])?;
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

/// Rows 0 and 1, and rows 2 and 3.
fn halves(s: &mut Scope<'_, '_>, x: ValueId) -> Result<[ValueId; 2], CheckpointError> {
    let half =
        |start: usize| Slice { ranges: vec![SliceRange { axis: 1, start, len: 2, step: 1 }] };
    Ok([s.node(half(0), &[x])?, s.node(half(2), &[x])?])
}
