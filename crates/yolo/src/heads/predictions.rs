//! What a head's output convolutions predict at every cell of every scale, whatever the graph makes of it afterwards.
use super::anchors;
use ir::{Graph, NodeId, Tail, ValueId};
use std::collections::BTreeMap;

/// A raw number whose sigmoid is as good as 1; its negative stands for 0.
const CERTAIN: f32 = 20.0;

/// How a box is predicted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Relative to so many anchors of each cell, with an objectness (YOLOv3, v5, v7).
    Anchors(usize),
    /// Distances from the cell's centre to the four sides, each a distribution over bins or, with one bin, a number
    /// (YOLOv6, v8 and their successors).
    Distances(usize),
    /// Offset from the cell's corner and logarithm of the size, with an objectness (YOLOX).
    Offsets,
}

/// Channels of an output convolution from some channel on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Channels {
    pub(super) value: ValueId,
    pub(super) first: usize,
}

/// What is predicted of one box at every cell.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parts {
    pub(super) boxes: Channels,
    pub(super) objectness: Option<Channels>,
    pub(super) classes: Channels,
}

/// The cells of one scale.
#[derive(Clone, Debug)]
pub(crate) struct Level {
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    /// Pixels from cell to cell, along x and y.
    pub(crate) stride: [f32; 2],
    /// For each anchor of a cell; one where there are none.
    pub(super) parts: Vec<Parts>,
}

impl Level {
    /// Scale of `rows` by `columns` cells of an input of `size_px` (height, width).
    pub(crate) fn new([rows, columns]: [usize; 2], size_px: [usize; 2]) -> Self {
        let stride = |px: usize, cells: usize| px as f32 / cells.max(1) as f32;
        Self {
            rows,
            columns,
            stride: [stride(size_px[1], columns), stride(size_px[0], rows)],
            parts: vec![],
        }
    }

    pub(crate) fn cells(&self) -> usize {
        self.rows * self.columns
    }
}

/// A way to understand the output convolutions.
#[derive(Clone, Debug)]
pub(crate) struct Predictions {
    pub(crate) kind: Kind,
    pub(crate) classes: usize,
    /// The finest first.
    pub(crate) levels: Vec<Level>,
    /// Height and width of the network's input.
    pub(crate) size_px: [usize; 2],
    /// Width and height of the anchors of every scale, where they are known.
    pub(crate) anchors_px: Vec<Vec<[f32; 2]>>,
}

/// An object that is planted into the convolutions, and how it must be found again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Object {
    level: usize,
    cell: usize,
    anchor: usize,
    pub(crate) class: usize,
    /// The four raw numbers of a box that is relative to an anchor.
    raw: f32,
    /// In pixels, as all that follows.
    pub(crate) centre: [f32; 2],
    /// Not known where the graph alone knows its anchors.
    pub(crate) size: Option<[f32; 2]>,
    pub(crate) stride: [f32; 2],
}

impl Predictions {
    /// Boxes at each cell.
    pub(crate) fn per_cell(&self) -> usize {
        match self.kind {
            Kind::Anchors(n) => n,
            _ => 1,
        }
    }

    /// Anchors of all scales.
    pub(crate) fn total_anchors(&self) -> usize {
        self.levels.len() * self.per_cell()
    }

    pub(crate) fn has_objectness(&self) -> bool {
        !matches!(self.kind, Kind::Distances(_))
    }

    /// Boxes in all.
    pub(crate) fn total(&self) -> usize {
        let cells: usize = self.levels.iter().map(Level::cells).sum();
        cells * self.per_cell()
    }

