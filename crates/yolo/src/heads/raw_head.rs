//! What the output convolutions of a head hold, for losses: they compare raw outputs, whatever the graph makes of them.
use super::family::Family;
use super::predictions::{Channels, Kind, Predictions};
use ir::{Graph, ValueId, find_tail};

/// Channels of one of the raw outputs from some channel on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RawChannels {
    /// Position among [`RawHead::outputs`].
    pub(crate) output: usize,
    pub(crate) first: usize,
}

/// What is predicted of one box at each cell of one scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RawBoxes {
    pub(crate) cells: usize,
    pub(crate) boxes: RawChannels,
    pub(crate) objectness: Option<RawChannels>,
    pub(crate) classes: RawChannels,
}

/// How raw outputs are to be understood; a pruned detector's are like those of the detector it was made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RawForm {
    pub(crate) kind: Kind,
    pub(crate) classes: usize,
    /// One for each anchor of each scale, the finest first.
    pub(crate) boxes: Vec<RawBoxes>,
    /// Elements of each output for one image.
    pub(crate) elements: Vec<usize>,
}

/// The raw outputs of a detection head: those of its output convolutions, each `[1, C, H, W] f32`.
#[derive(Clone, Debug)]
pub struct RawHead {
    /// The outputs, in the order in which losses take them.
    pub outputs: Vec<ValueId>,
    pub(crate) form: RawForm,
}

impl RawHead {
    /// The raw outputs of a graph whose family and number of classes are known; `None` where its output convolutions do not
    /// fit these.
    pub(crate) fn new(
        graph: &Graph,
        family: &Family,
        classes: usize,
        size_px: [usize; 2],
    ) -> Option<Self> {
        let same = |a: Kind, b: Kind| std::mem::discriminant(&a) == std::mem::discriminant(&b);
        let all = Predictions::all(graph, &find_tail(graph), size_px, Some(classes));
        let fits = |p: &Predictions| p.classes == classes && same(p.kind, family.kind);
        let predictions = all.into_iter().find(fits)?;
        let mut outputs: Vec<ValueId> = Vec::new();
        let mut raw = |channels: Channels| {
            let known = outputs.iter().position(|&v| v == channels.value);
            let output = known.unwrap_or(outputs.len());
            if known.is_none() {
                outputs.push(channels.value);
            }
            let first = channels.first;
            RawChannels { output, first }
        };
        let mut boxes = Vec::new();
        for level in &predictions.levels {
            for parts in &level.parts {
                boxes.push(RawBoxes {
                    cells: level.cells(),
                    boxes: raw(parts.boxes),
                    objectness: parts.objectness.map(&mut raw),
                    classes: raw(parts.classes),
                });
            }
        }
        let elements = outputs.iter().map(|&v| Some(graph.ty(v).ok()?.elements()));
        let form = RawForm {
            kind: predictions.kind,
            classes,
            boxes,
            elements: elements.collect::<Option<_>>()?,
        };
        Some(Self { outputs, form })
    }
}
