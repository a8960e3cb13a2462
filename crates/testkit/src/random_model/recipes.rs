//! How nodes are made, one function a kind of operator.
use super::{Growing, Made, Port, Recipe};
use crate::model::{Content, Value};
use ir::DataType;

macro_rules! recipes {
    ($($make:ident, $jumps:literal: $($op:literal),*;)*) => {
        /// Every operator.
        pub const RECIPES: &[Recipe] = &[$($(Recipe { op: $op, jumps: $jumps, make: $make },)*)*];
    };
}

recipes! {
    unary, false: "Sigmoid", "Relu", "LeakyRelu", "HardSigmoid", "HardSwish", "Tanh", "Exp", "Log", "Sqrt", "Neg", "Abs", "Reciprocal",
        "Erf", "Softplus", "Mish", "Gelu", "Elu", "Selu", "Softsign", "Sin", "Cos";
    unary, true: "Floor", "Ceil", "Round", "Sign";
    clip, false: "Clip";
    binary, false: "Add", "Sub", "Mul", "Div", "Pow";
    remainder, true: "Mod";
    extremum, false: "Max", "Min";
    compare, true: "Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual";
    logic, true: "And", "Or", "Xor", "Not";
    select, true: "Where";
    cast, true: "Cast", "CastLike";
    arg_extremum, true: "ArgMax", "ArgMin";
    top_k, true: "TopK";
    gather, false: "Gather";
    gather_elements, false: "GatherElements";
    gather_nd, false: "GatherND";
    scatter_nd, false: "ScatterND";
    concat, false: "Concat";
    split, false: "Split";
    slice, false: "Slice";
    reshape, false: "Reshape";
    flatten, false: "Flatten";
    squeeze, false: "Squeeze";
    unsqueeze, false: "Unsqueeze";
    transpose, false: "Transpose";
    expand, false: "Expand";
    tile, false: "Tile";
    pad, false: "Pad";
    resize, false: "Resize";
    upsample, false: "Upsample";
    conv, false: "Conv";
    conv_transpose, false: "ConvTranspose";
    pool, false: "MaxPool", "AveragePool";
    image, false: "GlobalAveragePool", "GlobalMaxPool";
    batch_normalization, false: "BatchNormalization";
    gemm, false: "Gemm";
    mat_mul, false: "MatMul";
    softmax, false: "Softmax";
    reduce, false: "ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL2";
    quantize, true: "QuantizeLinear";
    dequantize, false: "DequantizeLinear";
}

fn ints(v: Vec<i64>) -> Port {
    Port::Constant(Content::Ints(v))
}

fn weights(shape: &[i64]) -> Port {
    Port::Constant(Content::weights(shape))
}

fn scalar(value: f32) -> Port {
    let (low, high) = (value, value);
    let shape = vec![];
    Port::Constant(Content::Floats { shape, low, high })
}

/// A parameter that is an attribute before an opset and an input from it on.
fn parameter(g: &Growing, made: Made, name: &'static str, since: i64, v: Vec<i64>) -> Made {
    if g.opset() < since {
        return made.with(name, Value::Ints(v));
    }
    let mut made = made;
    made.inputs.push(ints(v));
    made
}

/// The value kept above or below a bound, so that no function leaves its domain: what NaN becomes is not specified.
fn bounded(g: &mut Growing, x: usize, op: &'static str, bound: f32) -> Option<usize> {
    g.add(op, Made::of(vec![Port::Value(x), scalar(bound)]))?;
    Some(g.values.len() - 1)
}

fn unary(g: &mut Growing, op: &'static str) -> Option<Made> {
    let since = match op {
        "HardSwish" => 14,
        "Mish" => 18,
        "Gelu" => 20,
        "Round" => 11,
        _ => 9,
    };
    if g.opset() < since {
        return None;
    }
    let x = g.any_floats()?;
    let x = match op {
        "Log" | "Sqrt" | "Reciprocal" => bounded(g, x, "Max", 0.125)?,
        "Exp" => bounded(g, x, "Min", 4.0)?,
        _ => x,
    };
    let made = Made::of(vec![Port::Value(x)]);
    let names: &[&str] = match op {
        "LeakyRelu" | "Elu" => &["alpha"],
        "HardSigmoid" => &["alpha", "beta"],
        "Selu" => &["alpha", "gamma"],
        "Gelu" if g.chance(2) => return Some(made.with("approximate", Value::Text("tanh"))),
        _ => &[],
    };
    let given = if g.chance(2) { names } else { &[] };
    let value = g.pick(&[0.125, 0.3, 1.25]);
    let with = |made: Made, name: &&'static str| made.with(name, Value::Float(value));
    Some(given.iter().fold(made, with))
}

