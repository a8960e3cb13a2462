//! How nodes are made, one function a kind of operator.
use super::{Growing, Made, Port, Recipe};
use crate::model::{Content, Value};
use arranging::{
    concat, expand, flatten, gather, gather_elements, gather_nd, pad, reshape, scatter_nd, slice,
    split, squeeze, tile, transpose, unsqueeze,
};
use images::{conv, conv_integer, conv_transpose, image, pool, resize, upsample};
use ir::DataType;

mod arranging;
mod images;

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
    p_relu, false: "PRelu";
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
    dynamic_quantize, true: "DynamicQuantizeLinear";
    conv_integer, true: "ConvInteger";
    mat_mul_integer, true: "MatMulInteger";
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
        return Some(if high { made } else { made.with("max", Value::Float(0.5)) });
    }
    let bound = |absent: bool, value| if absent { Port::Absent } else { scalar(value) };
    Some(Made::of(vec![x, bound(low, -0.25), bound(high, 0.5)]))
}

/// A shape that broadcasts with this one.
fn broadcast(g: &mut Growing, shape: &[i64]) -> Vec<i64> {
    let from = if g.chance(3) { g.below(shape.len() + 1) } else { 0 };
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
    Port::Constant(Content::Floats { shape: broadcast(g, &shape), low: 0.25, high: 1.5 })
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

fn p_relu(g: &mut Growing, _: &'static str) -> Option<Made> {
    let x = g.any_floats()?;
    let slope = partner(g, x);
    Some(Made::of(vec![Port::Value(x), slope]))
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
    Some(Made::of(std::iter::once(Port::Value(x)).chain(others).collect()))
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
    Some(Made::of(vec![Port::Value(condition), Port::Value(x), other]))
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
    let made = if smallest { made.with("largest", Value::Int(0)) } else { made };
    Some(Made { outputs: 2, ..made })
}

fn batch_normalization(g: &mut Growing, _: &'static str) -> Option<Made> {
    let x = g.value(|t| t.dtype == DataType::F32 && t.rank() > 1)?;
    let channels = vec![g.shape(x)[1]];
    let variance = Content::Floats { shape: channels.clone(), low: 0.5, high: 1.5 };
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
        made.with("alpha", Value::Float(0.5)).with("beta", Value::Float(2.0))
    } else {
        made
    })
}

fn mat_mul(g: &mut Growing, _: &'static str) -> Option<Made> {
    let x = g.any_floats()?;
    let inner = *g.shape(x).last()?;
    let columns = g.between(1, 5);
    let w = if g.chance(4) { vec![inner] } else { vec![inner, columns] };
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

fn dynamic_quantize(g: &mut Growing, _: &'static str) -> Option<Made> {
    if g.opset() < 11 {
        return None;
    }
    let x = g.any_floats()?;
    let outputs = 3;
    Some(Made { outputs, ..Made::of(vec![Port::Value(x)]) })
}

/// Codes of constant weights.
fn quantized(g: &mut Growing, shape: &[i64]) -> Option<Port> {
    let made = Made::of(vec![weights(shape), scalar(0.004)]);
    g.add("QuantizeLinear", made)?;
    Some(Port::Value(g.values.len() - 1))
}

fn mat_mul_integer(g: &mut Growing, _: &'static str) -> Option<Made> {
    let x = g.value(|t| t.dtype == DataType::U8 && t.rank() > 1)?;
    let terms = g.shape(x).last().copied()?;
    let out = g.between(1, 4);
    let weight = quantized(g, &[terms, out])?;
    Some(Made::of(vec![Port::Value(x), weight]))
}
