//! Repair of a pruned network without training: layer after layer, every convolution that reads changed inputs is
//! fitted to what the dense network's gave.

mod matching;
mod patches;
mod walk;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use ir::{Graph, NodeId, ValueId};
use ndarray::{Array2, Axis};
use prune::{LayerStatistics, Moments, PrunePlan, RIDGE, Statistics, regress};
use yolo::families::find_tail;

use crate::prune_stage::{PruneOptions, RepairStep};
use crate::{CompressError, Observation};
use patches::{Draw, Window};
use walk::Walk;

/// Rows that a layer is fitted to, over all images.
const ROWS: usize = 6144;
/// The dense network as it was seen on images.
pub(crate) struct DenseRecord {
    /// Its convolutions.
    pub(crate) statistics: Statistics,
    /// What each of them gave on the sampled windows: `[rows, outputs]`.
    targets: BTreeMap<NodeId, Array2<f32>>,
    images: Vec<PathBuf>,
    draw: Draw,
}

impl DenseRecord {
    /// Looks at every convolution before the head's tail. `images` must be readable.
    pub(crate) fn new(
        observation: &Observation<'_>,
        images: &[PathBuf],
        seed: u64,
    ) -> Result<Self, CompressError> {
        let record = Self {
            statistics: Statistics::new(),
            targets: BTreeMap::new(),
            images: vec![],
            draw: Draw { count: 0, seed },
        };
        record.over(observation, images)
    }

    /// This record's statistics with targets from other images; a record without statistics gathers them there.
    pub(crate) fn over(
        &self,
        observation: &Observation<'_>,
        images: &[PathBuf],
    ) -> Result<Self, CompressError> {
        let graph = observation.graph;
        let tail = find_tail(graph);
        let mut stops = BTreeSet::new();
        for (id, _) in graph.nodes() {
            if Window::of(graph, id)?.is_some() && !tail.nodes.contains(&id) {
                stops.insert(id);
            }
        }
        let mut record = Self {
            statistics: self.statistics.clone(),
            targets: BTreeMap::new(),
            images: images.to_vec(),
            draw: Draw {
                count: ROWS.div_ceil(images.len().max(1)),
                seed: self.draw.seed,
            },
        };
        let is_new = self.statistics.is_empty();
        let mut walk = Walk::new(graph.clone(), observation, images, stops);
        loop {
            let level = walk.next_level();
            if level.is_empty() {
                return Ok(record);
            }
            record.see(&mut walk, &level, (observation.threads, is_new))?;
            walk.finish(&level);
        }
    }

    fn see(
        &mut self,
        walk: &mut Walk<'_>,
        level: &[NodeId],
        (threads, with_statistics): (usize, bool),
    ) -> Result<(), CompressError> {
        let (windows, samples) = samples(walk, level, self.draw)?;
        let moments: Vec<Arc<Moments>> = samples
            .iter()
            .filter(|_| with_statistics)
            .map(|x| Arc::new(Moments::of(x.view(), threads)))
            .collect();
        for (&id, at) in level.iter().zip(windows) {
            let layer = prune::layer(&walk.graph, id)?;
            self.targets
                .insert(id, matching::outputs(&layer, &samples[at]));
            let Some(moments) = moments.get(at) else {
                continue;
            };
            let taps = walk.graph.ty(walk.graph.node(id).inputs[1])?.shape[2..]
                .iter()
                .product();
            let seen = LayerStatistics {
                layer,
                taps,
                moments: Arc::clone(moments),
            };
            self.statistics.insert(id, seen);
        }
        Ok(())
    }

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
        let of = |w: &Window| w.sample(seen, draw);
        windows.iter().map(of).collect::<Vec<_>>()
    })?;
    let stack =
        |(i, w): (usize, &Window)| w.stack(rows.iter_mut().map(|r| std::mem::take(&mut r[i])));
    let samples = windows.iter().enumerate().map(stack).collect();
    Ok((which, samples))
}
