//! A detector small enough for a test, that really detects: red and blue squares on a dark ground.
use ir::ops::{Concat, Conv, Reshape, Transpose, UnaryKind};
use ir::{DataType, Edit, Graph, Tensor, TensorType, ValueId};
use numerics::Rng;

/// Height and width of the detector's input.
pub const SIDE_PX: usize = 64;

/// Class names of [`detector`].
pub const NAMES: [&str; 2] = ["red", "blue"];

pub(crate) const WIDTH: usize = 32;
const CELL_PX: usize = 8;

/// Weights of a convolution: what `signal` gives for an output and an input channel, and a little noise.
struct Layer<'a> {
    name: &'a str,
    channels: [usize; 2],
    kernel: usize,
    signal: &'a dyn Fn(usize, usize) -> f32,
    noise: f32,
    bias: Vec<f32>,
}

fn conv(e: &mut Edit, x: ValueId, layer: Layer<'_>) -> ValueId {
    let ([o, i], k) = (layer.channels, layer.kernel);
    let mut random = Rng::new(layer.name.bytes().map(u64::from).sum());
    let mut weights = Vec::with_capacity(o * i * k * k);
    for (row, column) in (0..o).flat_map(|row| (0..i).map(move |column| (row, column))) {
        let mean = (layer.signal)(row, column) / (k * k) as f32;
        weights.extend((0..k * k).map(|_| mean + layer.noise * random.signed()));
    }
    let name = layer.name;
    let shape = [o, i, k, k];
    let w = Tensor::new(shape, weights).expect("as many weights as the shape holds");
    let w = e.constant(&format!("{name}.weight"), w);
    let b = e.constant(&format!("{name}.bias"), Tensor::vector(layer.bias));
    let op =
        Conv { kernel_shape: [k; 2], strides: [k; 2], dilations: [1; 2], pads: [0; 4], group: 1 };
    e.node(name, op, &[x, w, b], &[&format!("{name}.out")])[0]
}

/// Halves the sides; channels 0, 1 and 2 carry blue, green and red on.
fn down(e: &mut Edit, name: &str, x: ValueId, gain: f32) -> ValueId {
    let inputs = if gain < 1.0 { 3 } else { WIDTH };
    halve(e, name, x, inputs, gain, &|o, i| o == i && o < 3)
}

/// Halves the sides of `inputs` channels; `carries` says which of them an output channel takes on.
pub(crate) fn halve(
    e: &mut Edit,
    name: &str,
    x: ValueId,
    inputs: usize,
    gain: f32,
    carries: &dyn Fn(usize, usize) -> bool,
) -> ValueId {
    let layer = Layer {
        name,
        channels: [WIDTH, inputs],
        kernel: 2,
        signal: &|o, i| if carries(o, i) { gain } else { 0.0 },
        noise: 0.004 * gain,
        bias: vec![0.01; WIDTH],
    };
    let y = conv(e, x, layer);
    let silu = format!("{name}.silu");
    e.node(&silu, UnaryKind::Silu, &[y], &[&format!("{silu}.out")])[0]
}

/// Output convolutions of one scale: box, objectness, classes. Only the finest scale speaks.
fn head(e: &mut Edit, scale: usize, x: ValueId) -> ValueId {
    let speaks = if scale == 0 { 1.0 } else { 0.0 };
    let side = (SIDE_PX / CELL_PX) >> scale;
    let mut output = |what: &str, channels: usize, signal: &dyn Fn(usize, usize) -> f32, bias| {
        let name = format!("head{scale}.{what}");
        let layer = Layer {
            name: &name,
            channels: [channels, WIDTH],
            kernel: 1,
            signal,
            noise: 0.001,
            bias,
        };
        let y = conv(e, x, layer);
        if what == "box" {
            return y;
        }
        let sigmoid = format!("{name}.sigmoid");
        e.node(&sigmoid, UnaryKind::Sigmoid, &[y], &[&format!("{sigmoid}.out")])[0]
    };
    let boxes = output("box", 4, &|_, _| 0.0, vec![0.5, 0.5, 0.0, 0.0]);
    let bright = |_: usize, i: usize| if i < 3 { 1.5 * speaks } else { 0.0 };
    let objectness = output("objectness", 1, &bright, vec![-4.0 - 4.0 * (1.0 - speaks)]);
    let hue = |class: usize, i: usize| match (class, i) {
        (0, 2) | (1, 0) => 1.5 * speaks,
        (0, 0) | (1, 2) => -1.5 * speaks,
        _ => 0.0,
    };
    let classes = output("classes", NAMES.len(), &hue, vec![0.0; NAMES.len()]);
    let join = format!("head{scale}.join");
    let joined = [boxes, objectness, classes];
    let y = e.node(&join, Concat { axis: 1 }, &joined, &[&format!("{join}.out")])[0];
    let shape = vec![1, 5 + NAMES.len(), side * side];
    let flat = format!("head{scale}.flat");
    e.node(&flat, Reshape { shape }, &[y], &[&format!("{flat}.out")])[0]
}