fn clip(g: &mut Growing, _: &'static str) -> Option<Made> {
    let x = Port::Value(g.any_floats()?);
    let (low, high) = (g.chance(3), g.chance(3));
    if g.opset() < 11 {
        let made = Made::of(vec![x]).with("min", Value::Float(-0.25));
        return Some(if high {
            made
        } else {
            made.with("max", Value::Float(0.5))
        });
    }
    let bound = |absent: bool, value| if absent { Port::Absent } else { scalar(value) };
    Some(Made::of(vec![x, bound(low, -0.25), bound(high, 0.5)]))
}

/// A shape that broadcasts with this one.
fn broadcast(g: &mut Growing, shape: &[i64]) -> Vec<i64> {
    let from = if g.chance(3) {
        g.below(shape.len() + 1)
    } else {
        0
    };
    let keep = |g: &mut Growing, &d: &i64| if g.chance(3) { 1 } else { d };
    shape[from..].iter().map(|d| keep(g, d)).collect()
}

/// A value of the same type, or a constant that broadcasts with it.
fn partner(g: &mut Growing, x: usize) -> Port {
    let ty = g.values[x].ty.clone();
    if g.chance(2)
        && let Some(other) = g.value(|t| *t == ty)
    {
        return Port::Value(other);
    }
    let shape = g.shape(x);
    Port::Constant(Content::Floats {
        shape: broadcast(g, &shape),
        low: 0.25,
        high: 1.5,
    })
}

fn binary(g: &mut Growing, op: &'static str) -> Option<Made> {
    let x = g.any_floats()?;
    if op == "Pow" {
        let exponent = g.pick(&[2.0, 3.0]);
        return Some(Made::of(vec![Port::Value(x), scalar(exponent)]));
    }
    if op == "Div" {
        let x = Port::Value(bounded(g, x, "Max", 0.125)?);
        return Some(Made::of(vec![scalar(1.5), x]));
    }
    let other = partner(g, x);
    let turned = g.chance(3);
    let mut inputs = vec![Port::Value(x), other];
    if turned {
        inputs.reverse();
    }
    Some(Made::of(inputs))
}

fn remainder(g: &mut Growing, _: &'static str) -> Option<Made> {
    if g.opset() < 10 {
        return None;
    }
    if let Some(i) = g.value(|t| t.dtype == DataType::I64) {
        return Some(Made::of(vec![Port::Value(i), ints(vec![3])]));
    }
    let x = g.any_floats()?;
    Some(Made::of(vec![Port::Value(x), scalar(0.75)]).with("fmod", Value::Int(1)))
}

fn extremum(g: &mut Growing, _: &'static str) -> Option<Made> {
    let x = g.any_floats()?;
    let more = g.below(3);
    let others: Vec<Port> = (0..more).map(|_| partner(g, x)).collect();
    Some(Made::of(
        std::iter::once(Port::Value(x)).chain(others).collect(),
    ))
}

fn compare(g: &mut Growing, op: &'static str) -> Option<Made> {
    let since = match op {
        "LessOrEqual" | "GreaterOrEqual" => 12,
        "Equal" => 11,
        _ => 9,
    };
    if g.opset() < since {
        return None;
    }
    let x = g.any_floats()?;
    let other = partner(g, x);
    Some(Made::of(vec![Port::Value(x), other]))
}

fn logic(g: &mut Growing, op: &'static str) -> Option<Made> {
    let a = g.value(|t| t.dtype == DataType::Bool)?;
    if op == "Not" {
        return Some(Made::of(vec![Port::Value(a)]));
    }
    let ty = g.values[a].ty.clone();
    let b = g.value(|t| *t == ty)?;
    Some(Made::of(vec![Port::Value(a), Port::Value(b)]))
}

