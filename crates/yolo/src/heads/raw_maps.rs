//! What a detector tells that ends behind the output convolutions of its head, and what must be said beside it.
use super::anchors::ANCHORS;
use super::predictions::Kind;
use super::raw_head::{RawBoxes, RawHead};
use ir::{Graph, ValueId};
use serde::Serialize;

/// Key of the model's metadata that tells how many boxes were picked behind its raw outputs: each object is found by one box
/// then, and nothing is left to suppress.
pub const PICKED: &str = "picked";

/// What a raw output holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RawPart {
    /// Box, objectness and classes of every anchor, one after another, before their sigmoid.
    Anchors,
    /// Distances to the four sides or their distributions, or offsets and logarithms of sizes.
    Boxes,
    /// Whether there is an object.
    Objectness,
    /// A score for each class.
    Classes,
}

impl RawPart {
    /// The word for it in names of outputs and in records.
    pub fn name(self) -> &'static str {
        match self {
            Self::Anchors => "anchors",
            Self::Boxes => "boxes",
            Self::Objectness => "objectness",
            Self::Classes => "classes",
        }
    }

    /// Whether its numbers are scores once their sigmoid is taken.
    pub fn is_score(self) -> bool {
        matches!(self, Self::Objectness | Self::Classes)
    }
}

/// One raw output of a head: that of an output convolution, `[1, C, H, W] f32`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RawMap {
    /// The value of the graph.
    pub value: ValueId,
    /// What it holds.
    pub part: RawPart,
    /// Position of its scale, the finest first.
    pub level: usize,
    /// Pixels from cell to cell, along x and y.
    pub stride_px: [f64; 2],
}

impl RawHead {
    /// The raw outputs, scale by scale: boxes, classes, objectness, where they come apart.
    pub fn maps(&self) -> Vec<RawMap> {
        let map = |(output, &value): (usize, &ValueId)| {
            let holds = |boxes: &&RawBoxes| parts(boxes, output).next().is_some();
            let boxes = self.form.boxes.iter().find(holds)?;
            let mut parts = parts(boxes, output);
            let part = parts.next()?;
            // One convolution for all that is told of a box.
            let part = if parts.next().is_some() { RawPart::Anchors } else { part };
            Some(RawMap { value, part, level: boxes.level, stride_px: self.form.stride(boxes) })
        };
        let mut maps: Vec<RawMap> = self.outputs.iter().enumerate().filter_map(map).collect();
        maps.sort_by_key(|map| (map.level, map.part.name()));
        maps
    }

    /// Bins of the distribution of each distance; `None` for a head without distributions.
    pub fn bins(&self) -> Option<usize> {
        match self.form.kind {
            Kind::Distances(bins) if bins > 1 => Some(bins),
            _ => None,
        }
    }

    /// Writes into the metadata of a graph without its tail what the tail told of boxes. `whole` is the graph with it.
    pub fn tell(&self, whole: &Graph, cut: &mut Graph) {
        if !self.anchors_px.is_empty() {
            let sides: Vec<String> =
                self.anchors_px.as_flattened().iter().map(f32::to_string).collect();
            cut.metadata.insert(ANCHORS.to_owned(), sides.join(","));
        }
        if self.is_one_to_one {
            let shapes = whole.outputs().iter().filter_map(|&v| whole.ty(v).ok());
            let rows = shapes.filter(|ty| ty.rank() == 3).map(|ty| ty.shape[1]);
            let picked = rows.max().map(|rows| rows.to_string());
            let stated = whole.metadata.get(PICKED).cloned();
            cut.metadata.extend(stated.or(picked).map(|rows| (PICKED.to_owned(), rows)));
        }
    }

    /// Whether boxes are relative to anchors that the graph does not tell.
    pub fn lacks_anchors(&self) -> bool {
        matches!(self.form.kind, Kind::Anchors(_)) && self.anchors_px.is_empty()
    }
}

/// The parts of a box that are channels of an output.
fn parts(boxes: &RawBoxes, output: usize) -> impl Iterator<Item = RawPart> {
    let all = [
        (RawPart::Boxes, Some(boxes.boxes)),
        (RawPart::Objectness, boxes.objectness),
        (RawPart::Classes, Some(boxes.classes)),
    ];
    let own = all.into_iter().filter(move |(_, c)| c.is_some_and(|c| c.output == output));
    own.map(|(part, _)| part)
}
