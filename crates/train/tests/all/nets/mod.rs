//! Small networks of the blocks that detectors are made of.
use ir::ops::{
    AveragePool, BatchNormalization, Binary, BinaryKind, Concat, Conv, ConvTranspose,
    CoordinateMode, Extent, FakeQuantize, Gemm, MatMul, MaxPool, NearestMode, PRelu, Reduce,
    ReduceKind, Reshape, Resize, ResizeMode, Slice, SliceRange, Softmax, Split, Transpose, Unary,
    UnaryKind,
};
use ir::{DataType, Edit, Graph, Op, QuantParams, Tensor, TensorType, ValueId};
use numerics::Rng;

/// All of them, by name.
pub(crate) fn all() -> Vec<(&'static str, Graph)> {
    vec![
        ("blocks", blocks()),
        ("attention", attention()),
        ("quantized", quantized()),
        ("rarer", rarer()),
        ("wide", wide()),
    ]
}

/// A network under construction, with random weights.
struct Net {
    edit: Edit,
    rng: Rng,
}

impl Net {
    fn new(graph: &Graph) -> Self {
        let (edit, rng) = (graph.edit(), Rng::new(7));
        Self { edit, rng }
    }

    fn image(&mut self, shape: [usize; 4]) -> ValueId {
        let ty = TensorType::new(DataType::F32, shape);
        self.edit.input("x", ty)
    }

    fn weights(&mut self, shape: &[usize], offset: f32) -> ValueId {
        let elements: usize = shape.iter().product();
        let elements: Vec<f32> = (0..elements).map(|_| offset + 0.5 * self.rng.signed()).collect();
        let tensor = Tensor::new(shape, elements).expect("as many elements as the shape has");
        self.edit.constant("w", tensor)
    }

    fn apply(&mut self, op: impl Into<Op>, inputs: &[ValueId]) -> ValueId {
        self.edit.node("n", op, inputs, &["v"])[0]
    }

    /// A square convolution with padding that keeps the size, of `[out, in / group]` channels.
    fn conv(
        &mut self,
        x: ValueId,
        channels: [usize; 2],
        side: usize,
        stride: usize,
        group: usize,
    ) -> ValueId {
        let weight = self.weights(&[channels[0], channels[1], side, side], 0.0);
        let bias = self.weights(&[channels[0]], 0.0);
        let op = Conv {
            kernel_shape: [side; 2],
            strides: [stride; 2],
            dilations: [1, 1],
            pads: [side / 2; 4],
            group,
        };
        self.apply(op, &[x, weight, bias])
    }

    fn unary(&mut self, x: ValueId, kind: UnaryKind) -> ValueId {
        self.apply(Unary { kind }, &[x])
    }

    fn binary(&mut self, kind: BinaryKind, a: ValueId, b: ValueId) -> ValueId {
        self.apply(Binary { kind }, &[a, b])
    }

    fn reshape(&mut self, x: ValueId, shape: &[usize]) -> ValueId {
        let shape = shape.to_vec();
        self.apply(Reshape { shape }, &[x])
    }

    fn transpose(&mut self, x: ValueId, perm: &[usize]) -> ValueId {
        let perm = perm.to_vec();
        self.apply(Transpose { perm }, &[x])
    }

    fn finish(self, mut graph: Graph, outputs: &[ValueId]) -> Graph {
        let mut edit = self.edit;
        outputs.iter().for_each(|&v| edit.output(v));
        graph.apply(edit).expect("a valid network");
        graph
    }
}

