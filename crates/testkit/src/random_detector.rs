//! Small networks made at random from a seed, of the blocks that detectors are made of, on odd sizes.
use ir::ops::{
    BinaryKind, Concat, Conv, ConvTranspose, CoordinateMode, Extent, MatMul, MaxPool, NearestMode,
    Reshape, Resize, ResizeMode, Slice, SliceRange, Softmax, Split, Transpose, UnaryKind,
};
use ir::{DataType, Edit, Graph, Op, Tensor, TensorType, ValueId};
use numerics::Rng;

/// Most multiply-accumulate operations of a convolution.
const MAX_MACS: usize = 400_000;

/// An image `[1, channels, height, width]`.
#[derive(Clone, Copy)]
struct Image {
    value: ValueId,
    channels: usize,
    size: [usize; 2],
}

struct Growing {
    random: Rng,
    edit: Edit,
    made: usize,
}

/// A network of about `blocks` blocks, from an input `x: [1, 3, H, W]` of values between 0 and 1 to an output `[1, C, A]`,
/// with what the head's convolutions give in rows.
///
/// # Panics
/// Where the network that is made is not valid, which is a mistake here.
pub fn random_detector(seed: u64, blocks: usize) -> Graph {
    let mut graph = Graph::new(17);
    let mut g = Growing { random: Rng::new(seed ^ 0x5eed), edit: graph.edit(), made: 0 };
    let size = [0; 2].map(|_| 5 + g.below(28));
    let ty = TensorType::new(DataType::F32, [1, 3, size[0], size[1]]);
    let mut x = Image { value: g.edit.input("x", ty), channels: 3, size };
    let width = 1 + g.below(24);
    let stride = 1 + g.below(2);
    x = g.conv(x, width, 3, stride);
    for _ in 0..blocks {
        x = g.block(x);
    }
    let rows = g.head(x);
    g.edit.output(rows);
    graph.apply(g.edit).expect("blocks fit together");
    graph
}

impl Growing {
    fn below(&mut self, bound: usize) -> usize {
        (self.random.next_u64() % bound as u64) as usize
    }

    fn node(&mut self, op: impl Into<Op>, inputs: &[ValueId], outputs: usize) -> Vec<ValueId> {
        let op = op.into();
        self.made += 1;
        let name = format!("{}_{}", op.op_type().to_lowercase(), self.made);
        let outputs: Vec<String> = (0..outputs).map(|i| format!("{name}_out_{i}")).collect();
        let outputs: Vec<&str> = outputs.iter().map(String::as_str).collect();
        self.edit.node(&name, op, inputs, &outputs)
    }

    fn one(&mut self, op: impl Into<Op>, inputs: &[ValueId]) -> ValueId {
        self.node(op, inputs, 1)[0]
    }

    /// Weights that keep the spread of their input, whatever the number of taps.
    fn weights(&mut self, shape: &[usize], taps: usize) -> ValueId {
        let spread = (3.0 / taps as f32).sqrt();
        let n = shape.iter().product();
        let values = (0..n).map(|_| spread * self.random.signed()).collect();
        let tensor = Tensor::new(shape.to_vec(), values).expect("as many as the shape holds");
        self.made += 1;
        self.edit.constant(&format!("w{}", self.made), tensor)
    }

    fn bias(&mut self, n: usize) -> Option<ValueId> {
        (self.below(4) > 0).then(|| self.weights(&[n], 20))
    }

    fn block(&mut self, x: Image) -> Image {
        match self.below(9) {
            0 => self.pool(x),
            1 => self.residual(x),
            2 => self.split_and_join(x),
            3 => self.pyramid(x),
            4 => self.down_and_up(x),
            5 => self.wider(x),
            6 => self.attention(x),
            7 => self.swapped(x),
            _ => {
                let channels = 1 + self.below(32);
                let kernel = 1 + 2 * self.below(3);
                let stride = 1 + self.below(2);
                self.conv(x, channels, kernel, stride)
            }
        }
    }

    /// A convolution to so many channels, with so large a kernel and stride, and an activation.
    fn conv(&mut self, x: Image, channels: usize, kernel: usize, stride: usize) -> Image {
        let is_depthwise = self.below(5) == 0;
        let (channels, group) = if is_depthwise { (x.channels, x.channels) } else { (channels, 1) };
        let y = self.plain(x, channels, kernel, stride, group);
        self.activated(y)
    }

