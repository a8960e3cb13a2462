//! One head written in the ways of many exporters is read to the same detections, which a plain formula gives too.
use ir::ops::{
    ArgExtremum, BinaryKind, Cast, Concat, Conv, Reduce, ReduceKind, Reshape, Slice, SliceRange,
    Softmax, TopK, Transpose, UnaryKind,
};
use ir::{DataType, Edit, Graph, Op, Tensor, TensorType, ValueId, interpreter};
use yolo::families::identify;
use yolo::losses::LabelledLoss;
use yolo::{Detection, YoloError};

#[path = "readings/cut.rs"]
mod cut;

const SIDE_PX: usize = 64;
const STRIDES_PX: [usize; 3] = [8, 16, 32];
const CLASSES: usize = 3;
const CONF: f32 = 0.3;

/// Anchors of YOLOv5.
const ANCHORS_PX: [[[f32; 2]; 3]; 3] = [
    [[10.0, 13.0], [16.0, 30.0], [33.0, 23.0]],
    [[30.0, 61.0], [62.0, 45.0], [59.0, 119.0]],
    [[116.0, 90.0], [156.0, 198.0], [373.0, 326.0]],
];

/// What the convolutions of a head predict.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Distances(usize),
    Anchors,
    Offsets,
}

fn noise(seed: u64) -> impl FnMut() -> f32 {
    let mut state = seed;
    move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }
}

/// A graph that is being written.
struct Writer {
    edit: Edit,
    cells: usize,
    kind: Kind,
    /// Outputs of the convolutions of every scale: boxes and classes, or all of the anchors, or box, objectness, classes.
    maps: Vec<Vec<ValueId>>,
}

impl Writer {
    fn new(graph: &Graph, kind: Kind) -> Self {
        let mut edit = graph.edit();
        let ty = TensorType::new(DataType::F32, [1, 3, SIDE_PX, SIDE_PX]);
        let image = edit.input("images", ty);
        let mut writer = Self { edit, cells: 0, kind, maps: vec![] };
        for (level, stride) in STRIDES_PX.into_iter().enumerate() {
            let widths = match kind {
                Kind::Distances(bins) => vec![4 * bins, CLASSES],
                Kind::Anchors => vec![3 * (5 + CLASSES)],
                Kind::Offsets => vec![CLASSES, 4, 1],
            };
            let convs = widths.into_iter().enumerate();
            let convs = convs.map(|(i, width)| writer.conv(image, level * 3 + i, width, stride));
            let convs: Vec<ValueId> = convs.collect();
            writer.maps.push(convs);
            writer.cells += (SIDE_PX / stride).pow(2);
        }
        writer
    }

    fn conv(&mut self, x: ValueId, index: usize, width: usize, stride: usize) -> ValueId {
        let mut random = noise(index as u64 * 977 + 5);
        let weights = (0..width * 3 * stride * stride).map(|_| random() * 6.0 / stride as f32);
        let weights = Tensor::new([width, 3, stride, stride], weights.collect()).unwrap();
        let weights = self.edit.constant("weight", weights);
        // Distances are small and positive.
        let is_distance = self.kind == Kind::Distances(1) && width == 4;
        let bias = Tensor::vector(vec![if is_distance { 6.0 } else { 0.0 }; width]);
        let bias = self.edit.constant("bias", bias);
        let op = Conv {
            kernel_shape: [stride; 2],
            strides: [stride; 2],
            dilations: [1; 2],
            pads: [0; 4],
            group: 1,
        };
        self.node(op, &[x, weights, bias])
    }

    fn node(&mut self, op: impl Into<Op>, inputs: &[ValueId]) -> ValueId {
        self.edit.node("node", op, inputs, &["value"])[0]
    }

    fn number(&mut self, value: f32) -> ValueId {
        self.edit.constant("number", Tensor::scalar(value))
    }

    fn constant(&mut self, shape: &[usize], values: Vec<f32>) -> ValueId {
        let tensor = Tensor::new(shape, values).unwrap();
        self.edit.constant("constant", tensor)
    }

    fn reshape(&mut self, x: ValueId, shape: &[usize]) -> ValueId {
        let shape = shape.to_vec();
        self.node(Reshape { shape }, &[x])
    }

