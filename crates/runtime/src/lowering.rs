//! From the graph to the list of what is executed: constants are folded, every node becomes an item, and passes fuse items.
use crate::RuntimeError;
use crate::steps::Item;
use crate::values::{Operand, Values};
use ir::{Graph, Op, ValueId};
use std::collections::BTreeSet;

mod in_place;
mod passes;
mod rewriter;

pub(crate) use in_place::destinations;

use passes::PASSES;
use rewriter::Rewriter;

/// What is executed, in order, and the values it reads and writes.
pub(crate) struct Lowered<'g> {
    pub(crate) values: Values<'g>,
    pub(crate) items: Vec<Item>,
    /// How each input of the model is held.
    pub(crate) inputs: Vec<Operand>,
}

/// Lowers a graph; values in `observe` stay values of their own. Where `integer`, what lies between quantization steps runs on
/// quantized values; otherwise quantization is imitated in f32.
///
/// # Errors
/// `Opaque` for a node that is not known, `Constants` where folding constants would take more than the machine has, `DType` for
/// values of other types than f32 that nothing brings back to f32.
pub(crate) fn lower<'g>(
    graph: &'g Graph,
    observe: &[ValueId],
    integer: bool,
) -> Result<Lowered<'g>, RuntimeError> {
    let mut values = Values::new(graph, observe);
    let mut items = Vec::new();
    for (id, node) in graph.nodes() {
        if let Op::Opaque(op) = &node.op {
            return Err(RuntimeError::Opaque {
                node: node.name.clone(),
                op_type: op.op_type.clone(),
            });
        }
        if !values.fold(id, node)? {
            items.push(Item::new(id, node, &values));
        }
    }
    let mut lowered = Lowered {
        values,
        items,
        inputs: graph.inputs().iter().copied().map(Operand::f32).collect(),
    };
    for pass in PASSES.iter().filter(|pass| integer || !pass.is_int8) {
        let mut rewriter = Rewriter::new(&mut lowered);
        (pass.run)(&mut rewriter)?;
        rewriter.finish();
        if cfg!(debug_assertions) {
            lowered.check(pass.name);
        }
    }
    Ok(lowered)
}

impl Lowered<'_> {
    /// Checks that every operand is written once and before it is read, and that what is kept is there. Which form it is in is
    /// decided by a late pass, so values count, not operands.
    fn check(&self, pass: &str) {
        let graph = self.values.graph;
        let name = |v: ValueId| &graph.value(v).name;
        let mut known: BTreeSet<ValueId> = graph.inputs().iter().copied().collect();
        known.extend(self.inputs.iter().map(|v| v.value));
        let mut written: BTreeSet<Operand> = BTreeSet::new();
        for item in &self.items {
            for v in item.inputs.iter().map(|v| v.value) {
                let is_stored = self.values.is_packable(v);
                assert!(
                    is_stored || known.contains(&v),
                    "pass `{pass}`: `{}` reads `{}`, which is not there",
                    item.name,
                    name(v)
                );
            }
            for &y in &item.outputs {
                assert!(written.insert(y), "pass `{pass}`: `{}` is written twice", name(y.value));
                known.insert(y.value);
            }
        }
        for &v in graph.outputs() {
            let is_there = known.contains(&v) || self.values.is_packable(v);
            assert!(is_there, "pass `{pass}` loses output `{}`", name(v));
        }
    }
}