    /// All ways in which the convolutions of a tail can be understood, the most usual first. `named` is the number of
    /// class names that the model carries.
    pub(crate) fn all(
        graph: &Graph,
        tail: &Tail,
        size_px: [usize; 2],
        named: Option<usize>,
    ) -> Vec<Self> {
        let Some(scales) = scales(graph, tail) else {
            return vec![];
        };
        let widths = widths(graph, &scales);
        let ways = match widths.as_slice() {
            [Some(width)] => anchored(*width, &anchor_classes(graph, *width, named)),
            [Some(first), Some(second)] => pairs([*first, *second], tail.dfl_bins),
            [_, _, _] if tail.dfl_bins.is_none() => triples(&widths),
            _ => vec![],
        };
        let of_way = |way: Way| {
            let level = |(&size, convs): (&[usize; 2], &Vec<ValueId>)| Level {
                parts: way.parts(convs),
                ..Level::new(size, size_px)
            };
            let mut levels: Vec<Level> = scales.iter().map(level).collect();
            levels.sort_by_key(|l| std::cmp::Reverse(l.cells()));
            let anchors_px = match way.kind {
                Kind::Anchors(per_cell) => anchors::known(graph, levels.len(), per_cell),
                _ => vec![],
            };
            Self { kind: way.kind, classes: way.classes, levels, size_px, anchors_px }
        };
        let mut found: Vec<Self> = ways.into_iter().map(of_way).collect();
        found.retain(|p| p.classes > 0);
        // Where nothing else tells two branches apart: names count the classes, and 16 bins are usual.
        let unusual = |p: &Self| match p.kind {
            Kind::Distances(bins) => bins != 1 && bins != 16,
            _ => false,
        };
        found.sort_by_key(|p| (named.is_some() && named != Some(p.classes), unusual(p)));
        found
    }

    /// Objects at every scale, away from the corner of the image, each of another class where there are several.
    pub(crate) fn objects(&self) -> Vec<Object> {
        let object = |(index, level): (usize, &Level)| {
            let (row, column) = (level.rows / 3, level.columns * 2 / 3);
            let [x, y] = [column as f32, row as f32];
            let (centre, size) = match self.kind {
                Kind::Anchors(_) => ([x + 0.5, y + 0.5], None),
                Kind::Offsets => ([x + 0.5, y + 0.25], Some([4.0, 2.0])),
                Kind::Distances(bins) => {
                    let [l, t, r, b] = distances(bins);
                    ([x + 0.5 + (r - l) / 2.0, y + 0.5 + (b - t) / 2.0], Some([l + r, t + b]))
                }
            };
            let pixels = |v: [f32; 2]| [v[0] * level.stride[0], v[1] * level.stride[1]];
            Object {
                level: index,
                cell: row * level.columns + column,
                anchor: index % self.per_cell(),
                class: (index * 5 + 1) % self.classes,
                raw: 0.0,
                centre: pixels(centre),
                size: size.map(pixels),
                stride: level.stride,
            }
        };
        self.levels.iter().enumerate().map(object).collect()
    }

    /// An object at every scale, found by the anchor of this number, all four raw numbers of its box being `raw`.
    pub(super) fn objects_of_anchor(&self, anchor: usize, raw: f32) -> Vec<Object> {
        let mut objects = self.objects();
        let offset = 2.0 / (1.0 + (-raw).exp()) - 1.0;
        for object in &mut objects {
            (object.anchor, object.raw) = (anchor, raw);
            object.centre[0] += offset * object.stride[0];
            object.centre[1] += offset * object.stride[1];
        }
        objects
    }

    /// What the output convolutions give when they see these objects and nothing else. Where boxes have an objectness,
    /// there are also classes without one, and objectness without a class.
    pub(crate) fn planted(
        &self,
        graph: &Graph,
        objects: &[Object],
    ) -> Option<BTreeMap<ValueId, Vec<f32>>> {
        let mut maps: BTreeMap<ValueId, Vec<f32>> = BTreeMap::new();
        for level in &self.levels {
            for parts in &level.parts {
                for channels in [Some(parts.boxes), parts.objectness, Some(parts.classes)] {
                    let Some(channels) = channels else { continue };
                    let elements = graph.ty(channels.value).ok()?.elements();
                    maps.entry(channels.value).or_insert_with(|| vec![0.0; elements]);
                }
            }
        }
        for level in &self.levels {
            for parts in &level.parts {
                let scores = [(Some(parts.classes), self.classes), (parts.objectness, 1)];
                for (channels, count) in scores {
                    let Some(channels) = channels else { continue };
                    let map = maps.get_mut(&channels.value)?;
                    let first = channels.first * level.cells();
                    map.get_mut(first..first + count * level.cells())?.fill(-CERTAIN);
                }
            }
        }
        for object in objects {
            self.plant(&mut maps, object)?;
        }
        Some(maps)
    }