fn select(g: &mut Growing, _: &'static str) -> Option<Made> {
    let condition = g.value(|t| t.dtype == DataType::Bool)?;
    let shape = g.values[condition].ty.shape.clone();
    let x = g.value(|t| t.dtype == DataType::F32 && t.shape == shape)?;
    let other = partner(g, x);
    Some(Made::of(vec![
        Port::Value(condition),
        Port::Value(x),
        other,
    ]))
}

fn cast(g: &mut Growing, op: &'static str) -> Option<Made> {
    let x = g.value(|t| t.dtype != DataType::F32 || t.rank() > 0)?;
    if op == "CastLike" {
        if g.opset() < 15 {
            return None;
        }
        return Some(Made::of(vec![Port::Value(x), weights(&[1])]));
    }
    let to = match g.values[x].ty.dtype {
        DataType::F32 => g.pick(&[6, 7, 9]),
        _ => 1,
    };
    Some(Made::of(vec![Port::Value(x)]).with("to", Value::Int(to)))
}

fn arg_extremum(g: &mut Growing, _: &'static str) -> Option<Made> {
    let x = g.any_floats()?;
    let axis = g.axis(g.shape(x).len());
    let made = Made::of(vec![Port::Value(x)]).with("axis", Value::Int(axis));
    let keep = g.chance(2);
    Some(made.with("keepdims", Value::Int(i64::from(keep))))
}

fn top_k(g: &mut Growing, _: &'static str) -> Option<Made> {
    let x = g.any_floats()?;
    let shape = g.shape(x);
    let axis = g.below(shape.len());
    let k = g.between(1, shape[axis].min(5));
    let made = Made::of(vec![Port::Value(x)]).with("axis", Value::Int(axis as i64));
    let made = match g.opset() {
        ..10 => made.with("k", Value::Int(k)),
        _ => parameter(g, made, "k", 10, vec![k]),
    };
    let smallest = g.opset() >= 11 && g.chance(2);
    let made = if smallest {
        made.with("largest", Value::Int(0))
    } else {
        made
    };
    Some(Made { outputs: 2, ..made })
}

fn gather(g: &mut Growing, _: &'static str) -> Option<Made> {
    let x = g.any_floats()?;
    let shape = g.shape(x);
    let axis = g.below(shape.len());
    let low = if g.opset() >= 11 { -shape[axis] } else { 0 };
    let indices = (0..1 + g.below(4)).map(|_| g.between(low, shape[axis] - 1));
    let indices = indices.collect();
    let made = Made::of(vec![Port::Value(x), ints(indices)]);
    Some(made.with("axis", Value::Int(axis as i64)))
}

/// The largest of each row, by its index.
fn gather_elements(g: &mut Growing, _: &'static str) -> Option<Made> {
    if g.opset() < 11 {
        return None;
    }
    let x = g.any_floats()?;
    let axis = g.axis(g.shape(x).len());
    let found = Made::of(vec![Port::Value(x)]).with("axis", Value::Int(axis));
    g.add("ArgMax", found)?;
    let indices = g.values.len() - 1;
    let made = Made::of(vec![Port::Value(x), Port::Value(indices)]);
    Some(made.with("axis", Value::Int(axis)))
}

fn position(g: &mut Growing, shape: &[i64]) -> Vec<i64> {
    let n = 1 + g.below(shape.len());
    shape[..n].iter().map(|&d| g.between(0, d - 1)).collect()
}

fn gather_nd(g: &mut Growing, _: &'static str) -> Option<Made> {
    if g.opset() < 11 {
        return None;
    }
    let x = g.any_floats()?;
    let at = position(g, &g.shape(x));
    Some(Made::of(vec![Port::Value(x), ints(at)]))
}

fn scatter_nd(g: &mut Growing, _: &'static str) -> Option<Made> {
    if g.opset() < 11 {
        return None;
    }
    let x = g.any_floats()?;
    let shape = g.shape(x);
    let at = position(g, &shape);
    let updates = weights(&shape[at.len()..]);
    Some(Made::of(vec![Port::Value(x), ints(at), updates]))
}

