//! SiLU by its piecewise quadratic neighbour (arXiv:1905.02244, section 5.2): another function, so only on request.
use super::Rewrite;
use crate::ops::{Op, Unary, UnaryKind};
use crate::{Edit, Graph, NodeId};

/// `Silu(x)` becomes `HardSwish(x)`, which differs from it by at most 0.143.
pub const HARD_SWISH: Rewrite = Rewrite { name: "hard_swish", find };

fn find(graph: &Graph, id: NodeId) -> Option<Edit> {
    let silu = Op::Unary(Unary { kind: UnaryKind::Silu });
    (graph.node(id).op == silu).then(|| {
        let mut edit = graph.edit();
        edit.set_op(id, UnaryKind::HardSwish);
        edit
    })
}