    fn transpose(&mut self, x: ValueId, perm: &[usize]) -> ValueId {
        let perm = perm.to_vec();
        self.node(Transpose { perm }, &[x])
    }

    fn sigmoid(&mut self, x: ValueId) -> ValueId {
        self.node(UnaryKind::Sigmoid, &[x])
    }

    fn slice(&mut self, x: ValueId, axis: usize, start: usize, len: usize) -> ValueId {
        let step = 1;
        let range = SliceRange { axis, start, len, step };
        self.node(Slice { ranges: vec![range] }, &[x])
    }

    fn side(level: usize) -> usize {
        SIDE_PX / STRIDES_PX[level]
    }

    /// One convolution's maps of all scales as columns `[1, C, N]`.
    fn columns(&mut self, at: usize, width: usize) -> ValueId {
        let mut parts = vec![];
        for level in 0..3 {
            let cells = Self::side(level).pow(2);
            parts.push(self.reshape(self.maps[level][at], &[1, width, cells]));
        }
        self.node(Concat { axis: 2 }, &parts)
    }

    /// Column, row and stride of every cell, `[1, 1, N]` each.
    fn grid(&mut self) -> [ValueId; 3] {
        let (mut xs, mut ys, mut strides) = (vec![], vec![], vec![]);
        for (level, stride) in STRIDES_PX.into_iter().enumerate() {
            let side = Self::side(level);
            xs.extend((0..side * side).map(|i| (i % side) as f32));
            ys.extend((0..side * side).map(|i| (i / side) as f32));
            strides.extend(vec![stride as f32; side * side]);
        }
        [xs, ys, strides].map(|v| self.constant(&[1, 1, v.len()], v))
    }

    /// Finished boxes in pixels, `[1, 4, N]`: centre and size, and corners.
    fn boxes(&mut self) -> [ValueId; 2] {
        let [x, y, stride] = self.grid();
        let corner = self.node(Concat { axis: 1 }, &[x, y]);
        let half = self.number(0.5);
        let (centre, size) = match self.kind {
            Kind::Distances(bins) => {
                let mut d = self.columns(0, 4 * bins);
                if bins > 1 {
                    d = self.expectation(d, bins);
                }
                let (lt, rb) = (self.slice(d, 1, 0, 2), self.slice(d, 1, 2, 2));
                let middle = self.node(BinaryKind::Add, &[corner, half]);
                let low = self.node(BinaryKind::Sub, &[middle, lt]);
                let high = self.node(BinaryKind::Add, &[middle, rb]);
                let sum = self.node(BinaryKind::Add, &[low, high]);
                (self.node(BinaryKind::Mul, &[sum, half]), self.node(BinaryKind::Sub, &[high, low]))
            }
            _ => {
                let raw = self.columns(1, 4);
                let (xy, wh) = (self.slice(raw, 1, 0, 2), self.slice(raw, 1, 2, 2));
                (self.node(BinaryKind::Add, &[xy, corner]), self.node(UnaryKind::Exp, &[wh]))
            }
        };
        let centre = self.node(BinaryKind::Mul, &[centre, stride]);
        let size = self.node(BinaryKind::Mul, &[size, stride]);
        let reach = self.node(BinaryKind::Mul, &[size, half]);
        let low = self.node(BinaryKind::Sub, &[centre, reach]);
        let high = self.node(BinaryKind::Add, &[centre, reach]);
        [
            self.node(Concat { axis: 1 }, &[centre, size]),
            self.node(Concat { axis: 1 }, &[low, high]),
        ]
    }

    fn expectation(&mut self, columns: ValueId, bins: usize) -> ValueId {
        let n = self.cells;
        let x = self.reshape(columns, &[1, 4, bins, n]);
        let coerced = vec![];
        let x = self.node(Softmax { axis: 2, coerced }, &[x]);
        let weights = self.constant(&[1, 1, bins, 1], (0..bins).map(|b| b as f32).collect());
        let x = self.node(BinaryKind::Mul, &[x, weights]);
        let kind = ReduceKind::Sum;
        let sum = Reduce { kind, axes: vec![2], keepdims: false };
        self.node(sum, &[x])
    }

    fn scores(&mut self) -> ValueId {
        let at = if self.kind == Kind::Offsets { 0 } else { 1 };
        let columns = self.columns(at, CLASSES);
        self.sigmoid(columns)
    }