/// Values that differ along the axis alone, one of them twice now and then, and perhaps a constant.
fn concat(g: &mut Growing, _: &'static str) -> Option<Made> {
    let x = g.any_floats()?;
    let ty = g.values[x].ty.clone();
    let rank = ty.rank();
    let axis = g.below(rank);
    let mut inputs = vec![Port::Value(x)];
    for _ in 0..1 + g.below(3) {
        let alike = |t: &ir::TensorType| {
            let same = |a: usize| a == axis || t.shape[a] == ty.shape[a];
            t.dtype == ty.dtype && t.rank() == rank && (0..rank).all(same)
        };
        let mut shape = g.shape(x);
        shape[axis] = g.between(1, 3);
        inputs.push(match g.below(4) {
            0 => Port::Value(x),
            1 => weights(&shape),
            _ => Port::Value(g.value(alike)?),
        });
    }
    let turn = g.below(inputs.len());
    inputs.rotate_left(turn);
    let axis = if g.opset() >= 11 && g.chance(3) {
        axis as i64 - rank as i64
    } else {
        axis as i64
    };
    Some(Made::of(inputs).with("axis", Value::Int(axis)))
}

fn split(g: &mut Growing, _: &'static str) -> Option<Made> {
    let x = g.any_floats()?;
    let shape = g.shape(x);
    let axis = g.below(shape.len());
    let made = Made::of(vec![Port::Value(x)]).with("axis", Value::Int(axis as i64));
    let outputs = 1 + g.below(3);
    let whole = shape[axis];
    if g.opset() >= 18 && g.chance(2) {
        let made = made.with("num_outputs", Value::Int(outputs as i64));
        return Some(Made { outputs, ..made });
    }
    let mut sizes = vec![1; outputs];
    sizes[0] = whole - outputs as i64 + 1;
    if sizes[0] < 1 {
        return None;
    }
    let made = parameter(g, made, "split", 13, sizes);
    Some(Made { outputs, ..made })
}

fn slice(g: &mut Growing, _: &'static str) -> Option<Made> {
    let x = g.any_floats()?;
    let shape = g.shape(x);
    let axis = g.below(shape.len());
    let d = shape[axis];
    let backwards = g.opset() >= 10 && g.chance(3);
    let step = match g.opset() {
        ..10 => 1,
        _ => g.between(1, 3),
    };
    let (start, end, step) = if backwards {
        let start = g.pick(&[-1, d - 1, i64::MAX]);
        (start, g.pick(&[i64::MIN, -d - 1, 0]), -step)
    } else {
        let start = g.between(-d, d / 2);
        (start, g.pick(&[i64::MAX, d, d - 1, -1]), step)
    };
    let made = Made::of(vec![Port::Value(x)]);
    if g.opset() < 10 {
        let made = made.with("starts", Value::Ints(vec![start]));
        let made = made.with("ends", Value::Ints(vec![end]));
        return Some(made.with("axes", Value::Ints(vec![axis as i64])));
    }
    let mut made = made;
    let lists = [vec![start], vec![end], vec![axis as i64], vec![step]];
    made.inputs.extend(lists.map(ints));
    Some(made)
}

fn reshape(g: &mut Growing, _: &'static str) -> Option<Made> {
    let x = g.any_floats()?;
    let mut shape = g.shape(x);
    if shape.len() > 1 && g.chance(2) {
        let at = g.below(shape.len() - 1);
        let next = shape.remove(at + 1);
        shape[at] *= next;
    }
    if g.chance(2) {
        let at = g.below(shape.len());
        let factor = g.pick(&[1, 2, 3]);
        if shape[at] % factor == 0 && shape.len() < 5 {
            shape[at] /= factor;
            shape.insert(at, factor);
        }
    }
    if g.chance(2) {
        let at = g.below(shape.len());
        shape[at] = -1;
    }
    Some(Made::of(vec![Port::Value(x), ints(shape)]))
}

fn flatten(g: &mut Growing, _: &'static str) -> Option<Made> {
    let x = g.any_floats()?;
    let axis = g.below(g.shape(x).len() + 1);
    Some(Made::of(vec![Port::Value(x)]).with("axis", Value::Int(axis as i64)))
}

fn squeeze(g: &mut Growing, _: &'static str) -> Option<Made> {
    let x = g.value(|t| t.dtype == DataType::F32 && t.shape.contains(&1))?;
    let made = Made::of(vec![Port::Value(x)]);
    if g.chance(3) {
        return Some(made);
    }
    let axis = g.shape(x).iter().position(|&d| d == 1)?;
    Some(parameter(g, made, "axes", 13, vec![axis as i64]))
}

