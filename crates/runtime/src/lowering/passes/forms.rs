//! In which form each operand is read and written, with steps between the forms.
use crate::RuntimeError;
use crate::lowering::rewriter::Rewriter;
use crate::steps::{Convert, Int8, Item, Work};
use crate::values::{Form, Operand, Values};
use ir::ValueId;
use std::collections::BTreeSet;

/// Settles the forms: quantized values wherever an item takes them, and a step that dequantizes where something needs f32.
pub(super) fn settle(r: &mut Rewriter<'_, '_>) -> Result<(), RuntimeError> {
    r.rebuild(|items, values| {
        let mut settled = Vec::with_capacity(items.len());
        let mut dequantized: BTreeSet<ValueId> = BTreeSet::new();
        for mut item in items {
            settle_item(&mut item, values);
            for &input in &item.inputs {
                let is_needed = input.form == Form::F32 && values.is_quantized(input);
                if is_needed && dequantized.insert(input.value) {
                    settled.push(dequantize(&item, input.value));
                }
            }
            let kept = item.outputs.iter().filter(|y| y.form == Form::U8);
            let kept = kept.map(|y| y.value).filter(|&y| values.is_kept(y));
            let new = kept.filter(|&y| dequantized.insert(y));
            let after: Vec<Item> = new.map(|y| dequantize(&item, y)).collect();
            settled.push(item);
            settled.extend(after);
        }
        Ok(settled)
    })
}

/// Gives an item's operands their forms. A Concat quantizes those of its inputs that are not.
fn settle_item(item: &mut Item, values: &Values<'_>) {
    let takes_u8 = match item.work.int8() {
        Int8::Always => true,
        Int8::Moves => item.outputs.iter().all(|&y| values.is_quantized(y)),
        _ => item.on_int8,
    };
    let operands = item.inputs.iter_mut().chain(&mut item.outputs);
    for operand in operands.filter(|v| takes_u8 && values.is_quantized(**v)) {
        operand.form = Form::U8;
    }
}

fn dequantize(near: &Item, value: ValueId) -> Item {
    Item {
        node: near.node,
        name: near.name.clone(),
        work: Work::Convert(Convert),
        on_int8: false,
        inputs: vec![Operand::u8(value)],
        outputs: vec![Operand::f32(value)],
        macs: 0,
    }
}

/// An image that is only read to be quantized is written as quantized values from the start.
pub(super) fn quantize_inputs(r: &mut Rewriter<'_, '_>) -> Result<(), RuntimeError> {
    for i in 0..r.inputs.len() {
        let input = r.inputs[i];
        let Some(reader) = r.only_reader(input) else {
            continue;
        };
        if r.values.rank(input) == 4 && matches!(r[reader].work, Work::Convert(_)) {
            r.inputs[i] = r[reader].output();
            r.remove(reader);
        }
    }
    Ok(())
}
