//! Groups that lose channels one after another while their consumers make up for them.
use crate::apply::rename_kept;
use crate::{DependencyGroup, Groups, Member, PruneError, PrunePlan, apply};
use ir::{Graph, NodeId, Tensor};
use ndarray::Axis;
use numerics::{Compensation, Linear, Moments, parallel_map};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Pull towards the dense weights, as a share of the inputs' mean variance: a tenth, because a few images show far
/// fewer independent windows than rows, and what is fitted closer to them does not hold on others.
pub const RIDGE: f64 = 0.1;

/// What was observed of a convolution that is not grouped.
#[derive(Clone, Debug)]
pub struct LayerStatistics {
    /// Its weights, `[outputs, channels * taps]`.
    pub layer: Linear,
    /// Elements of the kernel.
    pub taps: usize,
    /// Moments of the windows that it reads.
    pub moments: Arc<Moments>,
}

/// What was observed of a graph.
#[derive(Clone, Debug, Default)]
pub struct Statistics {
    /// Its convolutions, by node.
    pub layers: BTreeMap<NodeId, LayerStatistics>,
    /// For each image, what its parameters mean to a loss.
    pub sensitivities: Vec<Sensitivity>,
    /// Threads that work on them; no result depends on how many they are.
    pub threads: usize,
}

/// For a parameter, and each index of one of its axes: the sum of gradient times element over the other axes, which is how a loss
/// changes at first when that slice goes away.
pub type Sensitivity = BTreeMap<Member, Vec<f64>>;

/// Convolutions that read a group through the same windows.
struct Consumers {
    nodes: Vec<NodeId>,
    compensation: Compensation,
    /// Of each channel.
    columns: Vec<Vec<usize>>,
}

impl Consumers {
    fn columns(&self, channels: &[usize]) -> Vec<usize> {
        let of = channels.iter().flat_map(|&c| &self.columns[c]);
        of.copied().collect()
    }
}

/// A group that loses channels one after another.
pub struct PruningSweep<'a> {
    group: &'a DependencyGroup,
    consumers: Vec<Consumers>,
    gone: BTreeSet<usize>,
    threads: usize,
}

/// The convolutions that read a group's channels: node, and columns of each channel.
pub(crate) fn consumers(
    graph: &Graph,
    group: &DependencyGroup,
    statistics: &Statistics,
) -> Vec<(NodeId, Vec<Vec<usize>>)> {
    let columns_read = |(&node, observed): (&NodeId, &LayerStatistics)| {
        let value = graph.node(node).inputs[1];
        let at = group.members.binary_search(&Member { value, axis: 1 }).ok()?;
        let taps = observed.taps;
        let columns =
            |c: &Vec<Vec<usize>>| c[at].iter().flat_map(|i| i * taps..(i + 1) * taps).collect();
        Some((node, group.channels.iter().map(columns).collect()))
    };
    statistics.layers.iter().filter_map(columns_read).collect()
}

impl<'a> PruningSweep<'a> {
    /// The group with all its channels; consumers that were not observed are not compensated.
    pub fn new(graph: &Graph, group: &'a DependencyGroup, statistics: &Statistics) -> Self {
        let mut alike: Vec<(Vec<NodeId>, Vec<Vec<usize>>)> = Vec::new();
        for (node, columns) in consumers(graph, group, statistics) {
            let moments = |n: &NodeId| &statistics.layers[n].moments;
            let same = |(nodes, own): &&mut (Vec<NodeId>, Vec<Vec<usize>>)| {
                Arc::ptr_eq(moments(&nodes[0]), moments(&node)) && *own == columns
            };
            match alike.iter_mut().find(same) {
                Some((nodes, _)) => nodes.push(node),
                None => alike.push((vec![node], columns)),
            }
        }
        let compensated = |(nodes, columns): (Vec<NodeId>, _)| {
            let moments = &statistics.layers[nodes.first()?].moments;
            let layers = nodes.iter().map(|n| statistics.layers[n].layer.clone()).collect();
            Some(Consumers {
                compensation: Compensation::new(layers, moments, RIDGE, statistics.threads)?,
                nodes,
                columns,
            })
        };
        Self {
            group,
            consumers: alike.into_iter().filter_map(compensated).collect(),
            gone: BTreeSet::new(),
            threads: statistics.threads,
        }
    }

    /// Whether any consumer was observed.
    pub fn is_measured(&self) -> bool {
        !self.consumers.is_empty()
    }

    /// Squared error that the channels' removal adds, as a share of each consumer's variance.
    pub fn cost(&self, channels: &[usize]) -> f64 {
        let cost = |c: &Consumers| c.compensation.cost(&c.columns(channels));
        self.consumers.iter().map(cost).sum()
    }

    /// The channels that are left, the cheapest first, with their costs.
    pub fn ranked(&self) -> Vec<(usize, f64)> {
        let left = (0..self.group.width()).filter(|c| !self.gone.contains(c));
        let left: Vec<usize> = left.collect();
        let mut ranked = parallel_map(self.threads, left, |c| (c, self.cost(&[c])));
        ranked.sort_by(|a, b| a.1.total_cmp(&b.1).then(a.0.cmp(&b.0)));
        ranked
    }

