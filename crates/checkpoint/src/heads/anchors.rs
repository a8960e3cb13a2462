//! The head with anchors, as YOLOv5's exports write it: each position of each level predicts one box for each anchor,
//! `xy = (2 σ(t) - 0.5 + cell) · stride`, `wh = (2 σ(t))² · anchor`. Output `[1, anchors, 5 + classes]`. YOLOv7's adds a learned
//! number to each channel before the convolution and multiplies by one behind it (arXiv:2207.02696, section 4.3).
use super::strides;
use crate::CheckpointError;
use crate::modules::{Built, Scope};
use ir::ValueId;
use ir::ops::{BinaryKind, Concat, Reshape, Split, Transpose, UnaryKind};

/// Adds the head and gives the stride of every level.
pub(super) fn build(
    s: &mut Scope<'_, '_>,
    levels: &[ValueId],
) -> Result<Vec<f32>, CheckpointError> {
    let convolutions = s.module.child("m")?.children()?;
    // Behind the levels that detect, YOLOv7's training head reads as many that only help to train.
    let levels = match s.module.class {
        "IAuxDetect" => &levels[..levels.len().min(convolutions.len())],
        _ => levels,
    };
    let strides = strides(s, levels.len())?;
    let anchors = s.tensor("anchors")?;
    let per_level = match *anchors.shape() {
        [n, per_level, 2] if n == levels.len() && n == convolutions.len() && per_level > 0 => {
            per_level
        }
        ref found => {
            return Err(CheckpointError::Expected {
                at: format!("{}.anchors", s.module.path),
                expected: "anchors [levels, anchors, 2] and a convolution for each level",
                found: format!("{found:?} for {} levels", levels.len()),
            });
        }
    };
    let sizes = anchors.as_slice::<f32>().map_err(|e| s.operator(e))?;
    let classes = s.module.count("nc")?;
    let mut boxes = Vec::with_capacity(levels.len());
    for (i, (&level, convolution)) in levels.iter().zip(&convolutions).enumerate() {
        let x = implicit(s, "ia", i, BinaryKind::Add, level)?;
        let x = s.run(convolution, x)?;
        let x = implicit(s, "im", i, BinaryKind::Mul, x)?;
        let level = Level {
            // Anchors are stored in units of the level's stride.
            anchors: sizes[i * per_level * 2..][..per_level * 2]
                .iter()
                .map(|a| a * strides[i])
                .collect(),
            stride: strides[i],
            classes,
        };
        boxes.push(level.decode(s, x)?);
    }
    s.output(Concat { axis: 1 }, &boxes, "output0")?;
    Ok(strides)
}

/// What a learned number for each channel makes of a level, where the head has such.
fn implicit(
    s: &mut Scope<'_, '_>,
    name: &str,
    level: usize,
    kind: BinaryKind,
    x: ValueId,
) -> Built {
    let Some(all) = s.module.find(name)? else {
        return Ok(x);
    };
    let numbers = all.child(&level.to_string())?;
    let mut s = s.within(&numbers);
    let numbers = s.weight("implicit")?;
    s.node(kind, &[x, numbers])
}

struct Level {
    /// Width and height of each anchor in pixels.
    anchors: Vec<f32>,
    stride: f32,
    classes: usize,
}

impl Level {
    fn decode(&self, s: &mut Scope<'_, '_>, x: ValueId) -> Built {
        let [_, h, w] = s.image(x)?;
        let count = self.anchors.len() / 2;
        let width = self.classes.saturating_add(5);
        let shape = vec![1, count, width, h, w];
        let x = s.node(Reshape { shape }, &[x])?;
        let perm = vec![0, 1, 3, 4, 2];
        let x = s.node(Transpose { perm }, &[x])?;
        let x = s.node(UnaryKind::Sigmoid, &[x])?;
        let sizes = vec![2, 2, self.classes + 1];
        let parts = s.nodes(Split { axis: 4, sizes }, &[x], 3)?;
        let xy = self.centres(s, parts[0], [h, w])?;
        let wh = self.sizes(s, parts[1], [h, w])?;
        let all = s.node(Concat { axis: 4 }, &[xy, wh, parts[2]])?;
        let shape = vec![1, count * h * w, width];
        s.node(Reshape { shape }, &[all])
    }

    fn centres(&self, s: &mut Scope<'_, '_>, t: ValueId, [h, w]: [usize; 2]) -> Built {
        let count = self.anchors.len() / 2;
        let cells =
            (0..count * h * w).flat_map(|i| [(i % w) as f32 - 0.5, (i / w % h) as f32 - 0.5]);
        s.charge(count * h * w * 8)?;
        let two = s.scalar("two", 2.0)?;
        let cells = s.constant("grid", &[1, count, h, w, 2], cells.collect())?;
        let stride = s.scalar("stride", self.stride)?;
        let xy = s.mul(t, two)?;
        let xy = s.add(xy, cells)?;
        s.mul(xy, stride)
    }

    fn sizes(&self, s: &mut Scope<'_, '_>, t: ValueId, [h, w]: [usize; 2]) -> Built {
        let count = self.anchors.len() / 2;
        let anchors = self.anchors.chunks_exact(2);
        s.charge(count * h * w * 8)?;
        let anchors = anchors.flat_map(|a| a.iter().copied().cycle().take(h * w * 2));
        let two = s.scalar("two", 2.0)?;
        let anchors = s.constant("anchor_grid", &[1, count, h, w, 2], anchors.collect())?;
        let wh = s.mul(t, two)?;
        let wh = s.node(BinaryKind::Pow, &[wh, two])?;
        s.mul(wh, anchors)
    }
}
