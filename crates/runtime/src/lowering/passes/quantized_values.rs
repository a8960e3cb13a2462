//! Which values are quantized, and what makes them so.
use crate::RuntimeError;
use crate::lowering::rewriter::Rewriter;
use crate::steps::{Convert, Int8, Item, Work};
use kernels::U8Params;

/// The parameters of a fake quantization that u8 can hold.
pub(super) fn u8_params(item: &Item) -> Option<U8Params> {
    match &item.work {
        Work::FakeQuantize(quantize) => quantize.u8_params(),
        _ => None,
    }
}

/// Finds the values that are quantized, and drops fake quantization of what is quantized like that already.
pub(super) fn find(r: &mut Rewriter<'_, '_>) -> Result<(), RuntimeError> {
    for i in r.positions() {
        let item = &r[i];
        let first = item.inputs.first();
        let first = first.and_then(|x| r.values.params.get(&x.value).copied());
        if let Some(params) = u8_params(item) {
            let (x, y) = (item.inputs[0], item.output());
            if first == Some(params) {
                r.redirect(y, x);
                if r.values.is_kept(y.value) {
                    r[i].work = Work::Convert(Convert);
                } else {
                    r.remove(i);
                }
            } else {
                r.values.params.insert(y.value, params);
            }
        } else if let (Some(first), Int8::Moves) = (first, item.work.int8()) {
            let params = &r.values.params;
            let is_alike = item.inputs.iter().all(|v| params.get(&v.value) == Some(&first));
            if is_alike {
                let outputs: Vec<_> = item.outputs.iter().map(|y| (y.value, first)).collect();
                r.values.params.extend(outputs);
            }
        }
    }
    Ok(())
}

/// Lets a Concat that is quantized afterwards write quantized values: its inputs become such one by one.
pub(super) fn quantize_concats(r: &mut Rewriter<'_, '_>) -> Result<(), RuntimeError> {
    for i in r.positions() {
        let output = r[i].outputs.first().filter(|_| matches!(r[i].work, Work::Concat(_)));
        let next = output.and_then(|&y| r.only_reader(y));
        if let Some(next) = next.filter(|&next| u8_params(&r[next]).is_some()) {
            r.fuse(next, i);
        }
    }
    Ok(())
}

/// What is still imitated becomes a step from f32 to quantized values.
pub(super) fn quantize_rest(r: &mut Rewriter<'_, '_>) -> Result<(), RuntimeError> {
    for i in r.positions() {
        if u8_params(&r[i]).is_some() {
            r[i].work = Work::Convert(Convert);
        }
    }
    Ok(())
}
