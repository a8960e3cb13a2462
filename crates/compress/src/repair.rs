//! Repair of a pruned network without training: layer after layer, every convolution that reads changed inputs is
//! fitted to what the dense network's gave.

mod matching;
mod record;
mod walk;
mod windows;

use std::collections::BTreeSet;

use ir::{Graph, NodeId, ValueId};
use ndarray::{Array2, Axis};
use numerics::least_squares;
use observe::Observation;
use prune::{PrunePlan, RIDGE};
use serde::{Deserialize, Serialize};

use crate::CompressError;
pub(crate) use matching::means;
pub(crate) use record::{DenseRecord, ObservedWindow};
use walk::Walk;
use windows::{Window, by_window};

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

/// How a pruned graph is repaired.
pub(crate) struct Repair<'a> {
    /// The dense network, with the images that it was observed on.
    pub(crate) observation: &'a Observation<'a>,
    /// What was removed.
    pub(crate) plan: &'a PrunePlan,
    /// What is done.
    pub(crate) steps: &'a BTreeSet<RepairStep>,
    /// What is held at a time.
    pub(crate) parts: PartBytes,
}

/// What is held at a time while layers are fitted, in bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct PartBytes {
    /// Of what layers of the dense network gave.
    pub(crate) targets: usize,
    /// Of the windows that layers of one level read.
    pub(crate) rows: usize,
}

impl DenseRecord {
    /// The pruned graph with every convolution that reads changed inputs fitted to the dense one, and then, or only,
    /// matched to its means and deviations; as it is where the steps hold neither.
    pub(crate) fn repair(
        &mut self,
        pruned: Graph,
        repair: &Repair<'_>,
    ) -> Result<Graph, CompressError> {
        let fits = [RepairStep::Reconstruct, RepairStep::Match];
        if !fits.iter().any(|step| repair.steps.contains(step)) {
            return Ok(pruned);
        }
        let changed = self.changed(repair.observation.model.graph, &pruned);
        let mut walk = Walk::new(pruned, repair.observation, &self.fitted, changed);
        loop {
            let level = walk.next_level();
            if level.is_empty() {
                return Ok(walk.graph);
            }
            let windows = by_window(&walk.graph, &level)?;
            for part in self.parts(&windows, repair.parts.rows) {
                let sampling = self.fitted_sampling;
                let mut rows = walk.observe(|cut| {
                    let sample = |w: &Window| w.sample(cut.value(w.input), cut.image, sampling);
                    part.iter().map(|(w, _)| sample(w)).collect::<Vec<_>>()
                })?;
                for (i, (window, layers)) in part.iter().enumerate() {
                    let of_images = rows.iter_mut().map(|r| std::mem::take(&mut r[i]));
                    let inputs = window.stack(of_images, sampling.count * self.fitted.len());
                    for &id in layers {
                        self.fit(&mut walk.graph, id, &level, &inputs, repair)?;
                    }
                }
            }
            walk.finish(&level);
        }
    }

    /// Windows whose rows are held at a time.
    fn parts<'w>(
        &self,
        windows: &'w [(Window, Vec<NodeId>)],
        most_bytes: usize,
    ) -> Vec<&'w [(Window, Vec<NodeId>)]> {
        let mut parts = Vec::new();
        let (mut first, mut bytes) = (0, 0);
        for (i, (window, _)) in windows.iter().enumerate() {
            let more = self.fitted_bytes(window.columns());
            if bytes + more > most_bytes && i > first {
                parts.push(&windows[first..i]);
                (first, bytes) = (i, 0);
            }
            bytes += more;
        }
        parts.push(&windows[first..]);
        parts
    }

    /// Fits one convolution, from the windows that it reads now.
    fn fit(
        &mut self,
        graph: &mut Graph,
        id: NodeId,
        level: &[NodeId],
        inputs: &Array2<f32>,
        repair: &Repair<'_>,
    ) -> Result<(), CompressError> {
        let Repair { observation, plan, steps, parts } = repair;
        let name = graph.value(graph.node(id).inputs[1]).name.clone();
        let dense = self.target(observation, id, level, parts.targets)?;
        let targets = match plan.layers.get(&name) {
            Some(rows) => &dense.select(Axis(1), rows),
            None => dense,
        };
        if steps.contains(&RepairStep::Reconstruct) {
            let now = prune::layer(graph, id)?;
            let threads = observation.engine.threads;
            let fitted = least_squares(&now, inputs.view(), targets.view(), RIDGE, threads);
            prune::set_layer(graph, id, &fitted)?;
        }
        if steps.contains(&RepairStep::Match) {
            matching::match_outputs(graph, id, inputs, targets.view())?;
        }
        Ok(())
    }

    /// Convolutions that read what pruning changed.
    fn changed(&self, dense: &Graph, pruned: &Graph) -> BTreeSet<NodeId> {
        let recorded: BTreeSet<NodeId> =
            self.windows.iter().flat_map(|w| w.layers.iter().copied()).collect();
        let mut values: BTreeSet<ValueId> = BTreeSet::new();
        let mut convolutions = BTreeSet::new();
        for (id, node) in pruned.nodes() {
            let mut reads_changed = node.inputs.iter().any(|v| values.contains(v));
            if recorded.contains(&id) {
                let channels = |g: &Graph| g.ty(node.inputs[1]).map_or(0, |t| t.shape[1]);
                reads_changed |= channels(pruned) != channels(dense);
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