/// A YOLOX of two classes on `[1, 3, 64, 64] f32` that finds the squares of [`scene`].
pub fn detector() -> Graph {
    let mut graph = Graph::new(17);
    graph.name = "tiny".into();
    let mut e = graph.edit();
    let ty = TensorType::new(DataType::F32, [1, 3, SIDE_PX, SIDE_PX]);
    let x = e.input("images", ty);
    let mut x = down(&mut e, "stem", x, 4.0 / 255.0);
    x = down(&mut e, "down1", x, 1.0);
    x = down(&mut e, "down2", x, 1.0);
    finish(graph, e, x)
}

/// The three heads behind a backbone that has halved the sides three times.
pub(crate) fn finish(mut graph: Graph, mut e: Edit, mut x: ValueId) -> Graph {
    let mut scales = Vec::new();
    for scale in 0..3 {
        if scale > 0 {
            x = down(&mut e, &format!("down{}", scale + 2), x, 1.0);
        }
        scales.push(head(&mut e, scale, x));
    }
    let all = e.node("scales", Concat { axis: 2 }, &scales, &["scales.out"])[0];
    let perm = vec![0, 2, 1];
    let out = e.node("rows", Transpose { perm }, &[all], &["output"])[0];
    e.output(out);
    graph.metadata.insert("names".into(), "['red', 'blue']".into());
    graph.apply(e).expect("the tiny detector is a valid graph");
    graph
}

/// An image and what is in it.
#[derive(Clone, Debug)]
pub struct Scene {
    /// 64 rows of 64 RGB pixels.
    pub rgb: Vec<u8>,
    /// A label file: class, centre and size, one object a line.
    pub labels: String,
}

/// A dark image with a few squares, the same for the same seed.
pub fn scene(seed: u64) -> Scene {
    let mut random = Rng::new(seed);
    let mut below = |bound: u64| random.next_u64() % bound;
    let mut rgb: Vec<u8> = (0..SIDE_PX * SIDE_PX * 3).map(|_| below(24) as u8).collect();
    let mut labels = String::new();
    let cells = (SIDE_PX / CELL_PX) as u64;
    let mut taken = Vec::new();
    for _ in 0..3 + below(4) {
        let cell = (below(cells), below(cells));
        if taken.contains(&cell) {
            continue;
        }
        taken.push(cell);
        let class = below(2) as usize;
        let value = 150 + below(106) as u8;
        // A label that is not exactly where the cell is, so that not every overlap is perfect.
        let shift = |r: u64| r as f32 / 2.0 - 1.0;
        let (left, top) = (cell.0 as usize * CELL_PX, cell.1 as usize * CELL_PX);
        let center = |p: usize, s: f32| (p as f32 + 4.0 + s) / SIDE_PX as f32;
        let (x, y) = (center(left, shift(below(5))), center(top, shift(below(5))));
        let size = CELL_PX as f32 / SIDE_PX as f32;
        labels += &format!("{class} {x} {y} {size} {size}\n");
        for (row, column) in (top..top + 8).flat_map(|r| (left..left + 8).map(move |c| (r, c))) {
            rgb[(row * SIDE_PX + column) * 3 + [0, 2][class]] = value;
        }
    }
    Scene { rgb, labels }
}
