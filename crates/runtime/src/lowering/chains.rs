//! Element-wise operations that follow each other, as one item.
use super::fuse::remove;
use super::{Form, Item, Lowered, Operand, Wiring, Work};
use ir::{Op, ValueId};
use kernels::{BinaryOp, UnaryOp};
use std::collections::BTreeSet;

/// Longest chain.
pub(crate) const MAX_LINKS: usize = 8;

/// One operation of a chain on the running value.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ChainLink {
    Unary(UnaryOp),
    /// With the item's next constant as second operand.
    With(BinaryOp),
    /// With the item's next constant as first operand.
    After(BinaryOp),
}

/// Joins operations of one f32 operand (and constants) that follow each other without another reader in between.
pub(super) fn chains(lowered: &mut Lowered<'_>, keep: &BTreeSet<ValueId>) {
    let wiring = Wiring::new(&lowered.items);
    let mut gone = vec![false; lowered.items.len()];
    for i in 0..lowered.items.len() {
        if gone[i] {
            continue;
        }
        let Some((x, link, constant)) = link(lowered, &lowered.items[i], None) else {
            continue;
        };
        let (mut links, mut inputs) = (vec![link], vec![x]);
        inputs.extend(constant);
        let mut last = i;
        while links.len() < MAX_LINKS {
            let out = lowered.items[last].outputs[0];
            let next = wiring
                .only_reader(out)
                .filter(|_| !keep.contains(&out.value));
            let Some(next) = next else { break };
            let Some((_, link, constant)) = self::link(lowered, &lowered.items[next], Some(out))
            else {
                break;
            };
            gone[last] = true;
            links.push(link);
            inputs.extend(constant);
            last = next;
        }
        if links.len() > 1 {
            let item = &mut lowered.items[last];
            item.work = Work::Chain(links);
            item.inputs = inputs;
        }
    }
    remove(lowered, gone);
}

/// An item as a link: what runs through it (`through`, where that is known), the operation and its constant.
fn link(
    lowered: &Lowered<'_>,
    item: &Item,
    through: Option<Operand>,
) -> Option<(Operand, ChainLink, Option<Operand>)> {
    let out = *item.outputs.first()?;
    let shape = |v: Operand| lowered.graph.ty(v.value).ok().map(|t| &t.shape);
    let runs = |v: Operand| {
        v.form == Form::F32
            && lowered.constant(v.value).is_none()
            && through.is_none_or(|through| through == v)
            && shape(v) == shape(out)
    };
    match (&item.work, item.inputs.as_slice()) {
        (Work::Unary(op), &[x]) if runs(x) => Some((x, ChainLink::Unary(*op), None)),
        (Work::Node(Op::Binary(binary)), &[a, b]) => {
            let op = crate::schedule::binary_op(binary.kind);
            let constant = |v: Operand| lowered.constant(v.value).is_some();
            if runs(a) && constant(b) {
                Some((a, ChainLink::With(op), Some(b)))
            } else if constant(a) && runs(b) {
                Some((b, ChainLink::After(op), Some(a)))
            } else {
                None
            }
        }
        _ => None,
    }
}
