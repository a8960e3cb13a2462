//! Element-wise operations that follow each other, in one pass over memory.
use super::{FastStep, Int8, Item};
use crate::RuntimeError;
use crate::placement::Placement;
use crate::step::{Kernel, KernelInfo, Operands, StepError};
use crate::values::{Operand, Values};
use ir::Node;
use kernels::{BinaryOp, Context, Link, UnaryOp, View};
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
    fn lower(_node: &Node, _operands: &mut Vec<Operand>, _values: &Values<'_>) -> Option<Self> {
        None
    }

    fn int8(&self) -> Int8 {
        Int8::None
    }

    fn place(&self, item: &Item, placement: &mut Placement<'_>) -> Result<(), RuntimeError> {
        let inputs = placement.broadcast(&item.inputs, item.output())?;
        let y = placement.place(item.output())?;
        placement.emit_kernel(self.clone(), inputs, y)
    }
}

impl Kernel for Chain {
    fn info(&self) -> KernelInfo {
        KernelInfo::f32(format!("Chain of {}", self.0.len()))
    }

    fn run(&self, ctx: &mut Context<'_>, at: &Operands<View>) -> Result<(), StepError> {
        let mut constants = at.inputs[1..].iter().copied();
        let mut next = || {
            constants
                .next()
                .expect("one constant for each link that has one")
        };
        let mut links = [Link::Unary(UnaryOp::Identity); MAX_LINKS];
        for (to, link) in links.iter_mut().zip(self.0.iter()) {
            *to = match *link {
                ChainLink::Unary(op) => Link::Unary(op),
                ChainLink::With(op) => Link::With(op, next()),
                ChainLink::After(op) => Link::After(op, next()),
            };
        }
        Ok(kernels::chain(ctx, at.x(), at.y(), &links[..self.0.len()])?)
    }
}
