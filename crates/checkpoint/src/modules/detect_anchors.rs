//! The head with anchors, as YOLOv5's exports write it: each position of each level predicts one box for each anchor,
//! `xy = (2 σ(t) - 0.5 + cell) · stride`, `wh = (2 σ(t))² · anchor`. Output `[1, anchors, 5 + classes]`.
use super::detect::{Head, constant, elements, strides};
use crate::CheckpointError;
use crate::builder::Builder;
use crate::module::Module;
use ir::ValueId;
use ir::ops::{BinaryKind, Concat, Reshape, Split, Transpose, UnaryKind};

pub(super) fn build(
    builder: &mut Builder<'_, '_>,
    module: &Module<'_>,
    levels: &[ValueId],
) -> Result<Head, CheckpointError> {
    let convolutions = module.child("m")?.children()?;
    let strides = strides(builder, module, levels.len())?;
    let id = module.required_tensor("anchors")?;
    let anchors = builder.tensor(module, "anchors", id)?;
    let per_level = match *anchors.shape() {
        [n, per_level, 2] if n == levels.len() && n == convolutions.len() && per_level > 0 => {
            per_level
        }
        ref found => {
            return Err(CheckpointError::Expected {
                at: format!("{}.anchors", module.path),
                expected: "anchors [levels, anchors, 2] and a convolution for each level",
                found: format!("{found:?} for {} levels", levels.len()),
            });
        }
    };
    let sizes = elements(module, &anchors)?;
    let classes = module.count("nc")?;
    let mut boxes = Vec::with_capacity(levels.len());
    for (i, (&level, convolution)) in levels.iter().zip(&convolutions).enumerate() {
        let x = super::build(builder, convolution, &[level])?;
        let level = Level {
            // Anchors are stored in units of the level's stride.
            anchors: sizes[i * per_level * 2..][..per_level * 2]
                .iter()
                .map(|a| a * strides[i])
                .collect(),
            stride: strides[i],
            classes,
        };
        boxes.push(level.decode(builder, module, x)?);
    }
    builder.output(module, Concat { axis: 1 }, &boxes, "output0")?;
    Ok(Head {
        at: module.path.clone(),
        classes,
        strides,
    })
}

struct Level {
    /// Width and height of each anchor in pixels.
    anchors: Vec<f32>,
    stride: f32,
    classes: usize,
}

impl Level {
    fn decode(
        &self,
        builder: &mut Builder<'_, '_>,
        module: &Module<'_>,
        x: ValueId,
    ) -> Result<ValueId, CheckpointError> {
        let [_, h, w] = builder.image(x, module)?;
        let count = self.anchors.len() / 2;
        let width = self.classes.saturating_add(5);
        let shape = vec![1, count, width, h, w];
        let x = builder.node(module, Reshape { shape }, &[x])?;
        let perm = vec![0, 1, 3, 4, 2];
        let x = builder.node(module, Transpose { perm }, &[x])?;
        let x = builder.node(module, UnaryKind::Sigmoid, &[x])?;
        let sizes = vec![2, 2, self.classes + 1];
        let parts = builder.nodes(module, Split { axis: 4, sizes }, &[x], 3)?;
        let xy = self.centres(builder, module, parts[0], [h, w])?;
        let wh = self.sizes(builder, module, parts[1], [h, w])?;
        let all = builder.node(module, Concat { axis: 4 }, &[xy, wh, parts[2]])?;
        let shape = vec![1, count * h * w, width];
        builder.node(module, Reshape { shape }, &[all])
    }

    fn centres(
        &self,
        builder: &mut Builder<'_, '_>,
        module: &Module<'_>,
        t: ValueId,
        [h, w]: [usize; 2],
    ) -> Result<ValueId, CheckpointError> {
        let count = self.anchors.len() / 2;
        let cells =
            (0..count * h * w).flat_map(|i| [(i % w) as f32 - 0.5, (i / w % h) as f32 - 0.5]);
        builder
            .budget
            .charge(count * h * w * 8, || module.path.clone())?;
        let two = constant(builder, module, "two", &[], vec![2.0])?;
        let cells = constant(
            builder,
            module,
            "grid",
            &[1, count, h, w, 2],
            cells.collect(),
        )?;
        let stride = constant(builder, module, "stride", &[], vec![self.stride])?;
        let xy = builder.node(module, BinaryKind::Mul, &[t, two])?;
        let xy = builder.node(module, BinaryKind::Add, &[xy, cells])?;
        builder.node(module, BinaryKind::Mul, &[xy, stride])
    }

    fn sizes(
        &self,
        builder: &mut Builder<'_, '_>,
        module: &Module<'_>,
        t: ValueId,
        [h, w]: [usize; 2],
    ) -> Result<ValueId, CheckpointError> {
        let count = self.anchors.len() / 2;
        let anchors = self.anchors.chunks_exact(2);
        builder
            .budget
            .charge(count * h * w * 8, || module.path.clone())?;
        let anchors = anchors.flat_map(|a| a.iter().copied().cycle().take(h * w * 2));
        let two = constant(builder, module, "two", &[], vec![2.0])?;
        let anchors = constant(
            builder,
            module,
            "anchor_grid",
            &[1, count, h, w, 2],
            anchors.collect(),
        )?;
        let wh = builder.node(module, BinaryKind::Mul, &[t, two])?;
        let wh = builder.node(module, BinaryKind::Pow, &[wh, two])?;
        builder.node(module, BinaryKind::Mul, &[wh, anchors])
    }
}
