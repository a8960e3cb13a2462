//! One fake quantization for all readers of a value, where each has a dequantizer of its own.
use crate::RuntimeError;
use crate::lowering::rewriter::Rewriter;
use crate::steps::{FakeQuantize, Work};
use crate::values::Operand;
use std::collections::BTreeMap;

/// Lets all readers read the first.
pub(super) fn share(r: &mut Rewriter<'_, '_>) -> Result<(), RuntimeError> {
    let mut first: BTreeMap<Operand, Vec<(FakeQuantize, Operand)>> = BTreeMap::new();
    for i in r.positions() {
        let Work::FakeQuantize(quantize) = r[i].work else {
            continue;
        };
        let (x, y) = (r[i].inputs[0], r[i].output());
        let known = first.entry(x).or_default();
        match known.iter().find(|(other, _)| *other == quantize) {
            Some(&(_, shared)) if !r.values.is_kept(y.value) => {
                r.redirect(y, shared);
                r.remove(i);
            }
            Some(_) => {}
            None => known.push((quantize, y)),
        }
    }
    Ok(())
}
