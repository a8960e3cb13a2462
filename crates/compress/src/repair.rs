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
use prune::{PrunePlan, RIDGE, Statistics, regress};

use crate::prune_stage::{PruneOptions, RepairStep};
use crate::{CompressError, Observation};
use patches::{Draw, Window};
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
            let (windows, samples) = samples(&mut walk, &level, self.draw)?;
            for (&id, at) in level.iter().zip(windows) {
                let dense = &self.targets[&id];
                let name = &walk.graph.value(walk.graph.node(id).inputs[1]).name;
                let targets = match plan.layers.get(name) {
                    Some(rows) => &dense.select(Axis(1), rows),
                    None => dense,
                };
                if options.repairs(RepairStep::Reconstruct) {
                    let now = prune::layer(&walk.graph, id)?;
                    let (x, threads) = (samples[at].view(), observation.threads);
                    let fitted = regress(&now, x, targets.view(), RIDGE, threads);
                    prune::set_layer(&mut walk.graph, id, &fitted)?;
                }
                if options.repairs(RepairStep::Match) {
                    matching::match_outputs(&mut walk.graph, id, &samples[at], targets.view())?;
                }
            }
            walk.finish(&level);
        }
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

/// Sampled windows of a level's layers: for each layer which matrix, and the matrices.
type Samples = (Vec<usize>, Vec<Array2<f32>>);

fn samples(walk: &mut Walk<'_>, level: &[NodeId], draw: Draw) -> Result<Samples, CompressError> {
    let mut windows: Vec<Window> = Vec::new();
    let mut which = Vec::new();
    for &id in level {
        let window = Window::of(&walk.graph, id)?.expect("the walk stops at convolutions");
        let known = windows.iter().position(|w| *w == window);
        which.push(known.unwrap_or(windows.len()));
        if known.is_none() {
            windows.push(window);
        }
    }
    let mut rows = walk.observe(|seen| {
        let of = |w: &Window| w.sample((seen.value(w.input), seen.image), draw);
        windows.iter().map(of).collect::<Vec<_>>()
    })?;
    let most = draw.count * rows.len();
    let stack = |(i, w): (usize, &Window)| {
        let of_images = rows.iter_mut().map(|r| std::mem::take(&mut r[i]));
        w.stack(of_images, most)
    };
    let samples = windows.iter().enumerate().map(stack).collect();
    Ok((which, samples))
}
