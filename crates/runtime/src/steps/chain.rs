//! Element-wise operations that follow each other, in one pass over memory.
use super::{FastStep, Int8, Item};
use crate::RuntimeError;
use crate::placement::Placement;
use crate::step::{Kernel, Operands};
use kernels::{BinaryOp, Link, UnaryOp, View};
use std::sync::Arc;

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

/// Operations on the item's first input; its others are the constants of the links, in order.
#[derive(Clone, Debug)]
pub(crate) struct Chain(pub(crate) Arc<[ChainLink]>);

impl FastStep for Chain {
    fn int8(&self) -> Int8 {
        Int8::None
    }

    fn place(&self, item: &Item, placement: &mut Placement<'_>) -> Result<(), RuntimeError> {
        let inputs = placement.broadcast(&item.inputs, item.output())?;
        let y = placement.place(item.output())?;
        let links = Arc::clone(&self.0);
        let kernel = Kernel::f32(format!("Chain of {}", links.len()), move |ctx, at| {
            let with_constants = with_constants(&links, at);
            let links = &with_constants[..links.len()];
            Ok(kernels::chain(ctx, at.x(), at.y(), links)?)
        });
        placement.emit_kernel(kernel, inputs, y)
    }
}

/// The links with their constants, which follow the first input; without memory of their own.
fn with_constants(links: &[ChainLink], at: &Operands<View>) -> [Link; MAX_LINKS] {
    let mut constants = at.inputs[1..].iter().copied();
    let mut next = || constants.next().expect("one constant for each link that has one");
    let mut filled = [Link::Unary(UnaryOp::Identity); MAX_LINKS];
    for (to, link) in filled.iter_mut().zip(links) {
        *to = match *link {
            ChainLink::Unary(op) => Link::Unary(op),
            ChainLink::With(op) => Link::With(op, next()),
            ChainLink::After(op) => Link::After(op, next()),
        };
    }
    filled
}
