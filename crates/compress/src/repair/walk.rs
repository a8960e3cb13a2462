//! A network run layer by layer over all images, so that a layer may change before the next one runs.

use std::collections::BTreeSet;

use ir::{Graph, NodeId, ValueId};
use observe::{Activations, Cut, ImageSet, Observation};

use crate::CompressError;

/// The walk: everything before the current layer has run, or can be run from what is kept.
pub(crate) struct Walk<'a> {
    /// The network; its layers that have not run yet may be changed.
    pub(crate) graph: Graph,
    activations: Activations<'a>,
    stops: BTreeSet<NodeId>,
    needed: BTreeSet<NodeId>,
    done: BTreeSet<NodeId>,
}

impl<'a> Walk<'a> {
    /// A walk of `graph` over `images`, all of them readable, that stops before each of `stops`.
    pub(crate) fn new(
        graph: Graph,
        observation: &Observation<'a>,
        images: &ImageSet,
        stops: BTreeSet<NodeId>,
    ) -> Self {
        let needed = ancestors(&graph, &stops);
        Self {
            graph,
            activations: Activations::new(
                observation.model.input,
                images.clone(),
                observation.engine,
            ),
            stops,
            needed,
            done: BTreeSet::new(),
        }
    }

    /// The next layers, all of whose inputs can be computed; none when the walk is over.
    pub(crate) fn next_level(&mut self) -> Vec<NodeId> {
        let mut known: BTreeSet<ValueId> = self.graph.inputs().iter().copied().collect();
        let mut level = Vec::new();
        for (id, node) in self.graph.nodes() {
            let ready = |v: &ValueId| known.contains(v) || self.graph.constant(*v).is_some();
            if !self.needed.contains(&id) || !node.inputs.iter().all(ready) {
                continue;
            }
            if self.stops.contains(&id) && !self.done.contains(&id) {
                level.push(id);
                continue;
            }
            self.done.insert(id);
            known.extend(&node.outputs);
        }
        level
    }

    /// What `f` makes of each image's activations in front of the level's layers.
    pub(crate) fn observe<T: Send>(
        &mut self,
        f: impl Fn(&Cut<'_>) -> T + Sync,
    ) -> Result<Vec<T>, CompressError> {
        let frontier = self.frontier();
        let stateless = || Ok(());
        let results =
            self.activations.map(&self.graph, &frontier, stateless, |(), cut| Ok(f(cut)))?;
        Ok(results)
    }

    /// Marks layers as run: the next level reads what they give now.
    pub(crate) fn finish(&mut self, level: &[NodeId]) {
        self.done.extend(level);
    }

    /// Values that what has run gives to what has not.
    fn frontier(&self) -> Vec<ValueId> {
        let waiting = self
            .graph
            .nodes()
            .filter(|(id, _)| self.needed.contains(id) && !self.done.contains(id));
        let given = |v: &ValueId| {
            self.graph.inputs().contains(v)
                || self.graph.producer(*v).is_some_and(|n| self.done.contains(&n))
        };
        let read: BTreeSet<ValueId> =
            waiting.flat_map(|(_, n)| n.inputs.iter().copied()).filter(given).collect();
        read.into_iter().collect()
    }
}

/// Nodes that the given ones depend on, themselves included.
fn ancestors(graph: &Graph, nodes: &BTreeSet<NodeId>) -> BTreeSet<NodeId> {
    let mut ancestors = nodes.clone();
    for (id, node) in graph.nodes().rev() {
        if ancestors.contains(&id) {
            ancestors.extend(node.inputs.iter().filter_map(|v| graph.producer(*v)));
        }
    }
    ancestors
}
