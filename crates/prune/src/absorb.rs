//! Repair without data of the consumers: what a removed channel gave on average moves into the next bias.
use crate::plan::kept_axes;
use crate::{Groups, Member, PruneError, PrunePlan, apply};
use ir::{Graph, Node, NodeId, Op, Tensor, ValueId};
use std::collections::BTreeMap;

/// Prunes, and adds to the bias of each convolution that reads removed channels what they gave on average:
/// `Σ W[:, c, :, :] · mean[c]` over the removed `c`. A convolution without a bias gets one.
///
/// `means` holds, for values of the graph before pruning, the mean of each channel of axis 1, in f32; values
/// that are not listed are not repaired. Exact for channels that are constant, inside the image; where a window
/// reaches into padding the removed channel gave less than is added. Depthwise and grouped convolutions lose
/// the channel itself and need no repair.
///
/// # Errors
/// As [`apply`]; `MeansLength` when a list has not one mean a channel; `WeightNotConstant` when a weight or bias
/// is computed.
pub fn absorb_means(
    graph: &Graph,
    groups: &Groups,
    plan: &PrunePlan,
    means: &BTreeMap<ValueId, Vec<f32>>,
) -> Result<Graph, PruneError> {
    let mut pruned = apply(graph, groups, plan)?;
    let kept = kept_axes(graph, groups, plan)?;
    let readers = graph.consumers();
    let mut edit = pruned.edit();
    for (id, node) in graph.nodes() {
        let Op::Conv(conv) = &node.op else { continue };
        let Some(mean) = means.get(&node.inputs[0]) else {
            continue;
        };
        let axis = |value, axis| kept.get(&Member { value, axis });
        let Some(inputs) = axis(node.inputs[1], 1).filter(|_| conv.group == 1) else {
            continue;
        };
        let all = gains(graph, node, mean, inputs)?;
        let gain = match axis(node.inputs[1], 0) {
            None => all,
            Some(rows) => rows.iter().map(|&r| all[r]).collect(),
        };
        let bias = repaired_bias(&pruned, id, &gain)?;
        match node.inputs.get(2) {
            Some(b) if readers[b].len() == 1 => edit.set_constant(*b, bias),
            _ => {
                let bias = edit.constant(&format!("{}.bias", node.name), bias);
                edit.set_inputs(id, &[node.inputs[0], node.inputs[1], bias]);
            }
        }
    }
    pruned.apply(edit)?;
    Ok(pruned)
}

/// What the removed input channels gave to each output channel, before pruning.
fn gains(graph: &Graph, node: &Node, mean: &[f32], kept: &[usize]) -> Result<Vec<f64>, PruneError> {
    let weight = constant(graph, node, node.inputs[1])?;
    let channels = weight.shape()[1];
    if mean.len() != channels {
        return Err(PruneError::MeansLength {
            value: graph.value(node.inputs[0]).name.clone(),
            expected: channels,
            found: mean.len(),
        });
    }
    let taps: usize = weight.shape()[2..].iter().product();
    let mut removed = vec![true; channels];
    kept.iter().for_each(|&c| removed[c] = false);
    let elements = elements(graph, node.inputs[1], weight)?;
    let mut gains = vec![0.0; weight.shape()[0]];
    for (i, w) in elements.iter().enumerate() {
        let c = i / taps % channels;
        if removed[c] {
            gains[i / (taps * channels)] += w * f64::from(mean[c]);
        }
    }
    Ok(gains)
}

fn repaired_bias(pruned: &Graph, id: NodeId, gain: &[f64]) -> Result<Tensor, PruneError> {
    let node = pruned.node(id);
    let old = match node.inputs.get(2) {
        None => vec![0.0; gain.len()],
        Some(&b) => elements(pruned, b, constant(pruned, node, b)?)?,
    };
    let sum: Vec<f64> = old.iter().zip(gain).map(|(b, g)| b + g).collect();
    let dtype = pruned.ty(node.inputs[1])?.dtype;
    Tensor::from_f64(dtype, vec![sum.len()], &sum)
        .map_err(|cause| PruneError::Tensor { value: node.name.clone(), cause })
}

fn constant<'a>(graph: &'a Graph, node: &Node, value: ValueId) -> Result<&'a Tensor, PruneError> {
    let missing = || PruneError::WeightNotConstant {
        node: node.name.clone(),
        weight: graph.value(value).name.clone(),
    };
    graph.constant(value).ok_or_else(missing)
}

fn elements(graph: &Graph, value: ValueId, tensor: &Tensor) -> Result<Vec<f64>, PruneError> {
    tensor
        .to_f64()
        .map_err(|cause| PruneError::Tensor { value: graph.value(value).name.clone(), cause })
}
