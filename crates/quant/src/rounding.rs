//! Rounding of weights by the second moments of what they are multiplied with.
use crate::points::Region;
use crate::weights::at;
use crate::{PatchMoments, QuantError, QuantPlan};
use ir::{Graph, NodeId, QuantFacts, QuantParams, Tensor, ValueId};
use numerics::UnitUpper;
use std::collections::BTreeMap;

/// Share of the mean variance added to every variance, so that what was not seen does not decide.
const DAMPING: f64 = 0.01;

/// The graph with the planned weights of convolutions on their grids, rounded so that the convolution's output changes
/// least on the patches seen, and with the change that is left on average taken out of the bias.
///
/// Each weight in turn is rounded after the errors of those before it were carried over to it, by the factors of the
/// covariance `(U + I) D (U + I)^T`: the sum of squared errors of the outputs is then `D` times the squared rounding
/// errors. Weights that several convolutions read stay as they are.
/// Source: GPTQ (arXiv 2210.17323), OBQ (arXiv 2208.11580), in the form of LDLQ (arXiv 2307.13304).
///
/// # Errors
/// As [`crate::quantization_points`]; `NonFiniteWeight` and `Params` with the value.
pub fn round_weights(
    graph: &Graph,
    plan: &QuantPlan,
    moments: &BTreeMap<NodeId, PatchMoments>,
    means: &BTreeMap<ValueId, Vec<f32>>,
) -> Result<Graph, QuantError> {
    let largest = i32::from(plan.target.largest_weight());
    let region = Region::new(graph)?;
    let mut edit = graph.edit();
    for (id, node, position) in region.weighted() {
        let weight = node.inputs[position];
        let name = &graph.value(weight).name;
        let (Some(params), Some(moments)) = (plan.weights.get(name), moments.get(&id)) else {
            continue;
        };
        let QuantFacts::Weighted { bias, .. } = node.op.quant_facts() else {
            continue;
        };
        let old_bias = node.inputs.get(bias).map(|&b| graph.constant(b));
        if region.consumers[&weight].len() > 1 || old_bias == Some(None) {
            continue;
        }
        let tensor = graph.constant(weight).expect("weighted() gives constants");
        let means = means.get(&node.inputs[0]).map(Vec::as_slice);
        let grid = Grid { params, largest };
        let Some((rounded, shift)) = round_tensor(name, tensor, grid, moments, means)? else {
            continue;
        };
        let old_bias = match old_bias.flatten() {
            Some(b) => b.to_f64().map_err(at(name))?,
            None => vec![0.0; shift.len()],
        };
        let new_bias = old_bias.iter().zip(&shift).map(|(b, s)| (b - s) as f32);
        let rounded =
            Tensor::from_f64(tensor.dtype(), tensor.shape(), &rounded).map_err(at(name))?;
        edit.set_constant(weight, rounded);
        let new_bias = Tensor::vector(new_bias.collect());
        let new_bias = edit.constant(&format!("{name}_bias_corrected"), new_bias);
        let mut inputs = node.inputs.clone();
        inputs.truncate(bias);
        inputs.push(new_bias);
        edit.set_inputs(id, &inputs);
    }
    let mut rounded = graph.clone();
    rounded.apply(edit)?;
    Ok(rounded)
}

/// The numbers that a quantized weight can be.
#[derive(Clone, Copy)]
struct Grid<'a> {
    params: &'a QuantParams,
    /// Largest magnitude of a quantized value.
    largest: i32,
}

/// Weights on their grid, and the mean change of each output channel.
type Rounded = (Vec<f64>, Vec<f64>);

fn round_tensor(
    name: &str,
    weight: &Tensor,
    grid: Grid<'_>,
    moments: &PatchMoments,
    means: Option<&[f32]>,
) -> Result<Option<Rounded>, QuantError> {
    let weights = weight.to_f64().map_err(at(name))?;
    let (outputs, size) = (grid.params.scale().len(), moments.size());
    if size == 0 || weights.len() != outputs * size {
        return Ok(None);
    }
    let groups = moments.groups();
    let mut rounded = weights.clone();
    let mut shift = vec![0.0; outputs];
    for group in 0..groups {
        let mean = moments.mean_of(group, means);
        let factors = moments.covariance(group, DAMPING).and_then(|c| UnitUpper::factor(c, size));
        let rows = group * outputs / groups..(group + 1) * outputs / groups;
        for (o, shift) in rows.clone().zip(&mut shift[rows]) {
            let row = o * size..(o + 1) * size;
            let (before, after) = (&weights[row.clone()], &mut rounded[row]);
            round_row(before, after, grid, o, factors.as_ref());
            let change = after.iter().zip(before).zip(&mean);
            *shift = change.map(|((a, b), m)| (a - b) * m).sum();
        }
    }
    Ok(Some((rounded, shift)))
}

/// Rounds a filter, each weight after the errors of those before it were carried over.
fn round_row(
    before: &[f64],
    after: &mut [f64],
    grid: Grid<'_>,
    channel: usize,
    factors: Option<&UnitUpper>,
) {
    let size = before.len();
    let mut errors = vec![0.0; size];
    for k in 0..size {
        let carried: f64 = match factors {
            Some(u) => errors.iter().zip(u.column(k)).map(|(e, u)| e * u).sum(),
            None => 0.0,
        };
        let q = grid.params.quantize(channel, (before[k] + carried) as f32);
        let q = q.clamp(-grid.largest, grid.largest);
        after[k] = f64::from(grid.params.dequantize(channel, q));
        errors[k] = before[k] - after[k];
    }
}

#[cfg(test)]
mod tests;
