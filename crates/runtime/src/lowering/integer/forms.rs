//! In which form each operand is read and written, with the steps between the forms.
use super::moves_values;
use crate::lowering::fuse::{drop_unread, remove};
use crate::lowering::{Form, Item, Lowered, Operand, Wiring, Work};
use ir::ValueId;
use kernels::U8Params;
use std::collections::{BTreeMap, BTreeSet};

/// Settles the forms: quantized values wherever the work takes them, and a step that dequantizes where something reads f32.
pub(in crate::lowering) fn forms(lowered: &mut Lowered<'_>, keep: &BTreeSet<ValueId>) {
    drop_unread(lowered, keep);
    let items = std::mem::take(&mut lowered.items);
    let mut dequantized: BTreeSet<ValueId> = BTreeSet::new();
    for mut item in items {
        let u8_out = settle(&mut item, &lowered.params);
        for input in item.inputs.clone() {
            let held_as_u8 = lowered.params.contains_key(&input.value);
            if input.form == Form::F32 && held_as_u8 && dequantized.insert(input.value) {
                let step = dequantize(&item, input.value);
                lowered.items.push(step);
            }
        }
        let kept: Vec<ValueId> = item.outputs.iter().map(|y| y.value).collect();
        lowered.items.push(item);
        for value in kept.into_iter().filter(|v| u8_out && keep.contains(v)) {
            if dequantized.insert(value) {
                let last = lowered.items.last().expect("just pushed").clone();
                lowered.items.push(dequantize(&last, value));
            }
        }
    }
    quantize_inputs(lowered, keep);
}

/// Gives an item's operands their forms; tells whether its outputs are u8.
fn settle(item: &mut Item, params: &BTreeMap<ValueId, U8Params>) -> bool {
    let held = |v: &Operand| params.contains_key(&v.value);
    let moves = moves_values(item) && item.outputs.iter().all(held);
    let (u8_in, u8_out) = match &item.work {
        Work::QConv(conv) => (true, conv.output.is_some()),
        Work::Table(_) | Work::QBinary(_) => (true, true),
        Work::QMatMul(output) => (true, output.is_some()),
        Work::Quantize => (false, true),
        Work::Dequantize => (true, false),
        // A Concat quantizes those of its inputs that are not u8.
        _ => (moves, moves),
    };
    for input in item.inputs.iter_mut().filter(|v| u8_in && held(v)) {
        input.form = Form::U8;
    }
    for output in item.outputs.iter_mut().filter(|_| u8_out) {
        output.form = Form::U8;
    }
    u8_out
}

fn dequantize(near: &Item, value: ValueId) -> Item {
    Item {
        node: near.node,
        name: near.name.clone(),
        work: Work::Dequantize,
        inputs: vec![Operand::u8(value)],
        outputs: vec![Operand::f32(value)],
        macs: 0,
    }
}

/// An image that is only read to be quantized is written as quantized values from the start.
fn quantize_inputs(lowered: &mut Lowered<'_>, keep: &BTreeSet<ValueId>) {
    let wiring = Wiring::new(&lowered.items);
    let mut gone = vec![false; lowered.items.len()];
    for input in &mut lowered.inputs {
        let reader = wiring
            .only_reader(*input)
            .filter(|_| !keep.contains(&input.value));
        let Some(reader) = reader else { continue };
        let is_image = lowered.graph.ty(input.value).is_ok_and(|t| t.rank() == 4);
        if is_image && matches!(lowered.items[reader].work, Work::Quantize) {
            gone[reader] = true;
            *input = lowered.items[reader].outputs[0];
        }
    }
    remove(lowered, gone);
}
