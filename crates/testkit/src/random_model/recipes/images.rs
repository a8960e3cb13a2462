//! What reads images through windows, and what gives them another size.
use super::{Growing, Made, Port, ints, quantized, weights};
use crate::model::{Content, Value};
use ir::DataType;

/// By scales or by sizes, of two axes or of all, in every coordinate mode.
pub(super) fn resize(g: &mut Growing, _: &'static str) -> Option<Made> {
    let opset = g.opset();
    let x = g.floats(4)?;
    let shape = g.shape(x);
    let by_sizes = opset >= 11 && g.chance(2);
    let by_axes = opset >= 18 && g.chance(2);
    let axes = if by_axes { vec![2, 3] } else { vec![0, 1, 2, 3] };
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
        (false, false) if opset < 13 => {
            vec![Port::Value(x), Port::Constant(Content::Vector(vec![])), scales]
        }
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
        let coordinates =
            g.pick(&["half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"]);
        made = made.with("coordinate_transformation_mode", Value::Text(coordinates));
        if mode == "nearest" {
            let nearest = g.pick(&["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"]);
            made = made.with("nearest_mode", Value::Text(nearest));
        }
    }
    Some(made)
}

pub(super) fn upsample(g: &mut Growing, _: &'static str) -> Option<Made> {
    if g.opset() != 9 {
        return None;
    }
    let x = g.floats(4)?;
    let scale = |g: &mut Growing| g.pick(&[1.0, 1.5, 2.0, 2.25]);
    let scales = vec![1.0, 1.0, scale(g), scale(g)];
    let mode = g.pick(&["nearest", "linear"]);
    let made = Made::of(vec![Port::Value(x), Port::Constant(Content::Vector(scales))]);
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

pub(super) fn conv(g: &mut Growing, _: &'static str) -> Option<Made> {
    let x = g.floats(4)?;
    let channels = g.shape(x)[1];
    let divides: Vec<i64> = (1..=channels).filter(|d| channels % d == 0).collect();
    let group = g.pick(&divides);
    let out = group * g.between(1, 3);
    let k = kernel(g);
    let mut inputs = vec![Port::Value(x), weights(&[out, channels / group, k[0], k[1]])];
    if g.chance(2) {
        inputs.push(weights(&[out]));
    }
    let made = Made::of(inputs).with("group", Value::Int(group));
    Some(window(g, made, k, true))
}

pub(super) fn conv_transpose(g: &mut Growing, _: &'static str) -> Option<Made> {
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

pub(super) fn pool(g: &mut Growing, op: &'static str) -> Option<Made> {
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

pub(super) fn image(g: &mut Growing, _: &'static str) -> Option<Made> {
    Some(Made::of(vec![Port::Value(g.floats(4)?)]))
}

pub(super) fn conv_integer(g: &mut Growing, _: &'static str) -> Option<Made> {
    let x = g.value(|t| t.dtype == DataType::U8 && t.rank() == 4)?;
    let channels = g.shape(x)[1];
    let out = g.between(1, 4);
    let k = kernel(g);
    let weight = quantized(g, &[out, channels, k[0], k[1]])?;
    let made = Made::of(vec![Port::Value(x), weight]);
    Some(window(g, made, k, true))
}
