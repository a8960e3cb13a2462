//! `x * tanh(ln(1 + e^x))` is Mish (arXiv:1908.08681); exports before opset 18 spell it as three nodes.
use super::Rewrite;
use crate::ops::{Binary, BinaryKind, Op, UnaryKind};
use crate::{Edit, Graph, NodeId, ValueId};

/// `Mul(x, Tanh(Softplus(x)))` becomes one node.
pub const MISH: Rewrite = Rewrite { name: "mish", find };

fn find(graph: &Graph, id: NodeId) -> Option<Edit> {
    let mul = graph.node(id);
    let product = Binary { kind: BinaryKind::Mul };
    if mul.op != Op::Binary(product) {
        return None;
    }
    let gated = |gate: usize, x: usize| {
        let inner = input_of(graph, mul.inputs[gate], UnaryKind::Tanh)?;
        let source = input_of(graph, inner, UnaryKind::Softplus)?;
        (source == mul.inputs[x]).then_some(source)
    };
    let x = gated(1, 0).or_else(|| gated(0, 1))?;
    let mut edit = graph.edit();
    edit.set_op(id, UnaryKind::Mish);
    edit.set_inputs(id, &[x]);
    Some(edit)
}

/// What the node that gives `v` reads, if it is this function.
fn input_of(graph: &Graph, v: ValueId, function: UnaryKind) -> Option<ValueId> {
    let node = graph.node(graph.producer(v)?);
    (node.op == Op::from(function)).then(|| node.inputs[0])
}
