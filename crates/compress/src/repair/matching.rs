//! Repair by means and deviations: what a layer's outputs lost of them is given back, and what removed channels gave on
//! average moves into the next biases.

use std::collections::BTreeMap;

use ir::{Graph, NodeId, Op, Tensor, ValueId};
use ndarray::{Array2, ArrayView2, Axis};
use numerics::Linear;
use prune::{OutputStatistics, PruneError, Statistics};

use crate::CompressError;

/// Mean of each channel that an observed convolution reads, where its window's middle lies.
pub(crate) fn means(graph: &Graph, statistics: &Statistics) -> BTreeMap<ValueId, Vec<f32>> {
    let mean = |(id, layer): (&NodeId, &prune::LayerStatistics)| {
        let middle = layer.moments.mean.iter().skip(layer.taps / 2);
        let mean = middle.step_by(layer.taps).map(|m| *m as f32).collect();
        (graph.node(*id).inputs[0], mean)
    };
    statistics.layers.iter().map(mean).collect()
}

/// What a layer gives for rows of inputs, before its activation.
pub(super) fn outputs(layer: &Linear, inputs: &Array2<f32>) -> Array2<f32> {
    let mut outputs = inputs.dot(&layer.weight.mapv(|w| w as f32).t());
    for mut row in outputs.rows_mut() {
        let biases = row.iter_mut().zip(&layer.bias);
        biases.for_each(|(y, b)| *y += *b as f32);
    }
    outputs
}

/// Gives a layer's outputs the means and deviations of `targets`: by the BatchNorm that alone reads them, else by its
/// weights and bias.
pub(super) fn match_outputs(
    graph: &mut Graph,
    id: NodeId,
    inputs: &Array2<f32>,
    targets: ArrayView2<'_, f32>,
) -> Result<(), CompressError> {
    let layer = prune::layer(graph, id)?;
    let (now, dense) = (spread(outputs(&layer, inputs).view()), spread(targets));
    match norm_behind(graph, id) {
        Some(norm) => set_norm(graph, norm, &now, &dense)?,
        None => prune::set_layer(graph, id, &prune::match_layer(&layer, &now, &dense))?,
    }
    Ok(())
}

fn spread(outputs: ArrayView2<'_, f32>) -> OutputStatistics {
    let of_column = |column: ndarray::ArrayView1<'_, f32>| {
        let count = column.len().max(1) as f64;
        let mean = column.iter().map(|x| f64::from(*x)).sum::<f64>() / count;
        let squares = column.iter().map(|x| (f64::from(*x) - mean).powi(2));
        (mean, (squares.sum::<f64>() / count).sqrt())
    };
    let (mean, deviation) = outputs.axis_iter(Axis(1)).map(of_column).unzip();
    OutputStatistics { mean, deviation }
}

/// The BatchNorm that alone reads a layer, when its statistics are constants of its own.
fn norm_behind(graph: &Graph, id: NodeId) -> Option<NodeId> {
    let readers = graph.consumers();
    let output = graph.node(id).outputs[0];
    let &[(norm, _)] = readers.get(&output)?.as_slice() else {
        return None;
    };
    let node = graph.node(norm);
    let own = |v: &ValueId| graph.constant(*v).is_some() && readers[v].len() == 1;
    let fits = matches!(node.op, Op::BatchNormalization(_)) && node.inputs[3..].iter().all(own);
    (fits && !graph.outputs().contains(&output)).then_some(norm)
}

fn set_norm(
    graph: &mut Graph,
    id: NodeId,
    now: &OutputStatistics,
    dense: &OutputStatistics,
) -> Result<(), CompressError> {
    let node = graph.node(id);
    let Op::BatchNormalization(norm) = &node.op else {
        return Ok(());
    };
    let wrong = |cause| PruneError::Tensor { value: node.name.clone(), cause };
    let [mean, variance] = [node.inputs[3], node.inputs[4]];
    let old = |v| match graph.constant(v) {
        Some(tensor) => tensor.to_f64().map_err(wrong),
        None => Ok(vec![]),
    };
    let (m, v) = (old(mean)?, old(variance)?);
    let matched = prune::match_batch_norm(&m, &v, f64::from(norm.epsilon), now, dense);
    let dtype = graph.ty(mean)?.dtype;
    let tensor = |v: &[f64]| Tensor::from_f64(dtype, vec![v.len()], v).map_err(wrong);
    let (new_mean, new_variance) = (tensor(&matched.0)?, tensor(&matched.1)?);
    let mut edit = graph.edit();
    edit.set_constant(mean, new_mean);
    edit.set_constant(variance, new_variance);
    graph.apply(edit)?;
    Ok(())
}
