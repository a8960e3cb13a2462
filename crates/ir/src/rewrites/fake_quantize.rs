//! A quantizer and its dequantizer are one function of real numbers.
use super::Rewrite;
use crate::ops::{FakeQuantize, Op};
use crate::{Edit, Graph, NodeId};

/// `DequantizeLinear(QuantizeLinear(x))` with the same parameters becomes `FakeQuantize(x)`; the QuantizeLinear stays where
/// something else reads its integers.
pub(super) const FAKE_QUANTIZE: Rewrite = Rewrite { name: "fake_quantize", find };

fn find(graph: &Graph, id: NodeId) -> Option<Edit> {
    let node = graph.node(id);
    let Op::DequantizeLinear(dequantize) = &node.op else {
        return None;
    };
    let source = graph.node(graph.producer(node.inputs[0])?);
    let Op::QuantizeLinear(quantize) = &source.op else {
        return None;
    };
    if quantize.params != dequantize.params {
        return None;
    }
    let params = quantize.params.clone();
    let mut edit = graph.edit();
    edit.set_op(id, FakeQuantize { params });
    edit.set_inputs(id, &[source.inputs[0]]);
    Some(edit)
}