    fn plant(&self, maps: &mut BTreeMap<ValueId, Vec<f32>>, object: &Object) -> Option<()> {
        let level = self.levels.get(object.level)?;
        let parts = level.parts.get(object.anchor)?;
        let cells = level.cells();
        let mut set = |channels: Channels, channel: usize, cell: usize, value: f32| {
            let map = maps.get_mut(&channels.value)?;
            *map.get_mut((channels.first + channel) * cells + cell)? = value;
            Some(())
        };
        set(parts.classes, object.class, object.cell, CERTAIN)?;
        if let Some(objectness) = parts.objectness {
            set(objectness, 0, object.cell, CERTAIN)?;
            let [decoy, other] = [object.cell + 1, object.cell + 2];
            if other < cells {
                set(parts.classes, object.class, decoy, CERTAIN)?;
                set(objectness, 0, other, CERTAIN)?;
            }
        }
        match self.kind {
            Kind::Anchors(_) => {
                for channel in 0..4 {
                    set(parts.boxes, channel, object.cell, object.raw)?;
                }
            }
            Kind::Offsets => {
                let raw = [0.5, 0.25, 4f32.ln(), 2f32.ln()];
                for (channel, value) in raw.into_iter().enumerate() {
                    set(parts.boxes, channel, object.cell, value)?;
                }
            }
            Kind::Distances(1) => {
                for (side, value) in distances(1).into_iter().enumerate() {
                    set(parts.boxes, side, object.cell, value)?;
                }
            }
            Kind::Distances(bins) => {
                for (side, value) in distances(bins).into_iter().enumerate() {
                    for bin in 0..bins {
                        let chosen = bin == value as usize;
                        let value = if chosen { CERTAIN } else { -CERTAIN };
                        set(parts.boxes, side * bins + bin, object.cell, value)?;
                    }
                }
            }
        }
        Some(())
    }
}

/// Which of a scale's convolutions predicts what.
#[derive(Clone, Copy)]
struct Way {
    kind: Kind,
    classes: usize,
    /// Position of the convolution for boxes, for objectness where there is one, and for classes.
    boxes: usize,
    objectness: Option<usize>,
    scores: usize,
}

impl Way {
    fn parts(&self, convs: &[ValueId]) -> Vec<Parts> {
        let channels = |conv: usize, first: usize| Channels { value: convs[conv], first };
        let Kind::Anchors(per_cell) = self.kind else {
            return vec![Parts {
                boxes: channels(self.boxes, 0),
                objectness: self.objectness.map(|conv| channels(conv, 0)),
                classes: channels(self.scores, 0),
            }];
        };
        let anchor = |first: usize| Parts {
            boxes: channels(0, first),
            objectness: Some(channels(0, first + 4)),
            classes: channels(0, first + 5),
        };
        let step = 5 + self.classes;
        (0..per_cell).map(|a| anchor(a * step)).collect()
    }
}

/// One convolution a scale predicts whole anchors.
fn anchored(width: usize, classes: &[usize]) -> Vec<Way> {
    let way = |&classes: &usize| Way {
        kind: Kind::Anchors(width / (5 + classes)),
        classes,
        boxes: 0,
        objectness: None,
        scores: 0,
    };
    classes.iter().map(way).collect()
}

