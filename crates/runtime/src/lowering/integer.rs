//! From imitated quantization to integers: which values are held as u8, and what runs on them.
use super::fuse::{drop_unread, remove};
use super::{Item, Lowered, Operand, Wiring, Work, focus};
use crate::RuntimeError;
use ir::ops::ResizeMode;
use ir::{Op, ValueId};
use kernels::{FakeQuantize, U8Params, UnaryOp};
use std::collections::{BTreeMap, BTreeSet};

mod conv;
mod forms;
mod tables;

pub(crate) use conv::QuantizedWeight;
pub(super) use forms::forms;
pub(crate) use tables::{Table, quantize, requantize};

/// Turns items whose operands are quantized values into their integer kinds; the forms of operands are settled by [`forms`].
pub(super) fn lower(
    lowered: &mut Lowered<'_>,
    keep: &BTreeSet<ValueId>,
) -> Result<(), RuntimeError> {
    classify(lowered, keep);
    focus::read_images(lowered, keep);
    quantized_concats(lowered, keep);
    tables::collapse(lowered)?;
    drop_unread(lowered, keep);
    pairs(lowered, keep);
    conv::form(lowered, keep)?;
    quantize_rest(lowered);
    tables::into_convolutions(lowered, keep);
    conv::add_residuals(lowered, keep);
    tables::into_concats(lowered, keep);
    Ok(())
}

/// The quantized values of a grid, as u8: signed quantized values are moved up by 128, which changes no real value.
fn u8_params(grid: &FakeQuantize) -> Option<U8Params> {
    let shift = match (grid.q_min, grid.q_max) {
        (0.0, 255.0) => 0.0,
        (-128.0, 127.0) => 128.0,
        _ => return None,
    };
    Some(U8Params {
        scale: grid.scale,
        zero_point: (grid.zero_point + shift) as u8,
    })
}

/// The grid of a fake quantization that quantized values can hold.
fn grid(item: &Item) -> Option<U8Params> {
    match &item.work {
        Work::Unary(UnaryOp::FakeQuantize(grid)) => u8_params(grid),
        _ => None,
    }
}

/// Whether every element of the outputs is an element of an input, so that quantized values stay u8.
fn moves_values(item: &Item) -> bool {
    let Work::Node(op) = &item.work else {
        return false;
    };
    match op {
        Op::MaxPool(_) | Op::Concat(_) | Op::Split(_) | Op::Transpose(_) | Op::Reshape(_) => true,
        Op::Slice(slice) => slice.ranges.iter().all(|r| r.step > 0),
        Op::Resize(resize) => matches!(resize.mode, ResizeMode::Nearest(_)),
        _ => false,
    }
}

/// Finds the values that are held as u8, and drops fake quantization of what is already on its grid.
fn classify(lowered: &mut Lowered<'_>, keep: &BTreeSet<ValueId>) {
    let mut same: BTreeMap<Operand, Operand> = BTreeMap::new();
    let mut gone = vec![false; lowered.items.len()];
    let params = &mut lowered.params;
    for (item, gone) in lowered.items.iter_mut().zip(&mut gone) {
        for v in &mut item.inputs {
            *v = same.get(v).copied().unwrap_or(*v);
        }
        let first = item
            .inputs
            .first()
            .and_then(|x| params.get(&x.value).copied());
        if let Some(grid) = grid(item) {
            let (x, y) = (item.inputs[0], item.outputs[0]);
            if first != Some(grid) {
                params.insert(y.value, grid);
                continue;
            }
            same.insert(y, x);
            *gone = !keep.contains(&y.value);
            item.work = Work::Dequantize;
        } else if let Some(first) = first.filter(|_| moves_values(item)) {
            let alike = |v: &Operand| params.get(&v.value) == Some(&first);
            if item.inputs.iter().all(alike) {
                params.extend(item.outputs.iter().map(|y| (y.value, first)));
            }
        }
    }
    remove(lowered, gone);
}

/// Lets a Concat that is quantized afterwards write quantized values: its inputs become quantized values one by one.
fn quantized_concats(lowered: &mut Lowered<'_>, keep: &BTreeSet<ValueId>) {
    let wiring = Wiring::new(&lowered.items);
    let mut gone = vec![false; lowered.items.len()];
    for i in 0..lowered.items.len() {
        let item = &lowered.items[i];
        let out = match &item.work {
            Work::Node(Op::Concat(_)) if !keep.contains(&item.outputs[0].value) => item.outputs[0],
            _ => continue,
        };
        let Some(next) = wiring.only_reader(out) else {
            continue;
        };
        if grid(&lowered.items[next]).is_some() {
            lowered.items[i].outputs = lowered.items[next].outputs.clone();
            gone[next] = true;
        }
    }
    remove(lowered, gone);
}

/// Operations on two quantized values: element-wise ones whose result is quantized, and products.
fn pairs(lowered: &mut Lowered<'_>, keep: &BTreeSet<ValueId>) {
    let wiring = Wiring::new(&lowered.items);
    let mut gone = vec![false; lowered.items.len()];
    for i in 0..lowered.items.len() {
        let item = &lowered.items[i];
        let out = item.outputs[0];
        let mut held = item
            .inputs
            .iter()
            .map(|v| lowered.params.contains_key(&v.value));
        if !held.all(|held| held) {
            continue;
        }
        let next = wiring
            .only_reader(out)
            .filter(|_| !keep.contains(&out.value));
        let quantized = next.and_then(|n| grid(&lowered.items[n]).map(|grid| (n, grid)));
        let work = match (&item.work, quantized) {
            (Work::Node(Op::Binary(binary)), Some(_)) => {
                Work::QBinary(crate::schedule::binary_op(binary.kind))
            }
            (Work::Node(Op::MatMul(_)), _) if is_product_of_matrices(lowered, item) => {
                Work::QMatMul(quantized.map(|(_, grid)| grid))
            }
            _ => continue,
        };
        lowered.items[i].work = work;
        if let Some((next, _)) = quantized {
            lowered.items[i].outputs = lowered.items[next].outputs.clone();
            gone[next] = true;
        }
    }
    remove(lowered, gone);
}

/// Whether both operands have rows and columns, as the kernel needs them.
fn is_product_of_matrices(lowered: &Lowered<'_>, item: &Item) -> bool {
    let rank = |v: &Operand| lowered.graph.ty(v.value).map_or(0, |t| t.rank());
    item.inputs.iter().all(|v| rank(v) >= 2)
}

/// What is still imitated becomes a step from f32 to u8.
fn quantize_rest(lowered: &mut Lowered<'_>) {
    for item in &mut lowered.items {
        if grid(item).is_some() {
            item.work = Work::Quantize;
        }
    }
}