    /// A convolution without an activation, of fewer channels where so many would cost too much.
    fn plain(
        &mut self,
        x: Image,
        channels: usize,
        kernel: usize,
        stride: usize,
        group: usize,
    ) -> Image {
        let per_group = x.channels / group;
        let pixels = x.size[0] * x.size[1] / (stride * stride);
        let most = MAX_MACS / (pixels * per_group * kernel * kernel).max(1);
        let channels = if group == 1 { channels.min(most.max(1)) } else { channels };
        let taps = per_group * kernel * kernel;
        let weight = self.weights(&[channels, per_group, kernel, kernel], taps);
        let mut inputs = vec![x.value, weight];
        inputs.extend(self.bias(channels));
        let op = Conv {
            kernel_shape: [kernel; 2],
            strides: [stride; 2],
            dilations: [1; 2],
            pads: [kernel / 2; 4],
            group,
        };
        let size = x.size.map(|n| (n + 2 * (kernel / 2) - kernel) / stride + 1);
        Image { value: self.one(op, &inputs), channels, size }
    }

    fn activated(&mut self, x: Image) -> Image {
        let kind = match self.below(8) {
            0 => UnaryKind::Relu,
            1 => UnaryKind::LeakyRelu { alpha: 0.1 },
            2 => UnaryKind::HardSwish,
            3 => return x,
            _ => {
                let gate = self.one(UnaryKind::Sigmoid, &[x.value]);
                let value = self.one(BinaryKind::Mul, &[x.value, gate]);
                return Image { value, ..x };
            }
        };
        let value = self.one(kind, &[x.value]);
        Image { value, ..x }
    }

    fn added(&mut self, a: Image, b: Image) -> Image {
        let value = self.one(BinaryKind::Add, &[a.value, b.value]);
        Image { value, ..a }
    }

    fn joined(&mut self, parts: &[Image]) -> Image {
        let values: Vec<ValueId> = parts.iter().map(|p| p.value).collect();
        let channels = parts.iter().map(|p| p.channels).sum();
        Image { value: self.one(Concat { axis: 1 }, &values), channels, size: parts[0].size }
    }

    fn residual(&mut self, x: Image) -> Image {
        let inner = self.conv(x, 1 + x.channels / 2, 1, 1);
        let group = if self.below(3) == 0 && inner.channels == x.channels { x.channels } else { 1 };
        let y = self.plain(inner, x.channels, 3, 1, group);
        let before = self.below(3) == 0;
        let y = if before { y } else { self.activated(y) };
        if y.channels == x.channels { self.added(x, y) } else { y }
    }

    /// C2f: one half goes through a bottleneck, and all halves are joined.
    fn split_and_join(&mut self, x: Image) -> Image {
        let half = 1 + self.below(12);
        let both = self.plain(x, 2 * half, 1, 1, 1);
        if both.channels != 2 * half {
            return both;
        }
        let both = self.activated(both);
        let op = Split { axis: 1, sizes: vec![half; 2] };
        let halves = self.node(op, &[both.value], 2).into_iter();
        let mut parts: Vec<Image> =
            halves.map(|value| Image { value, channels: half, ..both }).collect();
        for _ in 0..1 + self.below(2) {
            let last = parts[parts.len() - 1];
            parts.push(self.residual(last));
        }
        let joined = self.joined(&parts);
        let channels = 1 + self.below(24);
        self.conv(joined, channels, 1, 1)
    }

    fn max_pool(&mut self, x: Image, kernel: usize, stride: usize, pad: usize) -> Image {
        let op = MaxPool {
            kernel_shape: [kernel; 2],
            strides: [stride; 2],
            dilations: [1; 2],
            pads: [pad; 4],
            ceil_mode: false,
        };
        let size = x.size.map(|n| (n + 2 * pad - kernel) / stride + 1);
        let value = self.one(op, &[x.value]);
        Image { value, size, ..x }
    }

    fn pool(&mut self, x: Image) -> Image {
        if x.size.iter().any(|&n| n < 2) {
            return x;
        }
        self.max_pool(x, 2, 2, 0)
    }

    /// SPPF: a pooled copy of a pooled copy, all joined.
    fn pyramid(&mut self, x: Image) -> Image {
        let x = self.conv(x, 1 + x.channels / 2, 1, 1);
        let mut parts = vec![x];
        for _ in 0..3 {
            parts.push(self.max_pool(parts[parts.len() - 1], 5, 1, 2));
        }
        let joined = self.joined(&parts);
        self.conv(joined, x.channels, 1, 1)
    }

