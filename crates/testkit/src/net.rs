//! Graphs of a few nodes, written by hand for a test: nodes are named by what they are and a number, weights are random.
use ir::ops::{BinaryKind, Concat, Conv, DequantizeLinear, MaxPool, QuantizeLinear, UnaryKind};
use ir::{DataType, Edit, Graph, Op, QuantParams, Tensor, TensorType, ValueId};
use numerics::Rng;

/// Numbers of a seed, evenly between -`spread` / 2 and `spread` / 2.
pub fn numbers(len: usize, seed: u64, spread: f32) -> Vec<f32> {
    let mut rng = Rng::new(seed);
    (0..len).map(|_| rng.signed() * spread / 2.0).collect()
}

/// A tensor of [`numbers`].
///
/// # Panics
/// Where the shape has more elements than memory.
pub fn tensor(shape: &[usize], seed: u64, spread: f32) -> Tensor {
    let numbers = numbers(shape.iter().product(), seed, spread);
    Tensor::new(shape, numbers).expect("as many numbers as the shape holds")
}

/// An image for the graph's only input.
///
/// # Panics
/// Where the graph has no input.
pub fn image(graph: &Graph) -> Tensor {
    let ty = graph.ty(graph.inputs()[0]).expect("inputs have types");
    tensor(&ty.shape, 99, 4.0)
}

/// A graph under construction.
#[derive(Debug)]
pub struct Net {
    /// The edit that makes the graph.
    pub edit: Edit,
    nodes: usize,
    parameters: u64,
}

impl Net {
    /// Nothing yet.
    pub fn new(graph: &Graph) -> Self {
        Self { edit: graph.edit(), nodes: 0, parameters: 0 }
    }

    /// The input `images`.
    pub fn input(&mut self, shape: &[usize]) -> ValueId {
        let ty = TensorType::new(DataType::F32, shape);
        self.edit.input("images", ty)
    }

    /// A node of one output, named by its operator.
    pub fn op(&mut self, op: impl Into<Op>, inputs: &[ValueId]) -> ValueId {
        self.many(op, inputs, 1)[0]
    }

    /// A node of several outputs, named by its operator.
    pub fn many(&mut self, op: impl Into<Op>, inputs: &[ValueId], outputs: usize) -> Vec<ValueId> {
        let op = op.into();
        let kind = op.op_type().to_lowercase();
        self.write(&kind, op, inputs, outputs)
    }

    /// A node of one output whose name starts with `kind`.
    pub fn named(&mut self, kind: &str, op: impl Into<Op>, inputs: &[ValueId]) -> ValueId {
        self.write(kind, op.into(), inputs, 1)[0]
    }

    fn write(&mut self, kind: &str, op: Op, inputs: &[ValueId], outputs: usize) -> Vec<ValueId> {
        self.nodes += 1;
        let name = format!("{kind}{}", self.nodes);
        let outputs: Vec<String> = match outputs {
            1 => vec![format!("{name}.out")],
            n => (0..n).map(|i| format!("{name}.out{i}")).collect(),
        };
        let outputs: Vec<&str> = outputs.iter().map(String::as_str).collect();
        self.edit.node(&name, op, inputs, &outputs)
    }

    /// A constant of [`numbers`], each another.
    pub fn parameter(&mut self, name: &str, shape: &[usize], spread: f32) -> ValueId {
        self.parameters += 1;
        let tensor = tensor(shape, self.parameters, spread);
        self.edit.constant(name, tensor)
    }

    /// A convolution of `[inputs, outputs, kernel, stride]`, padded by half its kernel.
    pub fn conv(&mut self, x: ValueId, shape: [usize; 4], group: usize) -> ValueId {
        self.named_conv("conv", x, shape, group)
    }

    /// As [`Net::conv`], its name starting with `kind`.
    pub fn named_conv(
        &mut self,
        kind: &str,
        x: ValueId,
        [i, o, k, s]: [usize; 4],
        group: usize,
    ) -> ValueId {
        let name = format!("{kind}{}", self.nodes + 1);
        let spread = 3.0 / ((i / group * k * k) as f32).sqrt();
        let weight = self.parameter(&format!("{name}.weight"), &[o, i / group, k, k], spread);
        self.convolve(kind, [x, weight], [i, o, k, s], group)
    }

