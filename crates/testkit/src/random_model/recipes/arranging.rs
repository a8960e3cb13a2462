//! What moves elements without computing with them.
use super::{Growing, Made, Port, ints, parameter, scalar, weights};
use crate::model::Value;
use ir::DataType;

pub(super) fn gather(g: &mut Growing, _: &'static str) -> Option<Made> {
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
pub(super) fn gather_elements(g: &mut Growing, _: &'static str) -> Option<Made> {
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

pub(super) fn gather_nd(g: &mut Growing, _: &'static str) -> Option<Made> {
    if g.opset() < 11 {
        return None;
    }
    let x = g.any_floats()?;
    let at = position(g, &g.shape(x));
    Some(Made::of(vec![Port::Value(x), ints(at)]))
}

pub(super) fn scatter_nd(g: &mut Growing, _: &'static str) -> Option<Made> {
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
pub(super) fn concat(g: &mut Growing, _: &'static str) -> Option<Made> {
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
    let axis = if g.opset() >= 11 && g.chance(3) { axis as i64 - rank as i64 } else { axis as i64 };
    Some(Made::of(inputs).with("axis", Value::Int(axis)))
}

pub(super) fn split(g: &mut Growing, _: &'static str) -> Option<Made> {
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

pub(super) fn slice(g: &mut Growing, _: &'static str) -> Option<Made> {
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

pub(super) fn reshape(g: &mut Growing, _: &'static str) -> Option<Made> {
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

pub(super) fn flatten(g: &mut Growing, _: &'static str) -> Option<Made> {
    let x = g.any_floats()?;
    let axis = g.below(g.shape(x).len() + 1);
    Some(Made::of(vec![Port::Value(x)]).with("axis", Value::Int(axis as i64)))
}

pub(super) fn squeeze(g: &mut Growing, _: &'static str) -> Option<Made> {
    let x = g.value(|t| t.dtype == DataType::F32 && t.shape.contains(&1))?;
    let made = Made::of(vec![Port::Value(x)]);
    if g.chance(3) {
        return Some(made);
    }
    let axis = g.shape(x).iter().position(|&d| d == 1)?;
    Some(parameter(g, made, "axes", 13, vec![axis as i64]))
}

pub(super) fn unsqueeze(g: &mut Growing, _: &'static str) -> Option<Made> {
    let x = g.value(|t| t.dtype == DataType::F32 && t.rank() < 5)?;
    let axis = g.below(g.shape(x).len() + 1);
    let made = Made::of(vec![Port::Value(x)]);
    Some(parameter(g, made, "axes", 13, vec![axis as i64]))
}

pub(super) fn transpose(g: &mut Growing, _: &'static str) -> Option<Made> {
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

pub(super) fn expand(g: &mut Growing, _: &'static str) -> Option<Made> {
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

pub(super) fn tile(g: &mut Growing, _: &'static str) -> Option<Made> {
    let x = g.any_floats()?;
    let repeats = (0..g.shape(x).len()).map(|_| g.between(1, 2)).collect();
    Some(Made::of(vec![Port::Value(x), ints(repeats)]))
}

pub(super) fn pad(g: &mut Growing, _: &'static str) -> Option<Made> {
    let x = g.any_floats()?;
    let shape = g.shape(x);
    let mode = g.pick(&["constant", "constant", "reflect", "edge", "wrap"]);
    if mode == "wrap" && g.opset() < 19 {
        return None;
    }
    let by_axes = g.opset() >= 18 && mode == "constant" && g.chance(2);
    let axes: Vec<i64> =
        if by_axes { vec![g.axis(shape.len())] } else { (0..shape.len() as i64).collect() };
    let most = |axis: i64| match mode {
        "constant" | "edge" => 3,
        _ => shape[axis.rem_euclid(shape.len() as i64) as usize] - 1,
    };
    let one = |g: &mut Growing, axis: i64| {
        if g.chance(2) { 0 } else { g.between(0, most(axis).min(3)) }
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
