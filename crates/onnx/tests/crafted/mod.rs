//! Small models written without any of the code under test, and structured damage to them.
use numerics::Rng;
use testkit::model::{Content, Model, Node, Value};

fn pick<T: Copy>(random: &mut Rng, from: &[T]) -> T {
    from[random.below(from.len())]
}

/// Numbers that programs trip over.
fn number(random: &mut Rng) -> i64 {
    const HARD: &[i64] = &[
        0,
        1,
        -1,
        2,
        3,
        -2,
        7,
        64,
        300,
        65_536,
        1 << 20,
        i32::MAX as i64,
        i32::MIN as i64,
        1 << 40,
        i64::MAX,
        i64::MIN,
    ];
    match random.below(3) {
        0 => random.below(12) as i64 - 4,
        _ => pick(random, HARD),
    }
}

/// A constant of floats.
fn floats(shape: Vec<i64>) -> Content {
    Content::Floats { shape, low: 0.1, high: 1.1 }
}

/// One to three changes of operators, attributes, constants, shapes or wiring.
pub(crate) fn mutated(model: &Model, random: &mut Rng) -> Model {
    let mut model = model.clone();
    for _ in 0..=random.below(3) {
        let at = random.below(model.nodes.len());
        match random.below(10) {
            0 => model.opset = 9 + random.below(20) as i64,
            1 => {
                let axis = random.below(model.input.len());
                if let Some(d) = model.input.get_mut(axis) {
                    *d = number(random);
                }
            }
            2 => model.nodes[at].op = pick(random, OPERATORS),
            3 => {
                let from = random.below(model.nodes.len());
                let source = model.nodes[from].outputs.first().cloned();
                let to = random.below(model.nodes[at].inputs.len());
                if let (Some(slot), Some(source)) = (model.nodes[at].inputs.get_mut(to), source) {
                    *slot = source;
                }
            }
            4 => {
                let name = pick(random, ATTRIBUTES);
                let value = match random.below(3) {
                    0 => Value::Int(number(random)),
                    1 => Value::Ints((0..random.below(7)).map(|_| number(random)).collect()),
                    _ => Value::Float(number(random) as f32),
                };
                model.nodes[at].attributes.push((name, value));
            }
            5 | 6 => change_attribute(&mut model.nodes[at], random),
            _ => {
                let at = random.below(model.constants.len());
                if let Some((_, content)) = model.constants.get_mut(at) {
                    change(content, random);
                }
            }
        }
    }
    model
}

fn change_attribute(node: &mut Node, random: &mut Rng) {
    let at = random.below(node.attributes.len());
    let Some((_, value)) = node.attributes.get_mut(at) else {
        return;
    };
    match value {
        Value::Int(v) => *v = number(random),
        Value::Float(v) => *v = number(random) as f32,
        Value::Text(v) => {
            *v = pick(random, &["SAME_UPPER", "SAME_LOWER", "VALID", "linear", "reflect", "wrap"])
        }
        Value::Ints(v) if random.below(4) == 0 => v.push(number(random)),
        Value::Ints(v) => {
            let at = random.below(v.len());
            if let Some(x) = v.get_mut(at) {
                *x = number(random);
            }
        }
    }
}

fn change(content: &mut Content, random: &mut Rng) {
    let (Content::Ints(v) | Content::Floats { shape: v, .. }) = content else {
        return;
    };
    match random.below(4) {
        0 => v.push(number(random)),
        1 => drop(v.pop()),
        _ => {
            let at = random.below(v.len());
            if let Some(x) = v.get_mut(at) {
                *x = number(random);
            }
        }
    }
}

/// A model that grows node by node; every node reads the one before unless it says otherwise.
struct Growing {
    model: Model,
    last: String,
}

impl Growing {
    fn new(opset: i64, input: &[i64]) -> Self {
        let model = Model {
            opset,
            input: input.to_vec(),
            nodes: vec![],
            constants: vec![],
            outputs: vec![],
        };
        let last = "x".to_owned();
        Self { model, last }
    }

    /// The model, whose output is what the last node gives.
    fn finish(mut self) -> Model {
        self.model.outputs = vec![self.last];
        self.model
    }

    fn constant(&mut self, content: Content) -> String {
        let name = format!("c{}", self.model.constants.len());
        self.model.constants.push((name.clone(), content));
        name
    }

