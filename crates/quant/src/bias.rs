//! Bias correction: what rounding the weights shifts on average is taken out of the bias.
use crate::points::Region;
use crate::weights::{at, rounded};
use crate::{QuantError, QuantPlan};
use ir::{Graph, QuantFacts, Tensor, ValueId};
use std::collections::BTreeMap;

/// The graph with every planned convolution's bias corrected by `(W - Q(W)) * E[x]`.
///
/// `means` holds the mean of each channel of the values that convolutions read; a convolution whose input is not there
/// stays as it is. Exact but for padding, where the mean is 0 and not `E[x]`.
/// Source: arXiv 1906.04721, section 4.2.
///
/// # Errors
/// As [`crate::quantization_points`]; `NonFiniteWeight` and `Params` with the value.
pub fn correct_biases(
    graph: &Graph,
    plan: &QuantPlan,
    means: &BTreeMap<ValueId, Vec<f32>>,
) -> Result<Graph, QuantError> {
    let region = Region::new(graph)?;
    let mut edit = graph.edit();
    for (id, node, position) in region.weighted() {
        let weight = node.inputs[position];
        let name = &graph.value(weight).name;
        let (Some(params), Some(means)) = (plan.weights.get(name), means.get(&node.inputs[0]))
        else {
            continue;
        };
        let QuantFacts::Weighted { bias, .. } = node.op.quant_facts() else {
            continue;
        };
        let tensor = graph.constant(weight).expect("weighted() gives constants");
        let shift = mean_shift(name, tensor, params, means)?;
        let old = match node.inputs.get(bias) {
            None => vec![0.0; shift.len()],
            Some(&b) => match graph.constant(b) {
                Some(t) => t.to_f64().map_err(at(name))?,
                None => continue,
            },
        };
        let corrected: Vec<f32> = old.iter().zip(&shift).map(|(b, s)| (b - s) as f32).collect();
        let named =
            node.inputs.get(bias).map_or(format!("{name}_bias"), |&b| graph.value(b).name.clone());
        let corrected = edit.constant(&format!("{named}_corrected"), Tensor::vector(corrected));
        let mut inputs = node.inputs.clone();
        inputs.truncate(bias);
        inputs.push(corrected);
        edit.set_inputs(id, &inputs);
    }
    let mut corrected = graph.clone();
    corrected.apply(edit)?;
    Ok(corrected)
}

/// Mean of `(Q(W) - W) * x` for each output channel.
fn mean_shift(
    name: &str,
    weight: &Tensor,
    params: &ir::QuantParams,
    means: &[f32],
) -> Result<Vec<f64>, QuantError> {
    let shape = weight.shape();
    let (outputs, inputs) = (shape[0], shape[1]);
    let taps: usize = shape[2..].iter().product();
    let groups = means.len() / inputs.max(1);
    let before = weight.to_f64().map_err(at(name))?;
    let after = rounded(name, weight, params)?;
    let row = inputs * taps;
    let shift = |o: usize| {
        let first = o * groups / outputs * inputs;
        (0..row)
            .map(|i| {
                (after[o * row + i] - before[o * row + i]) * f64::from(means[first + i / taps])
            })
            .sum()
    };
    if groups == 0 || outputs % groups != 0 {
        return Ok(vec![0.0; outputs]);
    }
    Ok((0..outputs).map(shift).collect())
}

#[cfg(test)]
mod tests;