fn unsqueeze(g: &mut Growing, _: &'static str) -> Option<Made> {
    let x = g.value(|t| t.dtype == DataType::F32 && t.rank() < 5)?;
    let axis = g.below(g.shape(x).len() + 1);
    let made = Made::of(vec![Port::Value(x)]);
    Some(parameter(g, made, "axes", 13, vec![axis as i64]))
}

fn transpose(g: &mut Growing, _: &'static str) -> Option<Made> {
    let x = g.any_floats()?;
    let made = Made::of(vec![Port::Value(x)]);
    if g.chance(4) {
        return Some(made);
    }
    let mut perm: Vec<i64> = (0..g.shape(x).len() as i64).collect();
    for i in (1..perm.len()).rev() {
        let other = g.below(i + 1);
        perm.swap(i, other);
    }
    Some(made.with("perm", Value::Ints(perm)))
}

fn expand(g: &mut Growing, _: &'static str) -> Option<Made> {
    let x = g.any_floats()?;
    let mut target = g.shape(x);
    for d in target.iter_mut().filter(|d| **d == 1) {
        *d = g.between(1, 3);
    }
    if target.len() < 5 && g.chance(3) {
        let more = g.between(1, 3);
        target.insert(0, more);
    }
    Some(Made::of(vec![Port::Value(x), ints(target)]))
}

fn tile(g: &mut Growing, _: &'static str) -> Option<Made> {
    let x = g.any_floats()?;
    let repeats = (0..g.shape(x).len()).map(|_| g.between(1, 2)).collect();
    Some(Made::of(vec![Port::Value(x), ints(repeats)]))
}

fn pad(g: &mut Growing, _: &'static str) -> Option<Made> {
    let x = g.any_floats()?;
    let shape = g.shape(x);
    let mode = g.pick(&["constant", "constant", "reflect", "edge", "wrap"]);
    if mode == "wrap" && g.opset() < 19 {
        return None;
    }
    let by_axes = g.opset() >= 18 && mode == "constant" && g.chance(2);
    let axes: Vec<i64> = if by_axes {
        vec![g.axis(shape.len())]
    } else {
        (0..shape.len() as i64).collect()
    };
    let most = |axis: i64| match mode {
        "constant" | "edge" => 3,
        _ => shape[axis.rem_euclid(shape.len() as i64) as usize] - 1,
    };
    let one = |g: &mut Growing, axis: i64| {
        if g.chance(2) {
            0
        } else {
            g.between(0, most(axis).min(3))
        }
    };
    let pads: Vec<i64> = axes.iter().chain(&axes).map(|&a| one(g, a)).collect();
    let made = Made::of(vec![Port::Value(x)]).with("mode", Value::Text(mode));
    let made = parameter(g, made, "pads", 11, pads);
    if mode != "constant" || g.chance(3) && !by_axes {
        return Some(made);
    }
    if g.opset() < 11 {
        return Some(made.with("value", Value::Float(0.5)));
    }
    let mut made = made;
    made.inputs.push(scalar(0.5));
    if by_axes {
        made.inputs.push(ints(axes));
    }
    Some(made)
}

