//! Repair of a pruned network without training: layer after layer, every convolution that reads changed inputs is
//! fitted to what the dense network's gave.

mod matching;
mod record;
mod walk;
mod windows;

use std::collections::{BTreeMap, BTreeSet};

use ir::{Graph, NodeId, ValueId};
use ndarray::{Array2, Axis};
use numerics::least_squares;
use observe::{ImageSet, Observation};
use prune::{PrunePlan, RIDGE, Statistics};
use serde::{Deserialize, Serialize};

use crate::CompressError;
use walk::Walk;
use windows::{Sampling, Window, by_window};

/// A way to make up for what pruning breaks, without training; applied in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RepairStep {
    /// What removed channels gave on average moves into the next biases.
    Absorb,
    /// Layers that read changed inputs are fitted to the dense ones by least squares.
    Reconstruct,
    /// Each such layer's outputs get the dense mean and deviation, as weights and bias or as BatchNorm statistics.
    Match,
}

/// All ways of repair, by name.
pub const REPAIR_STEPS: &[(&str, RepairStep)] = &[
    ("absorb", RepairStep::Absorb),
    ("reconstruct", RepairStep::Reconstruct),
    ("match", RepairStep::Match),
];

/// What the convolutions of the dense network read and give on images.
pub(crate) struct DenseRecord {
    /// What they read.
    pub(crate) statistics: Statistics,
    /// Images on which layers are fitted.
    images: ImageSet,
    /// Windows of each of them.
    sampling: Sampling,
    /// What each convolution gave on those windows: `[rows, outputs]`.
    targets: BTreeMap<NodeId, Array2<f32>>,
}

impl DenseRecord {
    /// The pruned graph with every convolution that reads changed inputs fitted to the dense one, and then, or only,
    /// matched to its means and deviations; as it is where `steps` holds neither.
    pub(crate) fn repair(
        &self,
        observation: &Observation<'_>,
        pruned: Graph,
        plan: &PrunePlan,
        steps: &BTreeSet<RepairStep>,
    ) -> Result<Graph, CompressError> {
        let fits = [RepairStep::Reconstruct, RepairStep::Match];
        if !fits.iter().any(|step| steps.contains(step)) {
            return Ok(pruned);
        }
        let threads = observation.engine.threads;
        let changed = self.changed(&pruned);
        let mut walk = Walk::new(pruned, observation, &self.images, changed);
        loop {
            let level = walk.next_level();
            if level.is_empty() {
                return Ok(walk.graph);
            }
            let windows = by_window(&walk.graph, &level)?;
            let mut rows = walk.observe(|cut| {
                let sample = |w: &Window| w.sample(cut.value(w.input), cut.image, self.sampling);
                windows.iter().map(|(w, _)| sample(w)).collect::<Vec<_>>()
            })?;
            for (i, (window, layers)) in windows.iter().enumerate() {
                let of_images = rows.iter_mut().map(|r| std::mem::take(&mut r[i]));
                let inputs = window.stack(of_images, self.sampling.count * self.images.len());
                for &id in layers {
                    self.fit(&mut walk.graph, id, &inputs, plan, steps, threads)?;
                }
            }
            walk.finish(&level);
        }
    }

    /// Fits one convolution, from the windows that it reads now.
    fn fit(
        &self,
        graph: &mut Graph,
        id: NodeId,
        inputs: &Array2<f32>,
        plan: &PrunePlan,
        steps: &BTreeSet<RepairStep>,
        threads: usize,
    ) -> Result<(), CompressError> {
        let dense = &self.targets[&id];
        let name = &graph.value(graph.node(id).inputs[1]).name;
        let targets = match plan.layers.get(name) {
            Some(rows) => &dense.select(Axis(1), rows),
            None => dense,
        };
        if steps.contains(&RepairStep::Reconstruct) {
            let now = prune::layer(graph, id)?;
            let fitted = least_squares(&now, inputs.view(), targets.view(), RIDGE, threads);
            prune::set_layer(graph, id, &fitted)?;
        }
        if steps.contains(&RepairStep::Match) {
            matching::match_outputs(graph, id, inputs, targets.view())?;
        }
        Ok(())
    }

    /// Convolutions that read what pruning changed.
    fn changed(&self, pruned: &Graph) -> BTreeSet<NodeId> {
        let mut values: BTreeSet<ValueId> = BTreeSet::new();
        let mut convolutions = BTreeSet::new();
        for (id, node) in pruned.nodes() {
            let mut reads_changed = node.inputs.iter().any(|v| values.contains(v));
            if let Some(dense) = self.statistics.layers.get(&id) {
                let columns =
                    |g: &Graph| g.ty(node.inputs[1]).map_or(0, |t| t.shape[1]) * dense.taps;
                reads_changed |= columns(pruned) != dense.layer.weight.ncols();
                if reads_changed {
                    convolutions.insert(id);
                }
            }
            if reads_changed {
                values.extend(&node.outputs);
            }
        }
        convolutions
    }
}