    /// Removes channels that are there.
    pub fn remove(&mut self, channels: &[usize]) {
        self.gone.extend(channels);
        for c in &mut self.consumers {
            let columns = c.columns(channels);
            c.compensation.remove(&columns);
        }
    }

    /// The group as it is now; with `compensate`, its consumers make up for the channels that are gone.
    pub fn thinned(&self, compensate: bool) -> ThinnedGroup {
        let channels: Vec<usize> = self.gone.iter().copied().collect();
        let mut layers = Vec::new();
        for c in self.consumers.iter().filter(|_| compensate) {
            let gone: BTreeSet<usize> = c.columns(&channels).into_iter().collect();
            for (&node, all) in c.nodes.iter().zip(c.compensation.layers()) {
                let kept = |i: &usize| !gone.contains(i);
                let kept: Vec<usize> = (0..all.weight.ncols()).filter(kept).collect();
                let weight = all.weight.select(Axis(1), &kept);
                layers.push((node, Linear { weight, bias: all.bias }));
            }
        }
        ThinnedGroup { group: self.group.name.clone(), gone: channels, layers }
    }
}

/// A group without the channels that are gone, and its consumers, which make up for them.
pub struct ThinnedGroup {
    group: String,
    gone: Vec<usize>,
    layers: Vec<(NodeId, Linear)>,
}

impl ThinnedGroup {
    /// The dense graph with the group so thin.
    ///
    /// # Errors
    /// As [`PrunePlan::new`] and [`apply`].
    pub fn graph(&self, graph: &Graph, groups: &Groups) -> Result<Graph, PruneError> {
        let removed = BTreeMap::from([(self.group.clone(), self.gone.clone())]);
        let plan = PrunePlan::new(graph, groups, removed)?;
        let mut pruned = apply(graph, groups, &plan)?;
        for (node, layer) in &self.layers {
            // Channels of a residual connection may be read and written by the same convolution.
            let weight = graph.node(*node).inputs[1];
            match plan.layers.get(&graph.value(weight).name) {
                Some(rows) => set_layer(&mut pruned, *node, &layer.rows(rows))?,
                None => set_layer(&mut pruned, *node, layer)?,
            }
        }
        Ok(pruned)
    }
}

/// The weights of a convolution as a matrix; a missing bias is zero.
///
/// # Errors
/// `WeightNotConstant` when weight or bias is computed, `Tensor` when their type is not a real number.
pub fn layer(graph: &Graph, id: NodeId) -> Result<Linear, PruneError> {
    let node = graph.node(id);
    let constant = |value| {
        let tensor = graph.constant(value).ok_or_else(|| PruneError::WeightNotConstant {
            node: node.name.clone(),
            weight: graph.value(value).name.clone(),
        })?;
        let elements = tensor.to_f64().map_err(|cause| PruneError::Tensor {
            value: graph.value(value).name.clone(),
            cause,
        })?;
        Ok::<_, PruneError>((tensor.shape()[0], elements))
    };
    let (outputs, weight) = constant(node.inputs[1])?;
    let columns = weight.len() / outputs.max(1);
    let weight = ndarray::Array2::from_shape_vec((outputs, columns), weight)
        .expect("a weight has whole rows");
    let bias = match node.inputs.get(2) {
        Some(&b) => constant(b)?.1,
        None => vec![0.0; outputs],
    };
    Ok(Linear { weight, bias })
}

/// Writes a convolution's weights back; one without a bias gets one, and shared constants are left to the others: the
/// weight then has a name of its own, under which the metadata tells its surviving rows too.
///
/// # Errors
/// `Metadata` when that does not read, `Graph` when the layer does not fit the node, `Tensor` when the numbers do not.
pub fn set_layer(graph: &mut Graph, id: NodeId, layer: &Linear) -> Result<(), PruneError> {
    let node = graph.node(id).clone();
    let old = graph.ty(node.inputs[1])?.clone();
    let tensor = |shape: Vec<usize>, elements: &[f64]| {
        Tensor::from_f64(old.dtype, shape, elements)
            .map_err(|cause| PruneError::Tensor { value: node.name.clone(), cause })
    };
    let weight = layer.weight.as_standard_layout();
    let weight = tensor(old.shape.clone(), weight.as_slice().expect("the layout is standard"))?;
    let bias = tensor(vec![layer.bias.len()], &layer.bias)?;
    let readers = graph.consumers();
    let mut edit = graph.edit();
    let mut inputs = node.inputs.clone();
    if readers[&inputs[1]].len() == 1 {
        edit.set_constant(inputs[1], weight);
    } else {
        inputs[1] = edit.constant(&format!("{}.weight", node.name), weight);
    }
    match inputs.get(2) {
        Some(b) if readers[b].len() == 1 => edit.set_constant(*b, bias),
        _ => {
            inputs.truncate(2);
            inputs.push(edit.constant(&format!("{}.bias", node.name), bias));
        }
    }
    if inputs != node.inputs {
        edit.set_inputs(id, &inputs);
    }
    graph.apply(edit)?;
    if inputs[1] != node.inputs[1] {
        let [from, to] = [node.inputs[1], inputs[1]].map(|v| graph.value(v).name.clone());
        rename_kept(graph, &from, &to)?;
    }
    Ok(())
}