    /// Finished rows in the order of a head with objectness, or of one without.
    fn joined(&mut self, boxes: ValueId) -> ValueId {
        let scores = self.scores();
        if self.kind != Kind::Offsets {
            return self.node(Concat { axis: 1 }, &[boxes, scores]);
        }
        let objectness = self.columns(2, 1);
        let objectness = self.sigmoid(objectness);
        self.node(Concat { axis: 1 }, &[boxes, objectness, scores])
    }
}

type Form = (&'static str, fn(&mut Writer) -> Vec<ValueId>);

/// Forms of heads whose boxes the graph finishes itself.
const FINISHED: &[Form] = &[
    ("centre and size in columns", |w| {
        let [boxes, _] = w.boxes();
        vec![w.joined(boxes)]
    }),
    ("centre and size in rows", |w| {
        let [boxes, _] = w.boxes();
        let all = w.joined(boxes);
        vec![w.transpose(all, &[0, 2, 1])]
    }),
    ("corners", |w| {
        let [_, boxes] = w.boxes();
        vec![w.joined(boxes)]
    }),
    ("shares of the sides", |w| {
        let ([boxes, _], side) = (w.boxes(), w.number(SIDE_PX as f32));
        let boxes = w.node(BinaryKind::Div, &[boxes, side]);
        vec![w.joined(boxes)]
    }),
    ("corners as shares", |w| {
        let ([_, boxes], side) = (w.boxes(), w.number(SIDE_PX as f32));
        let boxes = w.node(BinaryKind::Div, &[boxes, side]);
        vec![w.joined(boxes)]
    }),
    ("strides left out", |w| {
        let ([boxes, _], [_, _, stride]) = (w.boxes(), w.grid());
        let boxes = w.node(BinaryKind::Div, &[boxes, stride]);
        vec![w.joined(boxes)]
    }),
    ("left, top and size", |w| {
        let [boxes, corners] = w.boxes();
        let (low, size) = (w.slice(corners, 1, 0, 2), w.slice(boxes, 1, 2, 2));
        let boxes = w.node(Concat { axis: 1 }, &[low, size]);
        vec![w.joined(boxes)]
    }),
    ("y before x", |w| {
        let [_, boxes] = w.boxes();
        let parts = [1, 0, 3, 2].map(|at| w.slice(boxes, 1, at, 1));
        let boxes = w.node(Concat { axis: 1 }, &parts);
        vec![w.joined(boxes)]
    }),
    ("boxes and scores apart", |w| {
        let ([_, boxes], scores) = (w.boxes(), w.scores());
        let boxes = w.transpose(boxes, &[0, 2, 1]);
        let mut all = vec![boxes, w.transpose(scores, &[0, 2, 1])];
        if w.kind == Kind::Offsets {
            let objectness = w.columns(2, 1);
            all.push(w.sigmoid(objectness));
        }
        all
    }),
    ("scores before boxes, with an axis more", |w| {
        let ([_, boxes], mut scores) = (w.boxes(), w.scores());
        if w.kind == Kind::Offsets {
            let objectness = w.columns(2, 1);
            let objectness = w.sigmoid(objectness);
            scores = w.node(BinaryKind::Mul, &[scores, objectness]);
        }
        let boxes = w.transpose(boxes, &[0, 2, 1]);
        let cells = w.cells;
        vec![scores, w.reshape(boxes, &[1, cells, 1, 4])]
    }),
];

/// Forms whose boxes are as the convolutions give them.
const RAW: &[Form] = &[
    ("maps", |w| w.maps.concat()),
    ("maps with finished scores", |w| {
        let maps = w.maps.concat();
        let scores = |w: &mut Writer, (i, m): (usize, ValueId)| match (w.kind, i % 2) {
            (Kind::Distances(_), 1) => w.sigmoid(m),
            (Kind::Offsets, _) if i % 3 != 1 => w.sigmoid(m),
            (Kind::Anchors, _) => w.sigmoid(m),
            _ => m,
        };
        maps.into_iter().enumerate().map(|m| scores(w, m)).collect()
    }),
    ("maps with channels last", |w| {
        let maps = w.maps.concat();
        maps.into_iter().map(|m| w.transpose(m, &[0, 2, 3, 1])).collect()
    }),
    ("maps from the coarsest on", |w| {
        w.maps.reverse();
        w.maps.concat()
    }),
    ("maps with a sum of the classes", |w| {
        let mut all = vec![];
        for maps in w.maps.clone() {
            all.extend(&maps);
            if let (Kind::Distances(_), [_, classes]) = (w.kind, maps.as_slice()) {
                let scores = w.sigmoid(*classes);
                let kind = ReduceKind::Sum;
                let sum = Reduce { kind, axes: vec![1], keepdims: true };
                all.push(w.node(sum, &[scores]));
            }
        }
        all
    }),
    ("maps joined at every scale", |w| {
        let maps = w.maps.clone();
        let joined = maps.into_iter().map(|m| match (w.kind, m.as_slice()) {
            // As Rockchip's model zoo joins them.
            (Kind::Offsets, [classes, boxes, objectness]) => {
                w.node(Concat { axis: 1 }, &[*boxes, *objectness, *classes])
            }
            (_, [one]) => *one,
            (_, all) => w.node(Concat { axis: 1 }, all),
        });
        joined.collect()
    }),
    ("columns of a scale", |w| {
        let mut all = vec![];
        for (level, maps) in w.maps.clone().into_iter().enumerate() {
            let cells = Writer::side(level).pow(2);
            for (i, map) in maps.into_iter().enumerate() {
                let width = match (w.kind, i) {
                    (Kind::Distances(bins), 0) => 4 * bins,
                    (Kind::Anchors, _) => 3 * (5 + CLASSES),
                    (Kind::Offsets, 1) => 4,
                    (Kind::Offsets, 2) => 1,
                    _ => CLASSES,
                };
                all.push(w.reshape(map, &[1, width, cells]));
            }
        }
        all
    }),
];

/// `[1, 3, H, W, 5 + classes]`, and in one tensor.
const ANCHORED: &[Form] = &[
    ("five axes", |w| five_axes(w)),
    ("five axes, joined", |w| {
        let all = five_axes(w);
        let row = 5 + CLASSES;
        let mut flat = vec![];
        for (level, x) in all.into_iter().enumerate() {
            let x = w.sigmoid(x);
            flat.push(w.reshape(x, &[1, 3 * Writer::side(level).pow(2), row]));
        }
        vec![w.node(Concat { axis: 1 }, &flat)]
    }),
    ("finished", |w| finished_anchors(w, 2.0)),
];

fn five_axes(w: &mut Writer) -> Vec<ValueId> {
    let mut all = vec![];
    for (level, maps) in w.maps.clone().into_iter().enumerate() {
        let side = Writer::side(level);
        let x = w.reshape(maps[0], &[1, 3, 5 + CLASSES, side, side]);
        all.push(w.transpose(x, &[0, 1, 3, 4, 2]));
    }
    all
}

/// Boxes whose sizes are a power of the doubled sigmoid, times the anchor.
fn finished_anchors(w: &mut Writer, exponent: f32) -> Vec<ValueId> {
    let mut rows = vec![];
    for (level, x) in five_axes(w).into_iter().enumerate() {
        let (side, stride) = (Writer::side(level), STRIDES_PX[level] as f32);
        let x = w.sigmoid(x);
        let (xy, wh) = (w.slice(x, 4, 0, 2), w.slice(x, 4, 2, 2));
        let rest = w.slice(x, 4, 4, 1 + CLASSES);
        let cell = |i: usize| [(i % side) as f32 - 0.5, (i / side) as f32 - 0.5];
        let grid: Vec<f32> = (0..side * side).flat_map(cell).collect();
        let grid = w.constant(&[1, 1, side, side, 2], grid);
        let anchors = ANCHORS_PX[level].concat();
        let anchors = w.constant(&[1, 3, 1, 1, 2], anchors);
        let (two, exponent, stride) = (w.number(2.0), w.number(exponent), w.number(stride));
        let xy = w.node(BinaryKind::Mul, &[xy, two]);
        let xy = w.node(BinaryKind::Add, &[xy, grid]);
        let xy = w.node(BinaryKind::Mul, &[xy, stride]);
        let wh = w.node(BinaryKind::Mul, &[wh, two]);
        let wh = w.node(BinaryKind::Pow, &[wh, exponent]);
        let wh = w.node(BinaryKind::Mul, &[wh, anchors]);
        let row = w.node(Concat { axis: 4 }, &[xy, wh, rest]);
        rows.push(w.reshape(row, &[1, 3 * side * side, 5 + CLASSES]));
    }
    vec![w.node(Concat { axis: 1 }, &rows)]
}

/// What a plain formula makes of the convolutions' maps, sorted.
fn expected(kind: Kind, maps: &[Vec<Tensor>]) -> Vec<Detection> {
    let sigmoid = |x: f32| 1.0 / (1.0 + (-x).exp());
    let mut found = vec![];
    for (level, maps) in maps.iter().enumerate() {
        let (side, stride) = (SIDE_PX / STRIDES_PX[level], STRIDES_PX[level] as f32);
        let value = |map: usize, channel: usize, cell: usize| {
            maps[map].as_slice::<f32>().unwrap()[channel * side * side + cell]
        };
        for cell in 0..side * side {
            let (x, y) = ((cell % side) as f32, (cell / side) as f32);
            let boxes = if kind == Kind::Anchors { 3 } else { 1 };
            for (anchor, size_px) in ANCHORS_PX[level].iter().take(boxes).enumerate() {
                let first = anchor * (5 + CLASSES);
                let (bbox, objectness, classes) = match kind {
                    Kind::Distances(bins) => {
                        let side = |s: usize| {
                            let bin = |b: usize| value(0, s * bins + b, cell);
                            let weight = |b: usize| bin(b).exp();
                            let sum: f32 = (0..bins).map(weight).sum();
                            match bins {
                                1 => bin(0),
                                _ => (0..bins).map(|b| weight(b) * b as f32).sum::<f32>() / sum,
                            }
                        };
                        let [l, t, r, b] = [0, 1, 2, 3].map(side);
                        let edges = [x + 0.5 - l, y + 0.5 - t, x + 0.5 + r, y + 0.5 + b];
                        (edges.map(|e| e * stride), 1.0, (1, 0))
                    }
                    Kind::Offsets => {
                        let at = |c: usize| value(1, c, cell);
                        let (cx, cy) = ((at(0) + x) * stride, (at(1) + y) * stride);
                        let (w, h) = (at(2).exp() * stride / 2.0, at(3).exp() * stride / 2.0);
                        let objectness = sigmoid(value(2, 0, cell));
                        ([cx - w, cy - h, cx + w, cy + h], objectness, (0, 0))
                    }
                    Kind::Anchors => {
                        let at = |c: usize| sigmoid(value(0, first + c, cell));
                        let [w, h] = *size_px;
                        let (cx, cy) = (2.0 * at(0) - 0.5 + x, 2.0 * at(1) - 0.5 + y);
                        let (w, h) = ((2.0 * at(2)).powi(2) * w, (2.0 * at(3)).powi(2) * h);
                        let (cx, cy) = (cx * stride, cy * stride);
                        let edges = [cx - w / 2.0, cy - h / 2.0, cx + w / 2.0, cy + h / 2.0];
                        (edges, at(4), (0, first + 5))
                    }
                };
                for class in 0..CLASSES {
                    let score = sigmoid(value(classes.0, classes.1 + class, cell)) * objectness;
                    if score > CONF {
                        let [left, top, right, bottom] = bbox;
                        let bbox = yolo::BoxXyxy { left, top, right, bottom };
                        found.push(Detection { bbox, score, class });
                    }
                }
            }
        }
    }
    sorted(found)
}

fn sorted(mut all: Vec<Detection>) -> Vec<Detection> {
    all.sort_by(|a, b| (a.class, a.score).partial_cmp(&(b.class, b.score)).unwrap());
    all
}

/// The graph of a form, and what its convolutions and its outputs give for an image of noise.
fn written(kind: Kind, form: &Form) -> (Graph, Vec<Detection>, Vec<Tensor>) {
    let mut graph = Graph::new(17);
    let mut writer = Writer::new(&graph, kind);
    let maps = writer.maps.clone();
    let outputs = (form.1)(&mut writer);
    outputs.into_iter().for_each(|v| writer.edit.output(v));
    graph.apply(writer.edit).unwrap();
    let mut random = noise(11);
    let image: Vec<f32> = (0..3 * SIDE_PX * SIDE_PX).map(|_| random()).collect();
    let image = Tensor::new([1, 3, SIDE_PX, SIDE_PX], image).unwrap();
    let values = interpreter::run_all(&graph, std::slice::from_ref(&image)).unwrap();
    let of_level = |maps: &Vec<ValueId>| maps.iter().map(|v| values[v].clone()).collect();
    let maps: Vec<Vec<Tensor>> = maps.iter().map(of_level).collect();
    let outputs = interpreter::run(&graph, &[image]).unwrap();
    (graph, expected(kind, &maps), outputs)
}

fn check(kind: Kind, form: &Form, family: &str) {
    let what = format!("{kind:?}, {}", form.0);
    let (graph, expected, outputs) = written(kind, form);
    let head = identify(&graph, None).unwrap_or_else(|e| panic!("{what}: {e}"));
    assert_eq!((head.family.name, head.classes), (family, CLASSES), "{what}");
    let unread = |note: &&String| note.contains("could not be read");
    assert_eq!(head.notes.iter().find(unread), None, "{what}");
    let found = sorted(head.decoder.decode(&outputs, CONF).unwrap());
    assert!(found.len() > 10, "{what}: {} detections", found.len());
    assert_eq!(found.len(), expected.len(), "{what}: {}", head.reading());
    for (a, b) in found.iter().zip(&expected) {
        let sides = a.bbox.xywh().into_iter().zip(b.bbox.xywh());
        let near = sides.into_iter().all(|(a, b)| (a - b).abs() < 0.02);
        let same = near && a.class == b.class && (a.score - b.score).abs() < 1e-4;
        assert!(same, "{what}: {a:?}, expected {b:?}; {}", head.reading());
    }
    let forced = identify(&graph, Some(ir::named(family).unwrap())).unwrap();
    assert_eq!(forced.decoder, head.decoder, "{what}, forced");
}

#[test]
fn identify_of_finished_boxes_in_every_form_reads_them_from_the_graph() {
    for form in FINISHED {
        check(Kind::Distances(1), form, "v26");
        check(Kind::Distances(8), form, "v8");
        check(Kind::Offsets, form, "yolox");
    }
}

#[test]
fn identify_of_raw_maps_in_every_form_decodes_them() {
    for form in RAW {
        check(Kind::Distances(1), form, "v26");
        check(Kind::Distances(16), form, "v8");
        check(Kind::Offsets, form, "yolox");
        check(Kind::Anchors, form, "v5");
    }
}

#[test]
fn identify_of_anchors_in_every_form_decodes_them() {
    for form in ANCHORED {
        check(Kind::Anchors, form, "v5");
    }
}

#[test]
fn raw_outputs_of_anchors_in_every_form_tell_the_anchors() {
    for form in RAW.iter().chain(ANCHORED) {
        let (graph, ..) = written(Kind::Anchors, form);
        let raw = identify(&graph, None).unwrap().raw(&graph).unwrap();
        assert_eq!(raw.anchors_px.len(), 9, "{}", form.0);
        let sides = raw.anchors_px.as_flattened().iter();
        let expected = ANCHORS_PX.as_flattened().as_flattened();
        assert!(sides.zip(expected).all(|(a, b)| (a - b).abs() < 1e-3 * b), "{}", form.0);
        LabelledLoss::new(&raw).unwrap();
    }
}

#[test]
fn labels_for_boxes_that_are_relative_to_anchors_in_another_way_are_refused() {
    let (graph, ..) = written(Kind::Anchors, &("cubed", |w| finished_anchors(w, 3.0)));
    let raw = identify(&graph, None).unwrap().raw(&graph).unwrap();
    let refused = LabelledLoss::new(&raw);
    assert!(matches!(refused, Err(YoloError::UnknownAnchors)), "{refused:?}");
}

#[test]
fn identify_of_maps_whose_anchors_are_in_no_graph_says_which_are_assumed() {
    let (mut graph, ..) = written(Kind::Anchors, &RAW[0]);
    let head = identify(&graph, None).unwrap();
    assert!(head.notes[0].contains("--anchors"), "{:?}", head.notes);
    let v7 = "12,16, 19,36, 40,28, 36,75, 76,55, 72,146, 142,110, 192,243, 459,401";
    graph.metadata.insert("anchors".into(), v7.into());
    let other = identify(&graph, None).unwrap();
    assert!(other.notes.is_empty() && other.decoder != head.decoder);
    graph.metadata.insert("anchors".into(), "12,16".into());
    assert!(identify(&graph, None).is_err(), "two anchors for nine");
}

#[test]
fn identify_of_the_best_class_and_its_score_finds_corners_score_and_class() {
    let form: Form = ("corners, score and class", |w| {
        let ([_, boxes], scores) = (w.boxes(), w.scores());
        let kind = ReduceKind::Max;
        let best = Reduce { kind, axes: vec![1], keepdims: true };
        let best = w.node(best, &[scores]);
        let class =
            ArgExtremum { largest: true, axis: 1, keepdims: true, select_last_index: false };
        let class = w.node(class, &[scores]);
        let class = w.node(Cast { to: DataType::F32 }, &[class]);
        let all = w.node(Concat { axis: 1 }, &[boxes, best, class]);
        vec![w.transpose(all, &[0, 2, 1])]
    });
    let (graph, expected, outputs) = written(Kind::Distances(8), &form);
    let head = identify(&graph, None).unwrap();
    assert_eq!((head.family.name, head.classes), ("v8", CLASSES));
    assert!(head.decoder.needs_nms() && head.notes.is_empty());
    let found = head.decoder.decode(&outputs, CONF).unwrap();
    assert!(found.len() > 10);
    for d in &found {
        let same = |e: &&Detection| e.class == d.class && (e.score - d.score).abs() < 1e-4;
        assert!(expected.iter().any(|e| same(&e)), "{d:?}");
    }
}

#[test]
fn identify_of_boxes_in_no_known_form_says_what_is_assumed() {
    let form: Form = ("boxes squared", |w| {
        let ([boxes, _], two) = (w.boxes(), w.number(2.0));
        let boxes = w.node(BinaryKind::Pow, &[boxes, two]);
        vec![w.joined(boxes)]
    });
    let (graph, ..) = written(Kind::Distances(1), &form);
    let head = identify(&graph, None).unwrap();
    assert!(head.notes[0].contains("centre and size in pixels"), "{:?}", head.notes);
}

#[test]
fn decode_of_picked_rows_with_impossible_classes_is_an_error_and_never_a_list() {
    let form: Form = ("picked", |w| {
        let ([_, boxes], scores) = (w.boxes(), w.scores());
        let best = Reduce { kind: ReduceKind::Max, axes: vec![1], keepdims: false };
        let best = w.node(best, &[scores]);
        let top = TopK { k: 5, axis: 1, largest: true, sorted: true };
        let top = w.edit.node("top", top, &[best], &["score", "index"]);
        let boxes = w.slice(boxes, 2, 0, 5);
        let boxes = w.transpose(boxes, &[0, 2, 1]);
        let score = w.reshape(top[0], &[1, 5, 1]);
        vec![w.node(Concat { axis: 2 }, &[boxes, score, score])]
    });
    let (graph, _, outputs) = written(Kind::Distances(1), &form);
    let head = identify(&graph, None).unwrap();
    assert_eq!(head.family.name, "end2end");
    let rows = |class: f32, left: f32| {
        let row = [left, 0.0, 4.0, 4.0, 0.9, class];
        vec![Tensor::new([1, 5, 6], row.repeat(5)).unwrap()]
    };
    assert_eq!(outputs[0].shape(), [1, 5, 6]);
    for class in [3.0, 1e9, 1e15, f32::INFINITY, f32::NAN] {
        let told = head.decoder.decode(&rows(class, 1.0), CONF).unwrap_err();
        assert!(told.to_string().contains("3 classes"), "{told}");
    }
    assert_eq!(head.decoder.decode(&rows(2.0, 1.0), CONF).unwrap().len(), 5);
    // Rows that stand for nothing, and boxes that are no numbers.
    assert!(head.decoder.decode(&rows(-1.0, 1.0), CONF).unwrap().is_empty());
    assert!(head.decoder.decode(&rows(0.0, f32::NAN), CONF).unwrap().is_empty());
    let short = vec![Tensor::new([1, 1, 6], vec![0.0f32; 6]).unwrap()];
    assert!(head.decoder.decode(&short, CONF).is_err());
}