    fn node(
        &mut self,
        op: &'static str,
        more: &[String],
        attributes: &[(&'static str, Value)],
    ) -> String {
        let inputs = std::iter::once(self.last.clone()).chain(more.iter().cloned());
        self.free(op, inputs.collect(), 1, attributes)
    }

    fn free(
        &mut self,
        op: &'static str,
        inputs: Vec<String>,
        outputs: usize,
        attributes: &[(&'static str, Value)],
    ) -> String {
        let n = self.model.nodes.len();
        let outputs: Vec<String> = (0..outputs).map(|i| format!("n{n}_{i}")).collect();
        self.last = outputs[0].clone();
        let attributes = attributes.to_vec();
        self.model.nodes.push(Node { op, inputs, outputs, attributes });
        self.last.clone()
    }

    fn conv(
        &mut self,
        op: &'static str,
        weight: [i64; 4],
        attributes: &[(&'static str, Value)],
    ) -> String {
        let w = self.constant(floats(weight.to_vec()));
        self.node(op, &[w], attributes)
    }

    fn ints(&mut self, values: &[i64]) -> String {
        self.constant(Content::Ints(values.to_vec()))
    }

    fn scalar(&mut self) -> String {
        self.constant(floats(vec![]))
    }
}

fn ints(v: &[i64]) -> Value {
    Value::Ints(v.to_vec())
}

/// A block with split, residual, pooling, resizing and joining.
fn block(opset: i64) -> Model {
    let mut g = Growing::new(opset, &[1, 3, 16, 16]);
    g.conv("Conv", [8, 3, 3, 3], &[("pads", ints(&[1; 4])), ("strides", ints(&[2, 2]))]);
    let x = g.last.clone();
    let gate = g.node("Sigmoid", &[], &[]);
    g.free("Mul", vec![x, gate], 1, &[]);
    let sizes = match opset {
        ..13 => vec![],
        _ => vec![g.ints(&[4, 4])],
    };
    let attributes: &[_] = match opset {
        ..13 => &[("axis", Value::Int(1)), ("split", Value::Ints(vec![4, 4]))],
        _ => &[("axis", Value::Int(1))],
    };
    let whole = g.last.clone();
    g.free("Split", std::iter::once(whole).chain(sizes).collect(), 2, attributes);
    let half = g.last.clone();
    g.conv("Conv", [4, 1, 3, 3], &[("pads", ints(&[1; 4])), ("group", Value::Int(4))]);
    let pooled =
        g.node("MaxPool", &[], &[("kernel_shape", ints(&[3, 3])), ("pads", ints(&[1; 4]))]);
    g.last = half.clone();
    let average = g.node(
        "AveragePool",
        &[],
        &[("kernel_shape", ints(&[2, 2])), ("auto_pad", Value::Text("SAME_UPPER"))],
    );
    g.free("Concat", vec![half, pooled, average], 1, &[("axis", Value::Int(1))]);
    g.conv("ConvTranspose", [12, 4, 2, 2], &[("strides", ints(&[2, 2]))]);
    let value = g.scalar();
    match opset {
        ..11 => drop(g.node("Pad", &[], &[("pads", ints(&[0, 0, 1, 1, 0, 0, 1, 1]))])),
        _ => {
            let pads = g.ints(&[0, 0, 1, 1, 0, 0, 1, 1]);
            g.node("Pad", &[pads, value], &[]);
        }
    }
    g.node("GlobalAveragePool", &[], &[]);
    g.node("Flatten", &[], &[("axis", Value::Int(1))]);
    let w = g.constant(floats(vec![4, 6]));
    let b = g.constant(floats(vec![6]));
    g.node("Gemm", &[w, b], &[("alpha", Value::Float(1.0))]);
    g.node("Softmax", &[], &[("axis", Value::Int(1))]);
    g.finish()
}

/// Shape computations as exporters leave them, with a Focus stem, attention and reductions.
fn shapes() -> Model {
    let mut g = Growing::new(17, &[1, 4, 8, 8]);
    let [starts, ends, axes, steps] = [[0, 1], [8, 8], [2, 3], [2, 2]].map(|v| g.ints(&v));
    g.node("Slice", &[starts, ends, axes, steps], &[]);
    let image = g.last.clone();
    let shape = g.node("Shape", &[], &[]);
    let index = g.ints(&[1]);
    let channels = g.free("Gather", vec![shape, index], 1, &[("axis", Value::Int(0))]);
    let rest = g.ints(&[1, 12]);
    let target = g.free("Concat", vec![channels, rest], 1, &[("axis", Value::Int(0))]);
    let filled = g.free("ConstantOfShape", vec![target.clone()], 1, &[]);
    let rows = g.ints(&[1, 4, 1]);
    let ones = g.free("Expand", vec![filled, rows.clone()], 1, &[]);
    g.free("Tile", vec![ones, rows], 1, &[]);
    let tall = g.ints(&[1, 4, 16]);
    g.last = image;
    g.node("Reshape", &[tall], &[]);
    let q = g.last.clone();
    let k = g.node("Transpose", &[], &[("perm", ints(&[0, 2, 1]))]);
    g.free("MatMul", vec![q.clone(), k], 1, &[]);
    let weights = g.node("Softmax", &[], &[("axis", Value::Int(-1))]);
    g.free("MatMul", vec![weights, q], 1, &[]);
    g.node("ReduceMean", &[], &[("axes", ints(&[2])), ("keepdims", Value::Int(1))]);
    g.node("Squeeze", &[], &[]);
    let axis = g.ints(&[0]);
    g.node("Unsqueeze", &[axis], &[]);
    g.node("Clip", &[], &[]);
    g.finish()
}

/// The tail of an end-to-end detector: choices, indices, remainders, conditions.
fn choices() -> Model {
    let mut g = Growing::new(18, &[1, 20, 6]);
    let scores = g.last.clone();
    let axes = g.ints(&[2]);
    g.node("ReduceMax", &[axes], &[("keepdims", Value::Int(0))]);
    let k = g.ints(&[5]);
    let best = g.last.clone();
    g.free("TopK", vec![best, k.clone()], 2, &[("axis", Value::Int(-1))]);
    let rows = g.last.replace("_0", "_1");
    let last = g.ints(&[-1]);
    let wide = g.free("Unsqueeze", vec![rows.clone(), last], 1, &[]);
    let repeats = g.ints(&[1, 1, 6]);
    let wide = g.free("Tile", vec![wide, repeats], 1, &[]);
    let chosen = g.free("GatherElements", vec![scores, wide], 1, &[("axis", Value::Int(1))]);
    let flat = g.free("Flatten", vec![chosen], 1, &[]);
    g.free("TopK", vec![flat, k], 2, &[("axis", Value::Int(-1))]);
    let top = g.last.clone();
    let indices = top.replace("_0", "_1");
    let classes = g.ints(&[6]);
    let row = g.free("Div", vec![indices.clone(), classes.clone()], 1, &[]);
    let class = g.free("Mod", vec![indices, classes], 1, &[]);
    let zero = g.ints(&[0]);
    let low = g.free("Less", vec![class.clone(), zero], 1, &[]);
    let class = g.free("Where", vec![low, row.clone(), class], 1, &[]);
    let flat_rows = g.ints(&[5]);
    let positions = g.free("Reshape", vec![rows, flat_rows], 1, &[]);
    let column = g.ints(&[5, 1]);
    let row = g.free("Reshape", vec![row, column], 1, &[]);
    let which = g.free("GatherND", vec![positions, row], 1, &[]);
    let which = g.free("Cast", vec![which], 1, &[("to", Value::Int(1))]);
    let class = g.free("Cast", vec![class], 1, &[("to", Value::Int(1))]);
    let summed = g.free("Add", vec![top, class], 1, &[]);
    g.free("Max", vec![summed, which], 1, &[]);
    g.free("ArgMax", vec![g.last.clone()], 1, &[("axis", Value::Int(1))]);
    g.finish()
}

pub(crate) fn corpus() -> Vec<Model> {
    vec![block(11), block(13), block(21), shapes(), choices()]
}

const OPERATORS: &[&str] = &[
    "Add",
    "ArgMin",
    "AveragePool",
    "BatchNormalization",
    "Cast",
    "Clip",
    "Concat",
    "Constant",
    "ConstantOfShape",
    "Conv",
    "ConvTranspose",
    "DequantizeLinear",
    "Div",
    "Dropout",
    "Equal",
    "Erf",
    "Expand",
    "Flatten",
    "Gather",
    "GatherElements",
    "GatherND",
    "Gemm",
    "GlobalMaxPool",
    "Identity",
    "If",
    "MatMul",
    "Max",
    "MaxPool",
    "Mod",
    "Mul",
    "Neg",
    "Not",
    "Pad",
    "Pow",
    "QuantizeLinear",
    "Range",
    "ReduceL2",
    "ReduceProd",
    "ReduceSum",
    "Reshape",
    "Resize",
    "ScatterND",
    "Shape",
    "Sigmoid",
    "Slice",
    "Softmax",
    "Split",
    "Squeeze",
    "Tile",
    "TopK",
    "Transpose",
    "Unknown",
    "Unsqueeze",
    "Upsample",
    "Where",
];

const ATTRIBUTES: &[&str] = &[
    "axes",
    "axis",
    "batch_dims",
    "ceil_mode",
    "dilations",
    "ends",
    "fmod",
    "group",
    "k",
    "keepdims",
    "kernel_shape",
    "num_outputs",
    "output_padding",
    "output_shape",
    "pads",
    "perm",
    "scales",
    "split",
    "starts",
    "strides",
    "to",
    "transB",
    "value_ints",
];
