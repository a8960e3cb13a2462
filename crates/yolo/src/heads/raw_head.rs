//! What the output convolutions of a head hold, for losses: they compare raw outputs, whatever the graph makes of them.
use super::decoder::Decoder;
use super::family::Family;
use super::predictions::{Channels, Kind, Predictions};
use super::probe;
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
    /// Position of the scale, the finest first.
    pub(crate) level: usize,
    pub(crate) cells: usize,
    /// Cells of a row.
    pub(crate) columns: usize,
    pub(crate) boxes: RawChannels,
    pub(crate) objectness: Option<RawChannels>,
    pub(crate) classes: RawChannels,
}

/// How raw outputs are to be understood; a pruned detector's are like those of the detector it was made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RawForm {
    pub(crate) kind: Kind,
    pub(crate) classes: usize,
    /// Height and width of the network's input.
    pub(crate) size_px: [usize; 2],
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
    /// Whether each object is to be found by one box only, since nothing suppresses others.
    pub(crate) is_one_to_one: bool,
    /// Width and height of every scale's anchors, the finest scale's first, as the graph tells them; empty where there are
    /// none, or boxes are not relative to them in YOLOv5's way.
    pub anchors_px: Vec<[f32; 2]>,
}

impl RawForm {
    /// Pixels from cell to cell, along x and y.
    pub(crate) fn stride(&self, boxes: &RawBoxes) -> [f64; 2] {
        let [height, width] = self.size_px;
        let rows = boxes.cells / boxes.columns.max(1);
        [width as f64 / boxes.columns.max(1) as f64, height as f64 / rows.max(1) as f64]
    }
}

impl RawHead {
    /// The raw outputs of a graph whose family and decoder are known; `None` where its output convolutions do not fit these.
    pub(crate) fn new(
        graph: &Graph,
        family: &Family,
        decoder: &Decoder,
        size_px: [usize; 2],
    ) -> Option<Self> {
        let classes = decoder.classes();
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
        for (index, level) in predictions.levels.iter().enumerate() {
            for parts in &level.parts {
                boxes.push(RawBoxes {
                    level: index,
                    cells: level.cells(),
                    columns: level.columns,
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
            size_px,
            boxes,
            elements: elements.collect::<Option<_>>()?,
        };
        let anchors_px = probe::anchors_px(graph, &predictions, decoder).unwrap_or_default();
        Some(Self { outputs, form, is_one_to_one: family.picks, anchors_px })
    }

    /// Height and width of the inputs.
    pub fn size_px(&self) -> [usize; 2] {
        self.form.size_px
    }

    /// Pixels from cell to cell of the coarsest scale, along x and y.
    pub(crate) fn coarsest_stride_px(&self) -> [usize; 2] {
        let strides = self.form.boxes.iter().map(|boxes| self.form.stride(boxes));
        let most = strides
            .fold([1.0f64; 2], |most, stride| [most[0].max(stride[0]), most[1].max(stride[1])]);
        most.map(|px| px.round() as usize)
    }

    /// The raw outputs of the same head for inputs of another size (height, width); `None` where its scales have no whole number of
    /// cells then.
    pub fn resized(&self, size_px: [usize; 2]) -> Option<Self> {
        let form = &self.form;
        let scaled = |cells: usize, axis: usize| {
            let product = cells * size_px[axis];
            let whole = product.is_multiple_of(form.size_px[axis].max(1)) && product > 0;
            whole.then(|| product / form.size_px[axis])
        };
        let resized = |of: &RawBoxes| {
            let (rows, columns) = (of.cells / of.columns.max(1), scaled(of.columns, 1)?);
            Some(RawBoxes { cells: scaled(rows, 0)? * columns, columns, ..*of })
        };
        let boxes = form.boxes.iter().map(resized).collect::<Option<Vec<_>>>()?;
        let mut elements = form.elements.clone();
        for (new, of) in boxes.iter().zip(&form.boxes) {
            for part in [Some(of.boxes), of.objectness, Some(of.classes)].into_iter().flatten() {
                let output = part.output;
                elements[output] = form.elements[output] / of.cells.max(1) * new.cells;
            }
        }
        let form = RawForm { size_px, boxes, elements, ..form.clone() };
        Some(Self { form, ..self.clone() })
    }
}
