//! Pooling, padding and spatial pyramid pooling (arXiv:1406.4729).
use super::cross_stage;
use super::scope::{Built, Scope};
use crate::CheckpointError;
use crate::module::Module;
use crate::tree::Value;
use ir::ops::{AveragePool, MaxPool, Pad, PadMode, Reduce, ReduceKind};
use ir::{Tensor, ValueId};

pub(super) fn max_pool(s: &mut Scope<'_, '_>, x: ValueId) -> Built {
    let m = s.module;
    let [ph, pw] = m.pair("padding")?;
    let op = MaxPool {
        kernel_shape: m.pair("kernel_size")?,
        strides: m.pair("stride")?.map(|s| s.max(1)),
        dilations: m.pair("dilation")?.map(|d| d.max(1)),
        pads: [ph, pw, ph, pw],
        ceil_mode: m.flag("ceil_mode"),
    };
    s.node(op, &[x])
}

pub(super) fn average_pool(s: &mut Scope<'_, '_>, x: ValueId) -> Built {
    let m = s.module;
    let divisor = m.attribute("divisor_override").map(|d| m.tree.value(d));
    if !matches!(divisor, None | Some(Value::None)) {
        return Err(m.unsupported("a divisor of its own"));
    }
    let [ph, pw] = m.pair("padding")?;
    let op = AveragePool {
        kernel_shape: m.pair("kernel_size")?,
        strides: m.pair("stride")?.map(|s| s.max(1)),
        dilations: [1, 1],
        pads: [ph, pw, ph, pw],
        ceil_mode: m.flag("ceil_mode"),
        count_include_pad: m.flag("count_include_pad"),
    };
    s.node(op, &[x])
}

/// The mean of each channel, `[N, C, 1, 1]`.
pub(super) fn global_average_pool(s: &mut Scope<'_, '_>, x: ValueId) -> Built {
    if s.module.pair("output_size")? != [1, 1] {
        return Err(s.module.unsupported("pooling to other than 1 × 1"));
    }
    let op = Reduce { kind: ReduceKind::Mean, axes: vec![2, 3], keepdims: true };
    s.node(op, &[x])
}

/// Rows and columns around the image: constant, mirrored, or those of the edge.
pub(super) fn pad(s: &mut Scope<'_, '_>, x: ValueId) -> Built {
    let m = s.module;
    let mode = match m.class {
        "ReflectionPad2d" => PadMode::Reflect,
        "ReplicationPad2d" => PadMode::Edge,
        _ => PadMode::Constant,
    };
    let value = match m.attribute("value") {
        Some(_) => m.number("value")? as f32,
        None => 0.0,
    };
    let sides = sides(m)?;
    pad_by(s, x, mode, sides, value)
}

/// Columns before and after, rows before and after, in the order in which the framework states them.
fn sides(m: &Module<'_>) -> Result<[i64; 4], CheckpointError> {
    let id = m.attribute("padding");
    let sequence = id.and_then(|p| m.tree.sequence(p)).unwrap_or(&[]);
    let numbers: Option<Vec<i64>> = sequence.iter().map(|&n| m.tree.int(n)).collect();
    let numbers = numbers.and_then(|n| <[i64; 4]>::try_from(n).ok());
    numbers.ok_or_else(|| m.unsupported("padding by other than four whole numbers"))
}

fn pad_by(
    s: &mut Scope<'_, '_>,
    x: ValueId,
    mode: PadMode,
    [left, right, top, bottom]: [i64; 4],
    value: f32,
) -> Built {
    let op = Pad {
        mode,
        pads: vec![[0, 0], [0, 0], [top, bottom], [left, right]],
        value: (value != 0.0).then(|| Tensor::scalar(value)),
    };
    s.node(op, &[x])
}

/// A row and a column of zeros behind the image.
pub(super) fn pad_after(s: &mut Scope<'_, '_>, x: ValueId) -> Built {
    pad_by(s, x, PadMode::Constant, [0, 1, 0, 1], 0.0)
}

/// A module that is its submodule `m`.
pub(super) fn wrapped(s: &mut Scope<'_, '_>, x: ValueId) -> Built {
    s.child("m", x)
}

/// Poolings of several sizes side by side.
pub(super) fn spp(s: &mut Scope<'_, '_>, x: ValueId) -> Built {
    let x = s.child("cv1", x)?;
    let all = side_by_side(s, x)?;
    s.child("cv2", all)
}

/// `x` and what each pooling of `m` makes of it.
fn side_by_side(s: &mut Scope<'_, '_>, x: ValueId) -> Built {
    let mut levels = vec![x];
    for pool in s.module.child("m")?.children()? {
        levels.push(s.run(&pool, x)?);
    }
    s.concat(&levels)
}

/// As SPP within one half of a cross-stage block (YOLOv7, arXiv:2207.02696).
pub(super) fn spp_csp(s: &mut Scope<'_, '_>, x: ValueId) -> Built {
    let through = s.chain(&["cv1", "cv3", "cv4"], x)?;
    let through = side_by_side(s, through)?;
    let through = s.chain(&["cv5", "cv6"], through)?;
    let past = s.child("cv2", x)?;
    let both = s.concat(&[through, past])?;
    s.child("cv7", both)
}

/// The same pooling several times in a row, which pools ever larger windows.
pub(super) fn sppf(s: &mut Scope<'_, '_>, x: ValueId) -> Built {
    let mut levels = vec![s.child("cv1", x)?];
    let count = match s.module.attribute("n") {
        Some(_) => s.module.count("n")?,
        None => 3,
    };
    for _ in 0..count {
        let last = levels[levels.len() - 1];
        levels.push(s.child("m", last)?);
    }
    let all = s.concat(&levels)?;
    let y = s.child("cv2", all)?;
    s.shortcut(x, y)
}

/// Poolings in a row between two convolutions (YOLOv9, arXiv:2402.13616).
pub(super) fn spp_elan(s: &mut Scope<'_, '_>, x: ValueId) -> Built {
    let mut levels = vec![s.child("cv1", x)?];
    cross_stage::named_stages(s, &["cv2", "cv3", "cv4"], &mut levels)?;
    let all = s.concat(&levels)?;
    s.child("cv5", all)
}
