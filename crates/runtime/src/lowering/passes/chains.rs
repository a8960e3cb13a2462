//! Element-wise operations that follow each other, as one item.
use crate::RuntimeError;
use crate::lowering::rewriter::Rewriter;
use crate::steps::{Binary, Chain, ChainLink, MAX_LINKS, Work};
use crate::values::{Form, Operand};
use kernels::UnaryOp;

/// An item as a link of a chain.
struct Link {
    /// What runs through it.
    x: Operand,
    operation: ChainLink,
    constant: Option<Operand>,
}

/// Joins operations of one f32 operand (and constants) that follow each other without another reader in between.
pub(super) fn join(r: &mut Rewriter<'_, '_>) -> Result<(), RuntimeError> {
    for i in r.positions() {
        if let Some(first) = link(r, i, None).filter(|_| r.contains(i)) {
            join_from(r, i, first);
        }
    }
    Ok(())
}

fn join_from(r: &mut Rewriter<'_, '_>, first: usize, link_of_first: Link) {
    let mut links = vec![link_of_first.operation];
    let mut inputs = vec![link_of_first.x];
    inputs.extend(link_of_first.constant);
    let mut last = first;
    while links.len() < MAX_LINKS {
        let out = r[last].output();
        let Some(next) = r.only_reader(out) else {
            break;
        };
        let Some(link) = link(r, next, Some(out)) else {
            break;
        };
        r.remove(last);
        links.push(link.operation);
        inputs.extend(link.constant);
        last = next;
    }
    if links.len() > 1 {
        r[last].work = Work::Chain(Chain(links.into()));
        r.set_inputs(last, inputs);
    }
}

/// An item as a link; `through` is what runs through it, where that is known.
fn link(r: &Rewriter<'_, '_>, i: usize, through: Option<Operand>) -> Option<Link> {
    let out = *r[i].outputs.first()?;
    let is_constant = |v: Operand| r.values.constant(v.value).is_some();
    let runs = |v: Operand| {
        v.form == Form::F32
            && !is_constant(v)
            && through.is_none_or(|through| through == v)
            && r.values.shape(v) == r.values.shape(out)
    };
    let link = |x, operation, constant| Some(Link { x, operation, constant });
    match (&r[i].work, r[i].inputs.as_slice()) {
        (Work::Unary(unary), &[x]) if runs(x) => {
            link(x, ChainLink::Unary(unary.vectorized()?), None)
        }
        (Work::FakeQuantize(quantize), &[x]) if runs(x) => {
            let operation = ChainLink::Unary(UnaryOp::FakeQuantize(quantize.0));
            link(x, operation, None)
        }
        (&Work::Binary(Binary(op)), &[a, b]) if runs(a) && is_constant(b) => {
            link(a, ChainLink::With(op), Some(b))
        }
        (&Work::Binary(Binary(op)), &[a, b]) if is_constant(a) && runs(b) => {
            link(b, ChainLink::After(op), Some(a))
        }
        _ => None,
    }
}