    /// Half the size and back, joined with what it came from.
    fn down_and_up(&mut self, x: Image) -> Image {
        if x.size.iter().any(|n| n % 2 == 1) {
            return self.wider(x);
        }
        let channels = 1 + self.below(16);
        let half = self.conv(x, channels, 3, 2);
        let up = match self.below(3) {
            0 => self.transposed(half),
            _ => self.doubled(half),
        };
        match self.below(2) {
            0 => self.joined(&[up, x]),
            _ => self.joined(&[x, up]),
        }
    }

    fn doubled(&mut self, x: Image) -> Image {
        let op = Resize {
            mode: ResizeMode::Nearest(NearestMode::Floor),
            coordinate_mode: CoordinateMode::Asymmetric,
            extent: Extent::Scales([2.0; 2]),
        };
        let value = self.one(op, &[x.value]);
        Image { value, size: x.size.map(|n| 2 * n), ..x }
    }

    fn transposed(&mut self, x: Image) -> Image {
        let channels = 1 + self.below(8);
        let weight = self.weights(&[x.channels, channels, 2, 2], x.channels);
        let mut inputs = vec![x.value, weight];
        inputs.extend(self.bias(channels));
        let op = ConvTranspose {
            kernel_shape: [2; 2],
            strides: [2; 2],
            dilations: [1; 2],
            pads: [0; 4],
            output_padding: [0; 2],
            group: 1,
        };
        Image { value: self.one(op, &inputs), channels, size: x.size.map(|n| 2 * n) }
    }

    /// Two convolutions of one image, joined.
    fn wider(&mut self, x: Image) -> Image {
        let (a, b) = (1 + self.below(12), 1 + self.below(12));
        let (a, b) = (self.conv(x, a, 1, 1), self.conv(x, b, 3, 1));
        self.joined(&[a, b, x])
    }

    /// Channels from the middle on before those up to there.
    fn swapped(&mut self, x: Image) -> Image {
        let half = x.channels / 2;
        if half == 0 {
            return x;
        }
        let ends = [(half, x.channels - half), (0, half)];
        let parts = ends.map(|(start, len)| {
            let range = SliceRange { axis: 1, start, len, step: 1 };
            let op = Slice { ranges: vec![range] };
            Image { value: self.one(op, &[x.value]), channels: len, ..x }
        });
        self.joined(&parts)
    }

    /// Every pixel as the mean of all, weighted by a softmax of products.
    fn attention(&mut self, x: Image) -> Image {
        let pixels = x.size[0] * x.size[1];
        if pixels > 150 {
            return self.pool(x);
        }
        let width = 1 + self.below(8);
        let [q, k] = [0; 2].map(|_| {
            let rows = self.plain(x, width, 1, 1, 1);
            let shape = vec![1, rows.channels, pixels];
            self.one(Reshape { shape }, &[rows.value])
        });
        let v = self.plain(x, x.channels, 1, 1, 1);
        let shape = vec![1, v.channels, pixels];
        let v_rows = self.one(Reshape { shape }, &[v.value]);
        let turn = |perm: Vec<usize>| Transpose { perm };
        let q = self.one(turn(vec![0, 2, 1]), &[q]);
        let scores = self.one(MatMul::default(), &[q, k]);
        let scale = self.edit.constant("scale", Tensor::scalar(0.5f32));
        let scores = self.one(BinaryKind::Mul, &[scores, scale]);
        let op = Softmax { axis: 2, coerced: vec![] };
        let shares = self.one(op, &[scores]);
        let shares = self.one(turn(vec![0, 2, 1]), &[shares]);
        let mixed = self.one(MatMul::default(), &[v_rows, shares]);
        let shape = vec![1, v.channels, x.size[0], x.size[1]];
        let value = self.one(Reshape { shape }, &[mixed]);
        let y = Image { value, channels: v.channels, ..x };
        if y.channels == x.channels { self.added(x, y) } else { y }
    }

    /// Boxes and scores, of this image and of a smaller one, in rows.
    fn head(&mut self, x: Image) -> ValueId {
        let smaller = self.conv(x, 8, 3, 2);
        let classes = 1 + self.below(5);
        let mut levels = Vec::new();
        for level in [x, smaller] {
            let boxes = self.plain(level, 4, 1, 1, 1);
            let scores = self.plain(level, classes, 1, 1, 1);
            let scores = Image { value: self.one(UnaryKind::Sigmoid, &[scores.value]), ..scores };
            let both = self.joined(&[boxes, scores]);
            let shape = vec![1, both.channels, level.size[0] * level.size[1]];
            levels.push((self.one(Reshape { shape }, &[both.value]), both.channels));
        }
        match levels[..] {
            [(a, n), (b, m)] if n == m => self.one(Concat { axis: 2 }, &[a, b]),
            _ => levels[0].0,
        }
    }
}
