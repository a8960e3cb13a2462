//! Graphs under construction, for tests.
#![allow(dead_code)]
use ir::ops::{BinaryKind, Concat, Conv, DequantizeLinear, MaxPool, QuantizeLinear, UnaryKind};
use ir::{DataType, Edit, Graph, Op, QuantParams, Tensor, TensorType, ValueId};

/// Numbers that repeat on every run: the high bits of a linear congruence.
pub(crate) fn numbers(len: usize, seed: u64, spread: f32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        ((state >> 40) as f32 / (1u64 << 24) as f32 - 0.5) * spread
    };
    (0..len).map(|_| next()).collect()
}

/// A graph under construction.
pub(crate) struct Net {
    pub(crate) edit: Edit,
    pub(crate) count: usize,
}

impl Net {
    pub(crate) fn new(graph: &Graph) -> Self {
        Self {
            edit: graph.edit(),
            count: 0,
        }
    }

    pub(crate) fn input(&mut self, shape: &[usize]) -> ValueId {
        self.edit
            .input("images", TensorType::new(DataType::F32, shape))
    }

    pub(crate) fn many(
        &mut self,
        op: impl Into<Op>,
        inputs: &[ValueId],
        outputs: usize,
    ) -> Vec<ValueId> {
        self.count += 1;
        let names: Vec<String> = (0..outputs)
            .map(|i| format!("v{}_{i}", self.count))
            .collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        self.edit
            .node(&format!("n{}", self.count), op, inputs, &names)
    }

    pub(crate) fn op(&mut self, op: impl Into<Op>, inputs: &[ValueId]) -> ValueId {
        self.many(op, inputs, 1)[0]
    }

    pub(crate) fn tensor(&mut self, shape: &[usize], spread: f32) -> ValueId {
        self.count += 1;
        let data = numbers(shape.iter().product(), self.count as u64, spread);
        let tensor = Tensor::new(shape, data).expect("sizes agree");
        self.edit.constant(&format!("c{}", self.count), tensor)
    }

    pub(crate) fn conv(&mut self, x: ValueId, [i, o, k, s]: [usize; 4], group: usize) -> ValueId {
        let fan_in = (i / group * k * k) as f32;
        let weight = self.tensor(&[o, i / group, k, k], 3.0 / fan_in.sqrt());
        let bias = self.tensor(&[o], 0.5);
        let conv = Conv {
            kernel_shape: [k, k],
            strides: [s, s],
            dilations: [1, 1],
            pads: [k / 2; 4],
            group,
        };
        self.op(conv, &[x, weight, bias])
    }

    pub(crate) fn conv_silu(&mut self, x: ValueId, shape: [usize; 4]) -> ValueId {
        let y = self.conv(x, shape, 1);
        self.op(UnaryKind::Silu, &[y])
    }

    pub(crate) fn concat(&mut self, axis: usize, inputs: &[ValueId]) -> ValueId {
        self.op(Concat { axis }, inputs)
    }

    pub(crate) fn pool(&mut self, x: ValueId, k: usize) -> ValueId {
        let pool = MaxPool {
            kernel_shape: [k, k],
            strides: [1, 1],
            dilations: [1, 1],
            pads: [k / 2; 4],
            ceil_mode: false,
        };
        self.op(pool, &[x])
    }

    pub(crate) fn bottleneck(&mut self, x: ValueId, c: usize) -> ValueId {
        let y = self.conv_silu(x, [c, c, 3, 1]);
        let y = self.conv_silu(y, [c, c, 3, 1]);
        self.op(BinaryKind::Add, &[x, y])
    }

    pub(crate) fn qdq(&mut self, x: ValueId, scale: f32, zero_point: i32) -> ValueId {
        let params =
            QuantParams::per_tensor(scale, zero_point, DataType::U8).expect("valid parameters");
        let q = self.op(
            QuantizeLinear {
                params: params.clone(),
            },
            &[x],
        );
        self.op(DequantizeLinear { params }, &[q])
    }
}

/// An image for the graph's only input.
pub(crate) fn image(graph: &Graph) -> Tensor {
    let ty = graph.ty(graph.inputs()[0]).expect("inputs have types");
    Tensor::new(ty.shape.clone(), numbers(ty.elements(), 99, 4.0)).expect("sizes agree")
}
