//! A vector of parameters that several layers read becomes one for each: exporters merge equal constants, such as biases of zeros.
use super::Rewrite;
use crate::ops::Op;
use crate::{Edit, Graph, NodeId};

/// A convolution's bias, or a parameter of a BatchNormalization, that an earlier node reads too is copied. Weights stay shared: layers
/// that are one layer at several scales read them, whereas equal vectors say nothing of their layers, which pruning would couple.
pub const OWN_PARAMETERS: Rewrite = Rewrite { name: "own_parameters", find };

fn find(graph: &Graph, id: NodeId) -> Option<Edit> {
    let node = graph.node(id);
    let first = match node.op {
        Op::Conv(_) | Op::ConvTranspose(_) => 2,
        Op::BatchNormalization(_) => 1,
        _ => return None,
    };
    let mut inputs = node.inputs.clone();
    let mut edit = graph.edit();
    for i in first..inputs.len() {
        let Some(vector) = graph.constant(inputs[i]) else {
            continue;
        };
        let is_read_here = inputs[..i].contains(&inputs[i]);
        let mut others = graph.nodes().take_while(|(other, _)| *other != id);
        if is_read_here || others.any(|(_, other)| other.inputs.contains(&inputs[i])) {
            inputs[i] = edit.constant(&graph.value(inputs[i]).name, vector.clone());
        }
    }
    (inputs != node.inputs).then(|| {
        edit.set_inputs(id, &inputs);
        edit
    })
}