/// Two convolutions a scale, for boxes and classes, in either order.
fn pairs(widths: [usize; 2], softmax: Option<usize>) -> Vec<Way> {
    let way = |(boxes, scores): (usize, usize)| {
        Some(Way {
            kind: Kind::Distances(bins(widths[boxes], softmax)?),
            classes: widths[scores],
            boxes,
            objectness: None,
            scores,
        })
    };
    [(0, 1), (1, 0)].into_iter().filter_map(way).collect()
}

/// Three convolutions a scale, for boxes, objectness and classes, in any order.
fn triples(widths: &[Option<usize>]) -> Vec<Way> {
    const ORDERS: [[usize; 3]; 6] =
        [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
    let way = |[boxes, objectness, scores]: [usize; 3]| {
        let fits = widths[boxes] == Some(4) && widths[objectness] == Some(1);
        Some(Way {
            kind: Kind::Offsets,
            classes: widths[scores].filter(|_| fits)?,
            boxes,
            objectness: Some(objectness),
            scores,
        })
    };
    ORDERS.into_iter().filter_map(way).collect()
}

/// Distances to the left, top, right and bottom in strides. Plain numbers are small, so that the range of a quantized
/// head holds them.
fn distances(bins: usize) -> [f32; 4] {
    match bins {
        1 => [0.3, 0.5, 0.7, 0.4],
        _ => [1, 2, 2, 1].map(|d: usize| d.min(bins - 1) as f32),
    }
}

/// Outputs of the output convolutions by height and width of their maps, as many at every scale.
fn scales(graph: &Graph, tail: &Tail) -> Option<BTreeMap<[usize; 2], Vec<ValueId>>> {
    let mut scales: BTreeMap<[usize; 2], Vec<ValueId>> = BTreeMap::new();
    let output = |id: &NodeId| graph.node(*id).outputs[0];
    for value in tail.output_convs.iter().map(output) {
        let &[1, _, h, w] = graph.ty(value).ok()?.shape.as_slice() else {
            return None;
        };
        scales.entry([h, w]).or_default().push(value);
    }
    let convs = scales.values().next()?.len();
    scales.values().all(|c| c.len() == convs).then_some(scales)
}

/// Channels of the convolutions of a scale; `None` where they differ from scale to scale.
fn widths(graph: &Graph, scales: &BTreeMap<[usize; 2], Vec<ValueId>>) -> Vec<Option<usize>> {
    let width = |v: &ValueId| graph.ty(*v).map_or(0, |t| t.shape[1]);
    let mut all = scales.values().map(|c| c.iter().map(width).collect::<Vec<_>>());
    let first = all.next().unwrap_or_default();
    let rest: Vec<Vec<usize>> = all.collect();
    let same = |at: usize| rest.iter().all(|r| r[at] == first[at]);
    (0..first.len()).map(|at| same(at).then_some(first[at])).collect()
}

/// Bins of a box branch of so many channels.
fn bins(width: usize, softmax: Option<usize>) -> Option<usize> {
    match softmax {
        Some(bins) => (bins.checked_mul(4) == Some(width)).then_some(bins),
        None => (width > 0 && width.is_multiple_of(4)).then_some(width / 4),
    }
}

/// Numbers of classes with which a convolution of so many channels predicts whole anchors: as many as there are names,
/// as an output's axes tell, or such that there are three anchors.
fn anchor_classes(graph: &Graph, width: usize, named: Option<usize>) -> Vec<usize> {
    let axes = graph
        .outputs()
        .iter()
        .filter_map(|v| graph.ty(*v).ok())
        .filter(|t| t.rank() == 3 || t.rank() == 5)
        .flat_map(|t| t.shape.iter().skip(1).copied());
    let rows = axes.flat_map(|len| [len.checked_sub(5), len.checked_sub(4)]);
    let three = (width / 3).checked_sub(5).filter(|_| width.is_multiple_of(3));
    let mut found = Vec::new();
    for classes in [named, three].into_iter().chain(rows).flatten() {
        if classes > 0 && width.is_multiple_of(5 + classes) && !found.contains(&classes) {
            found.push(classes);
        }
    }
    found
}