/// Convolutions of every kind, BatchNormalization, SiLU, a shortcut, a split that is joined again, pooling, upsampling.
fn blocks() -> Graph {
    let graph = Graph::new(17);
    let mut net = Net::new(&graph);
    let x = net.image([1, 3, 12, 12]);
    let stem = net.conv(x, [8, 3], 3, 2, 1);
    let normalised = {
        let scale = net.weights(&[8], 1.0);
        let [bias, mean] = [(); 2].map(|()| net.weights(&[8], 0.0));
        let variance = net.weights(&[8], 1.0);
        net.apply(BatchNormalization { epsilon: 1e-3 }, &[stem, scale, bias, mean, variance])
    };
    let stem = net.unary(normalised, UnaryKind::Silu);
    let sizes = vec![4, 4];
    let halves = net.edit.node("split", Split { axis: 1, sizes }, &[stem], &["a", "b"]);
    let deep = net.conv(halves[1], [4, 4], 3, 1, 1);
    let deep = net.unary(deep, UnaryKind::Silu);
    let shortcut = net.binary(BinaryKind::Add, halves[1], deep);
    let joined = net.apply(Concat { axis: 1 }, &[halves[0], halves[1], shortcut]);
    let depthwise = net.conv(joined, [12, 1], 3, 2, 12);
    let depthwise = net.unary(depthwise, UnaryKind::LeakyRelu { alpha: 0.1 });
    let grouped = net.conv(depthwise, [8, 6], 1, 1, 2);
    let pool = MaxPool {
        kernel_shape: [5, 5],
        strides: [1, 1],
        dilations: [1, 1],
        pads: [2; 4],
        ceil_mode: false,
    };
    let pooled = net.apply(pool, &[grouped]);
    let up = Resize {
        mode: ResizeMode::Nearest(NearestMode::Floor),
        coordinate_mode: CoordinateMode::Asymmetric,
        extent: Extent::Scales([2.0, 2.0]),
    };
    let up = net.apply(up, &[pooled]);
    let top = net.apply(Concat { axis: 1 }, &[up, joined]);
    let boxes = net.conv(top, [5, 20], 1, 1, 1);
    let scores = net.conv(grouped, [3, 8], 3, 1, 1);
    net.finish(graph, &[boxes, scores])
}

/// Convolutions of so many channels that 3x3 filters are transformed, with SiLU; values that several convolutions read.
fn wide() -> Graph {
    let graph = Graph::new(17);
    let mut net = Net::new(&graph);
    let x = net.image([1, 3, 18, 20]);
    let stem = net.conv(x, [16, 3], 3, 2, 1);
    let stem = net.unary(stem, UnaryKind::Silu);
    let deep = net.conv(stem, [20, 16], 3, 1, 1);
    let deep = net.unary(deep, UnaryKind::Silu);
    let inner = net.conv(deep, [33, 20], 3, 1, 1);
    let inner = net.unary(inner, UnaryKind::Silu);
    let inner = net.conv(inner, [20, 33], 3, 1, 1);
    let inner = net.unary(inner, UnaryKind::Silu);
    let shortcut = net.binary(BinaryKind::Add, deep, inner);
    let small = net.conv(shortcut, [16, 20], 3, 2, 1);
    let small = net.unary(small, UnaryKind::Silu);
    let large = net.conv(shortcut, [17, 20], 1, 1, 1);
    let small = net.conv(small, [9, 16], 1, 1, 1);
    net.finish(graph, &[large, small])
}

/// Attention between the cells of a map, with a depthwise convolution of the values.
fn attention() -> Graph {
    let graph = Graph::new(17);
    let mut net = Net::new(&graph);
    let x = net.image([1, 8, 4, 4]);
    let qkv = net.conv(x, [16, 8], 1, 1, 1);
    let heads = net.reshape(qkv, &[1, 2, 8, 16]);
    let sizes = vec![2, 2, 4];
    let parts = net.edit.node("split", Split { axis: 2, sizes }, &[heads], &["q", "k", "v"]);
    let queries = net.transpose(parts[0], &[0, 1, 3, 2]);
    let scores = net.apply(MatMul::default(), &[queries, parts[1]]);
    let scale = net.edit.constant("scale", Tensor::scalar(0.7_f32));
    let scores = net.binary(BinaryKind::Mul, scores, scale);
    let softmax = Softmax { axis: 3, coerced: vec![] };
    let shares = net.apply(softmax, &[scores]);
    let shares = net.transpose(shares, &[0, 1, 3, 2]);
    let mixed = net.apply(MatMul::default(), &[parts[2], shares]);
    let mixed = net.reshape(mixed, &[1, 8, 4, 4]);
    let values = net.reshape(parts[2], &[1, 8, 4, 4]);
    let position = net.conv(values, [8, 1], 3, 1, 8);
    let sum = net.binary(BinaryKind::Add, mixed, position);
    let y = net.conv(sum, [8, 8], 1, 1, 1);
    net.finish(graph, &[y])
}

