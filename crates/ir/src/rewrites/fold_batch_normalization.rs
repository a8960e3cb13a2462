//! A BatchNormalization after a convolution is part of its weight and bias (arXiv:1502.03167, section 3.1).
use super::Rewrite;
use crate::ops::Op;
use crate::{Edit, Graph, NodeId, Tensor};

/// `BatchNormalization(Conv(x, w, b))` becomes `Conv(x, w', b')` where nothing else reads the convolution.
pub const FOLD_BATCH_NORMALIZATION: Rewrite = Rewrite { name: "fold_batch_normalization", find };

fn find(graph: &Graph, id: NodeId) -> Option<Edit> {
    let norm = graph.node(id);
    let Op::BatchNormalization(op) = &norm.op else {
        return None;
    };
    let conv_id = graph.producer(norm.inputs[0])?;
    let conv = graph.node(conv_id);
    let read_once =
        graph.nodes().flat_map(|(_, n)| &n.inputs).filter(|v| **v == norm.inputs[0]).count() == 1;
    if !matches!(conv.op, Op::Conv(_)) || !read_once || graph.outputs().contains(&norm.inputs[0]) {
        return None;
    }
    let numbers = |v| graph.constant(v).and_then(|t| t.to_f64().ok());
    let weight = graph.constant(conv.inputs[1])?;
    let bias = match conv.inputs.get(2) {
        Some(&b) => numbers(b)?,
        None => vec![0.0; weight.shape()[0]],
    };
    let p: Vec<Vec<f64>> = norm.inputs[1..].iter().map(|&v| numbers(v)).collect::<Option<_>>()?;
    let factor = op.factors(&p[0], &p[3]);
    let filter = weight.len() / factor.len().max(1);
    let w: Vec<f64> =
        weight.to_f64().ok()?.iter().enumerate().map(|(i, w)| w * factor[i / filter]).collect();
    let b: Vec<f64> =
        (0..factor.len()).map(|c| (bias[c] - p[2][c]) * factor[c] + p[1][c]).collect();
    let w = Tensor::from_f64(weight.dtype(), weight.shape(), &w).ok()?;
    let b = Tensor::from_f64(weight.dtype(), vec![b.len()], &b).ok()?;
    let readers = graph.consumers();
    let mut edit = graph.edit();
    // A constant of its own keeps its name, by which records of pruning know it.
    let mut put = |i: usize, fallback: &str, tensor: Tensor| match conv.inputs.get(i) {
        Some(&v) if readers[&v].len() == 1 => {
            edit.set_constant(v, tensor);
            v
        }
        Some(&v) => edit.constant(&graph.value(v).name, tensor),
        None => edit.constant(&format!("{}.{fallback}", conv.name), tensor),
    };
    let (w, b) = (put(1, "weight", w), put(2, "bias", b));
    edit.set_inputs(conv_id, &[conv.inputs[0], w, b]);
    edit.replace_uses(norm.outputs[0], conv.outputs[0]);
    Some(edit)
}