    /// As [`Net::conv`], with a weight of I8 quantized values and a scale for each output channel.
    pub fn quantized_conv(
        &mut self,
        x: ValueId,
        [i, o, k, s]: [usize; 4],
        group: usize,
    ) -> ValueId {
        self.parameters += 2;
        let fan_in = i / group * k * k;
        let weight = numbers(o * fan_in, self.parameters, 254.0);
        let weight: Vec<i8> = weight.iter().map(|&v| v as i8).collect();
        let weight = Tensor::new([o, i / group, k, k], weight).expect("sizes agree");
        let weight = (self.edit).constant(&format!("quantized{}", self.parameters), weight);
        let scale = numbers(o, self.parameters + 1, 1.0).into_iter();
        let scale = scale.map(|v| (1.0 + v) / 40.0 / (fan_in as f32).sqrt());
        let params = QuantParams::per_channel(0, scale.collect(), vec![0; o], DataType::I8);
        let params = params.expect("valid parameters");
        let weight = self.op(DequantizeLinear { params }, &[weight]);
        self.convolve("conv", [x, weight], [i, o, k, s], group)
    }

    fn convolve(
        &mut self,
        kind: &str,
        [x, weight]: [ValueId; 2],
        [_, o, k, s]: [usize; 4],
        group: usize,
    ) -> ValueId {
        let bias = format!("{kind}{}.bias", self.nodes + 1);
        let bias = self.parameter(&bias, &[o], 0.5);
        let conv = Conv {
            kernel_shape: [k; 2],
            strides: [s; 2],
            dilations: [1; 2],
            pads: [k / 2; 4],
            group,
        };
        self.named(kind, conv, &[x, weight, bias])
    }

    /// A convolution with SiLU.
    pub fn conv_silu(&mut self, x: ValueId, shape: [usize; 4]) -> ValueId {
        let y = self.conv(x, shape, 1);
        self.op(UnaryKind::Silu, &[y])
    }

    /// The sum of two values.
    pub fn add(&mut self, a: ValueId, b: ValueId) -> ValueId {
        self.op(BinaryKind::Add, &[a, b])
    }

    /// Values one after the other along an axis.
    pub fn concat(&mut self, axis: usize, inputs: &[ValueId]) -> ValueId {
        self.op(Concat { axis }, inputs)
    }

    /// Max pooling that keeps the size.
    pub fn pool(&mut self, x: ValueId, k: usize) -> ValueId {
        let pool = MaxPool {
            kernel_shape: [k; 2],
            strides: [1; 2],
            dilations: [1; 2],
            pads: [k / 2; 4],
            ceil_mode: false,
        };
        self.op(pool, &[x])
    }

    /// Two convolutions beside a shortcut.
    pub fn bottleneck(&mut self, x: ValueId, channels: usize) -> ValueId {
        let y = self.conv_silu(x, [channels, channels, 3, 1]);
        let y = self.conv_silu(y, [channels, channels, 3, 1]);
        self.add(x, y)
    }

    /// A value quantized as U8 and dequantized.
    pub fn qdq(&mut self, x: ValueId, scale: f32, zero_point: i32) -> ValueId {
        self.qdq_as(DataType::U8, x, scale, zero_point)
    }

    /// A value quantized as a type and dequantized.
    ///
    /// # Panics
    /// Where the parameters are not valid for the type.
    pub fn qdq_as(&mut self, dtype: DataType, x: ValueId, scale: f32, zero_point: i32) -> ValueId {
        let params = QuantParams::per_tensor(scale, zero_point, dtype).expect("valid parameters");
        let quantize = QuantizeLinear { params: params.clone() };
        let quantized = self.op(quantize, &[x]);
        self.op(DequantizeLinear { params }, &[quantized])
    }

    /// Convolution, SiLU, quantized values: as `quantize --target builtin` writes it.
    pub fn block(&mut self, x: ValueId, shape: [usize; 4], scale: f32, zero_point: i32) -> ValueId {
        let y = self.quantized_conv(x, shape, 1);
        let y = self.op(UnaryKind::Silu, &[y]);
        self.qdq(y, scale, zero_point)
    }

    /// Convolution, quantized values, Sigmoid, quantized values, product, quantized values: as ONNX Runtime's tools write it.
    pub fn gated_block(
        &mut self,
        x: ValueId,
        shape: [usize; 4],
        scale: f32,
        zero_point: i32,
    ) -> ValueId {
        let y = self.quantized_conv(x, shape, 1);
        let y = self.qdq(y, 2.0 * scale, 128);
        let gate = self.op(UnaryKind::Sigmoid, &[y]);
        let gate = self.qdq(gate, 1.0 / 255.0, 0);
        let y = self.op(BinaryKind::Mul, &[y, gate]);
        self.qdq(y, scale, zero_point)
    }
}