/// By scales or by sizes, of two axes or of all, in every coordinate mode.
fn resize(g: &mut Growing, _: &'static str) -> Option<Made> {
    let opset = g.opset();
    let x = g.floats(4)?;
    let shape = g.shape(x);
    let by_sizes = opset >= 11 && g.chance(2);
    let by_axes = opset >= 18 && g.chance(2);
    let axes = if by_axes {
        vec![2, 3]
    } else {
        vec![0, 1, 2, 3]
    };
    let one = |g: &mut Growing, axis: i64| match (axis < 2, by_sizes) {
        (true, true) => (0.0, shape[axis as usize]),
        (true, false) => (1.0, 0),
        (false, _) => (
            g.pick(&[0.5, 0.7, 1.0, 1.3, 1.5, 2.0, 2.25, 3.0]),
            g.between(1, 2 * shape[axis as usize] + 3),
        ),
    };
    let both: Vec<(f32, i64)> = axes.iter().map(|&a| one(g, a)).collect();
    let scales = Port::Constant(Content::Vector(both.iter().map(|b| b.0).collect()));
    let sizes = ints(both.iter().map(|b| b.1).collect());
    let inputs = match (opset < 11, by_sizes) {
        (true, _) => vec![Port::Value(x), scales],
        (false, false) if opset < 13 => vec![
            Port::Value(x),
            Port::Constant(Content::Vector(vec![])),
            scales,
        ],
        (false, true) if opset < 13 => {
            let none = || Port::Constant(Content::Vector(vec![]));
            vec![Port::Value(x), none(), none(), sizes]
        }
        (false, false) => vec![Port::Value(x), Port::Absent, scales],
        (false, true) => vec![Port::Value(x), Port::Absent, Port::Absent, sizes],
    };
    let mode = g.pick(&["nearest", "linear"]);
    let mut made = Made::of(inputs).with("mode", Value::Text(mode));
    if by_axes {
        made = made.with("axes", Value::Ints(axes));
        if by_sizes && g.chance(2) {
            let policy = g.pick(&["stretch", "not_larger", "not_smaller"]);
            made = made.with("keep_aspect_ratio_policy", Value::Text(policy));
        }
    }
    if opset >= 11 {
        let coordinates = g.pick(&[
            "half_pixel",
            "pytorch_half_pixel",
            "align_corners",
            "asymmetric",
        ]);
        made = made.with("coordinate_transformation_mode", Value::Text(coordinates));
        if mode == "nearest" {
            let nearest = g.pick(&["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"]);
            made = made.with("nearest_mode", Value::Text(nearest));
        }
    }
    Some(made)
}

fn upsample(g: &mut Growing, _: &'static str) -> Option<Made> {
    if g.opset() != 9 {
        return None;
    }
    let x = g.floats(4)?;
    let scale = |g: &mut Growing| g.pick(&[1.0, 1.5, 2.0, 2.25]);
    let scales = vec![1.0, 1.0, scale(g), scale(g)];
    let mode = g.pick(&["nearest", "linear"]);
    let made = Made::of(vec![
        Port::Value(x),
        Port::Constant(Content::Vector(scales)),
    ]);
    Some(made.with("mode", Value::Text(mode)))
}

/// Strides, dilations and pads of a window.
fn window(g: &mut Growing, made: Made, kernel: [i64; 2], dilated: bool) -> Made {
    let two = |g: &mut Growing, most: i64| vec![g.between(1, most), g.between(1, most)];
    let mut made = made;
    if g.chance(2) {
        made = made.with("strides", Value::Ints(two(g, 4)));
    }
    if dilated && g.chance(3) {
        made = made.with("dilations", Value::Ints(two(g, 2)));
    } else if g.chance(3) {
        let same = g.pick(&["SAME_UPPER", "SAME_LOWER", "VALID"]);
        return made.with("auto_pad", Value::Text(same));
    }
    if g.chance(3) {
        return made;
    }
    let pads = [kernel, kernel].concat();
    let pads = pads.iter().map(|&k| g.between(0, k - 1)).collect();
    made.with("pads", Value::Ints(pads))
}

fn kernel(g: &mut Growing) -> [i64; 2] {
    [g.between(1, 4), g.between(1, 4)]
}

fn conv(g: &mut Growing, _: &'static str) -> Option<Made> {
    let x = g.floats(4)?;
    let channels = g.shape(x)[1];
    let divides: Vec<i64> = (1..=channels).filter(|d| channels % d == 0).collect();
    let group = g.pick(&divides);
    let out = group * g.between(1, 3);
    let k = kernel(g);
    let mut inputs = vec![
        Port::Value(x),
        weights(&[out, channels / group, k[0], k[1]]),
    ];
    if g.chance(2) {
        inputs.push(weights(&[out]));
    }
    let made = Made::of(inputs).with("group", Value::Int(group));
    Some(window(g, made, k, true))
}

fn conv_transpose(g: &mut Growing, _: &'static str) -> Option<Made> {
    let x = g.floats(4)?;
    let channels = g.shape(x)[1];
    let k = kernel(g);
    let out = g.between(1, 4);
    let mut inputs = vec![Port::Value(x), weights(&[channels, out, k[0], k[1]])];
    if g.chance(2) {
        inputs.push(weights(&[out]));
    }
    let strides = vec![g.between(1, 3), g.between(1, 3)];
    let made = Made::of(inputs).with("strides", Value::Ints(strides));
    if g.chance(2) {
        return Some(made);
    }
    let pads = vec![k[0] / 2, k[1] / 2, (k[0] - 1) / 2, (k[1] - 1) / 2];
    Some(made.with("pads", Value::Ints(pads)))
}

