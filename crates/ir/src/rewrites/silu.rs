//! `x * sigmoid(x)` is SiLU (arXiv:1702.03118); YOLO exports spell it as two nodes.
use super::Rewrite;
use crate::ops::{Binary, BinaryKind, Op, Unary, UnaryKind};
use crate::{Edit, Graph, NodeId};

/// `Mul(x, Sigmoid(x))` becomes one node.
pub const SILU: Rewrite = Rewrite { name: "silu", find };

fn find(graph: &Graph, id: NodeId) -> Option<Edit> {
    let mul = graph.node(id);
    if !matches!(mul.op, Op::Binary(Binary { kind: BinaryKind::Mul })) {
        return None;
    }
    let gate_of = |gate: usize, x: usize| {
        let producer = graph.node(graph.producer(mul.inputs[gate])?);
        let is_sigmoid = matches!(producer.op, Op::Unary(Unary { kind: UnaryKind::Sigmoid }));
        (is_sigmoid && producer.inputs[0] == mul.inputs[x]).then_some(mul.inputs[x])
    };
    let x = gate_of(1, 0).or_else(|| gate_of(0, 1))?;
    let mut edit = graph.edit();
    edit.set_op(id, UnaryKind::Silu);
    edit.set_inputs(id, &[x]);
    Some(edit)
}