/// Values that are quantized with learnt scales: one whose range cuts off on both sides, and two of one scale.
fn quantized() -> Graph {
    let graph = Graph::new(17);
    let mut net = Net::new(&graph);
    let x = net.image([1, 3, 8, 8]);
    let quantize = |zero_point, dtype| FakeQuantize {
        params: QuantParams::per_tensor(1.0, zero_point, dtype).expect("a positive scale"),
    };
    let fine = net.edit.constant("fine", Tensor::scalar(0.004_f32));
    let coarse = net.edit.constant("coarse", Tensor::scalar(0.05_f32));
    let stem = net.conv(x, [6, 3], 3, 2, 1);
    let stem = net.unary(stem, UnaryKind::Silu);
    let stem = net.apply(quantize(-60, DataType::I8), &[stem, fine]);
    let left = net.conv(stem, [4, 6], 3, 1, 1);
    let left = net.apply(quantize(120, DataType::U8), &[left, coarse]);
    let right = net.conv(stem, [4, 6], 1, 1, 1);
    let right = net.apply(quantize(120, DataType::U8), &[right, coarse]);
    let joined = net.apply(Concat { axis: 1 }, &[left, right]);
    let y = net.conv(joined, [5, 8], 1, 1, 1);
    net.finish(graph, &[y])
}

/// What only some detectors use.
fn rarer() -> Graph {
    let graph = Graph::new(17);
    let mut net = Net::new(&graph);
    let x = net.image([1, 3, 8, 8]);
    let stem = net.conv(x, [4, 3], 3, 1, 1);
    let range = |axis, start| SliceRange { axis, start, len: 4, step: 2 };
    let slice = |start: [usize; 2]| Slice { ranges: vec![range(2, start[0]), range(3, start[1])] };
    let quarters = [[0, 0], [1, 0], [0, 1], [1, 1]].map(|s| net.apply(slice(s), &[stem]));
    let focus = net.apply(Concat { axis: 1 }, &quarters);
    let mixed = net.conv(focus, [6, 16], 3, 1, 1);
    let hard = net.unary(mixed, UnaryKind::HardSwish);
    let slope = net.weights(&[6, 1, 1], 0.0);
    let bent = net.apply(PRelu, &[hard, slope]);
    let average = AveragePool {
        kernel_shape: [2, 2],
        strides: [1, 1],
        dilations: [1, 1],
        pads: [0; 4],
        ceil_mode: false,
        count_include_pad: true,
    };
    let average = net.apply(average, &[bent]);
    let mean = Reduce { kind: ReduceKind::Mean, axes: vec![2, 3], keepdims: true };
    let gate = net.apply(mean, &[average]);
    let gate = net.unary(gate, UnaryKind::Sigmoid);
    let gated = net.binary(BinaryKind::Mul, average, gate);
    let weight = net.weights(&[6, 4, 2, 2], 0.0);
    let transposed = ConvTranspose {
        kernel_shape: [2, 2],
        strides: [2, 2],
        dilations: [1, 1],
        pads: [0; 4],
        output_padding: [0, 0],
        group: 1,
    };
    let up = net.apply(transposed, &[gated, weight]);
    let linear = Resize {
        mode: ResizeMode::Linear,
        coordinate_mode: CoordinateMode::HalfPixel,
        extent: Extent::Scales([2.0, 2.0]),
    };
    let wide = net.apply(linear, &[up]);
    let scale = net.weights(&[6], 1.0);
    let flat = net.reshape(gate, &[1, 6]);
    let flat = net.binary(BinaryKind::Mul, flat, scale);
    let matrix = net.weights(&[5, 6], 0.0);
    let bias = net.weights(&[5], 0.0);
    let gemm = Gemm { alpha: 1.0, beta: 1.0, trans_a: false, trans_b: true, is_weighted: true };
    let classes = net.apply(gemm, &[flat, matrix, bias]);
    net.finish(graph, &[wide, classes])
}