fn pool(g: &mut Growing, op: &'static str) -> Option<Made> {
    let x = g.floats(4)?;
    let k = kernel(g);
    let made = Made::of(vec![Port::Value(x)]).with("kernel_shape", Value::Ints(k.to_vec()));
    let dilated = g.opset() >= if op == "MaxPool" { 10 } else { 19 };
    let mut made = window(g, made, k, dilated);
    if g.opset() >= 10 && g.chance(3) {
        made = made.with("ceil_mode", Value::Int(1));
    }
    if op == "AveragePool" && g.chance(2) {
        made = made.with("count_include_pad", Value::Int(1));
    }
    Some(made)
}

fn image(g: &mut Growing, _: &'static str) -> Option<Made> {
    Some(Made::of(vec![Port::Value(g.floats(4)?)]))
}

fn batch_normalization(g: &mut Growing, _: &'static str) -> Option<Made> {
    let x = g.value(|t| t.dtype == DataType::F32 && t.rank() > 1)?;
    let channels = vec![g.shape(x)[1]];
    let variance = Content::Floats {
        shape: channels.clone(),
        low: 0.5,
        high: 1.5,
    };
    let mut inputs = vec![Port::Value(x)];
    inputs.extend((0..3).map(|_| weights(&channels)));
    inputs.push(Port::Constant(variance));
    Some(Made::of(inputs))
}

fn gemm(g: &mut Growing, _: &'static str) -> Option<Made> {
    let x = g.floats(2)?;
    let (inner, out) = (g.shape(x)[1], g.between(1, 5));
    let turned = g.chance(2);
    let w = if turned { [out, inner] } else { [inner, out] };
    let mut inputs = vec![Port::Value(x), weights(&w)];
    if g.opset() < 11 || g.chance(2) {
        inputs.push(weights(&[out]));
    }
    let made = Made::of(inputs).with("transB", Value::Int(i64::from(turned)));
    Some(if g.chance(3) {
        made.with("alpha", Value::Float(0.5))
            .with("beta", Value::Float(2.0))
    } else {
        made
    })
}

fn mat_mul(g: &mut Growing, _: &'static str) -> Option<Made> {
    let x = g.any_floats()?;
    let inner = *g.shape(x).last()?;
    let columns = g.between(1, 5);
    let w = if g.chance(4) {
        vec![inner]
    } else {
        vec![inner, columns]
    };
    Some(Made::of(vec![Port::Value(x), weights(&w)]))
}

fn softmax(g: &mut Growing, _: &'static str) -> Option<Made> {
    let x = g.any_floats()?;
    let made = Made::of(vec![Port::Value(x)]);
    if g.chance(4) {
        return Some(made);
    }
    let axis = g.axis(g.shape(x).len());
    Some(made.with("axis", Value::Int(axis)))
}

fn reduce(g: &mut Growing, op: &'static str) -> Option<Made> {
    let x = g.any_floats()?;
    let rank = g.shape(x).len();
    let keep = g.chance(2);
    let made = Made::of(vec![Port::Value(x)]).with("keepdims", Value::Int(i64::from(keep)));
    let axes: Vec<i64> = (0..rank as i64).filter(|_| g.chance(2)).collect();
    if axes.is_empty() {
        return Some(made);
    }
    let since = if op == "ReduceSum" { 13 } else { 18 };
    Some(parameter(g, made, "axes", since, axes))
}

fn quantize(g: &mut Growing, _: &'static str) -> Option<Made> {
    if g.opset() < 10 {
        return None;
    }
    let x = g.any_floats()?;
    Some(Made::of(vec![Port::Value(x), scalar(0.01)]))
}

fn dequantize(g: &mut Growing, _: &'static str) -> Option<Made> {
    let x = g.value(|t| t.dtype == DataType::U8)?;
    Some(Made::of(vec![Port::Value(x), scalar(0.01)]))
}
