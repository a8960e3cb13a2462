//! `x * tanh(ln(1 + e^x))` is Mish (arXiv:1908.08681); exports before opset 18 spell it as three nodes.
use super::Rewrite;
use crate::ops::{Binary, BinaryKind, Op, Transcendental, TranscendentalKind, Unary, UnaryKind};
use crate::{Edit, Graph, NodeId, ValueId};

/// `Mul(x, Tanh(Softplus(x)))` becomes one node.
pub const MISH: Rewrite = Rewrite { name: "mish", find };

fn find(graph: &Graph, id: NodeId) -> Option<Edit> {
    let mul = graph.node(id);
    let product = Binary {
        kind: BinaryKind::Mul,
    };
    if mul.op != Op::Binary(product) {
        return None;
    }
    let gated = |gate: usize, x: usize| {
        let tanh = Unary {
            kind: UnaryKind::Tanh,
        };
        let softplus = Transcendental {
            kind: TranscendentalKind::Softplus,
        };
        let inner = input_of(graph, mul.inputs[gate], &tanh.into())?;
        let source = input_of(graph, inner, &softplus.into())?;
        (source == mul.inputs[x]).then_some(source)
    };
    let x = gated(1, 0).or_else(|| gated(0, 1))?;
    let mut edit = graph.edit();
    let kind = TranscendentalKind::Mish;
    edit.set_op(id, Transcendental { kind });
    edit.set_inputs(id, &[x]);
    Some(edit)
}

/// What the node that gives `v` reads, if it is this operator.
fn input_of(graph: &Graph, v: ValueId, op: &Op) -> Option<ValueId> {
    let node = graph.node(graph.producer(v)?);
    (node.op == *op).then(|| node.inputs[0])
}
