//! Repair of a pruned network without training: layer after layer, every convolution that reads changed inputs is
//! fitted to what the dense network's gave.

mod matching;
mod patches;
mod record;
mod walk;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use ir::{Graph, NodeId, ValueId};
use ndarray::{Array2, Axis};
use numerics::least_squares;
use prune::{PrunePlan, RIDGE, Statistics};

use crate::prune_stage::{PruneOptions, RepairStep};
use crate::{CompressError, Observation};
use patches::{Draw, Window, by_window};
use walk::Walk;

/// The dense network as it was seen on images.
pub(crate) struct DenseRecord {
    /// Its convolutions.
    pub(crate) statistics: Statistics,
    /// Images on which layers are fitted.
    images: Vec<PathBuf>,
    /// Windows of each of them.
    draw: Draw,
    /// What each convolution gave on those windows: `[rows, outputs]`.
    targets: BTreeMap<NodeId, Array2<f32>>,
}

impl DenseRecord {
    /// The pruned graph with every convolution that reads changed inputs fitted to the dense one, and then, or only,
    /// matched to its means and deviations.
    pub(crate) fn repair(
        &self,
        observation: &Observation<'_>,
        (pruned, plan): (Graph, &PrunePlan),
        options: &PruneOptions,
    ) -> Result<Graph, CompressError> {
        let dirty = self.dirty(&pruned);
        let mut walk = Walk::new(pruned, observation, &self.images, dirty);
        loop {
            let level = walk.next_level();
            if level.is_empty() {
                return Ok(walk.graph);
            }
            let windows = by_window(&walk.graph, &level)?;
            let mut rows = walk.observe(|seen| {
                let of = |w: &Window| w.sample((seen.value(w.input), seen.image), self.draw);
                windows.iter().map(|(w, _)| of(w)).collect::<Vec<_>>()
            })?;
            for (at, (window, layers)) in windows.iter().enumerate() {
                let of_images = rows.iter_mut().map(|r| std::mem::take(&mut r[at]));
                let x = window.stack(of_images, self.draw.count * self.images.len());
                for &id in layers {
                    let how = (options, observation.threads);
                    self.fit((&mut walk.graph, plan), id, &x, how)?;
                }
            }
            walk.finish(&level);
        }
    }

    /// Fits one convolution, from the windows that it reads now.
    fn fit(
        &self,
        (graph, plan): (&mut Graph, &PrunePlan),
        id: NodeId,
        x: &Array2<f32>,
        (options, threads): (&PruneOptions, usize),
    ) -> Result<(), CompressError> {
        let dense = &self.targets[&id];
        let name = &graph.value(graph.node(id).inputs[1]).name;
        let targets = match plan.layers.get(name) {
            Some(rows) => &dense.select(Axis(1), rows),
            None => dense,
        };
        if options.repairs(RepairStep::Reconstruct) {
            let now = prune::layer(graph, id)?;
            let fitted = least_squares(&now, x.view(), targets.view(), RIDGE, threads);
            prune::set_layer(graph, id, &fitted)?;
        }
        if options.repairs(RepairStep::Match) {
            matching::match_outputs(graph, id, x, targets.view())?;
        }
        Ok(())
    }

    /// Convolutions that read what pruning changed.
    fn dirty(&self, pruned: &Graph) -> BTreeSet<NodeId> {
        let mut changed: BTreeSet<ValueId> = BTreeSet::new();
        let mut dirty = BTreeSet::new();
        for (id, node) in pruned.nodes() {
            let mut hit = node.inputs.iter().any(|v| changed.contains(v));
            if let Some(dense) = self.statistics.get(&id) {
                let columns =
                    |g: &Graph| g.ty(node.inputs[1]).map_or(0, |t| t.shape[1]) * dense.taps;
                hit |= columns(pruned) != dense.layer.weight.ncols();
                if hit {
                    dirty.insert(id);
                }
            }
            if hit {
                changed.extend(&node.outputs);
            }
        }
        dirty
    }
}
