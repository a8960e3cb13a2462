//! BatchNormalization with constant statistics that no convolution took in: a multiplication and an addition.
use super::{Binary, FastStep, Int8, Item, OfNode};
use crate::RuntimeError;
use crate::placement::Placement;
use crate::values::{Operand, Values};
use ir::{Node, Op};
use kernels::BinaryOp;
use std::sync::Arc;

/// `scale * x + shift`, one of each for every channel.
#[derive(Clone, Debug)]
pub(crate) struct BatchNormalization {
    pub(crate) scale: Arc<[f32]>,
    pub(crate) shift: Arc<[f32]>,
}

impl OfNode for BatchNormalization {
    fn lower(node: &Node, operands: &mut Vec<Operand>, values: &Values<'_>) -> Option<Self> {
        let Op::BatchNormalization(op) = &node.op else {
            return None;
        };
        let numbers = |v: &Operand| values.constant(v.value)?.to_f64().ok();
        let parameters: Option<Vec<Vec<f64>>> = operands[1..].iter().map(numbers).collect();
        let [gamma, beta, mean, variance] = parameters?.try_into().ok()?;
        let factors = op.factors(&gamma, &variance);
        let channels = beta.iter().zip(&mean).zip(&factors);
        operands.truncate(1);
        Some(Self {
            shift: channels.map(|((b, m), f)| (b - m * f) as f32).collect(),
            scale: factors.iter().map(|&f| f as f32).collect(),
        })
    }
}

impl FastStep for BatchNormalization {
    fn int8(&self) -> Int8 {
        Int8::None
    }

    fn place(&self, item: &Item, placement: &mut Placement<'_>) -> Result<(), RuntimeError> {
        let x = placement.read(item.inputs[0])?;
        let y = placement.place(item.output())?;
        let mut from = x;
        for (op, data) in [(BinaryOp::Mul, &self.scale), (BinaryOp::Add, &self.shift)] {
            let mut shape = vec![1; x.view.shape.len() - 1];
            shape[0] = data.len();
            let constant = placement.constant(&shape, data)?;
            let constant = placement.broadcast_view(constant, &x.view.shape)?;
            placement.emit_kernel(Binary(op).kernel(), vec![from, constant], y)?;
            from = y;
        }
        Ok(())
    }
}
