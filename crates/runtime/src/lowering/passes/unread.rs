//! Items that nothing reads, such as a gate that went into a table.
use crate::RuntimeError;
use crate::lowering::rewriter::Rewriter;
use ir::ValueId;
use std::collections::BTreeSet;

/// Removes them, the last first, so that what they read goes too.
pub(super) fn remove(r: &mut Rewriter<'_, '_>) -> Result<(), RuntimeError> {
    let mut read: BTreeSet<ValueId> = BTreeSet::new();
    for i in r.positions().rev() {
        let mut outputs = r[i].outputs.iter().map(|y| y.value);
        if outputs.any(|y| read.contains(&y) || r.values.is_kept(y)) {
            read.extend(r[i].inputs.iter().map(|x| x.value));
        } else {
            r.remove(i);
        }
    }
    Ok(())
}
