//! A network run layer by layer over all images, so that a layer may change before the next one runs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use ir::{Graph, IrError, NodeId, Tensor, ValueId};
use runtime::{Plan, Session};

use crate::{CompressError, Observation};

/// Activations of all images that are kept between layers, at most.
const CACHE_BYTES: usize = 320 << 20;

/// The activations that a layer's convolutions read, image by image.
pub(crate) struct Seen<'a> {
    /// Position in the list of images.
    pub(crate) image: usize,
    values: BTreeMap<ValueId, &'a [f32]>,
}

impl Seen<'_> {
    /// Elements of a value in row-major order.
    pub(crate) fn value(&self, value: ValueId) -> &[f32] {
        self.values.get(&value).copied().unwrap_or_default()
    }
}

/// The walk: everything before the current layer has run, or can be run from what is cached.
pub(crate) struct Walk<'a> {
    /// The network; its layers that have not run yet may be changed.
    pub(crate) graph: Graph,
    observation: &'a Observation<'a>,
    images: Vec<PathBuf>,
    stops: BTreeSet<NodeId>,
    needed: BTreeSet<NodeId>,
    done: BTreeSet<NodeId>,
    cache: BTreeMap<ValueId, Vec<Arc<Vec<f32>>>>,
}

impl<'a> Walk<'a> {
    /// A walk of `graph` over `images`, all of them readable, that stops before each of `stops`.
    pub(crate) fn new(
        graph: Graph,
        observation: &'a Observation<'a>,
        images: &[PathBuf],
        stops: BTreeSet<NodeId>,
    ) -> Self {
        let needed = ancestors(&graph, &stops);
        Self {
            graph,
            observation,
            images: images.to_vec(),
            stops,
            needed,
            done: BTreeSet::new(),
            cache: BTreeMap::new(),
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

    /// What `see` makes of each image's activations in front of the level's layers.
    pub(crate) fn observe<T: Send>(
        &mut self,
        see: impl Fn(&Seen<'_>) -> T + Sync,
    ) -> Result<Vec<T>, CompressError> {
        let frontier = self.frontier();
        let missing: Vec<ValueId> = frontier
            .iter()
            .copied()
            .filter(|v| !self.cache.contains_key(v))
            .collect();
        let keep = self.bytes(&frontier)? <= CACHE_BYTES;
        let from: BTreeSet<ValueId> = self
            .cache
            .keys()
            .chain(self.graph.inputs())
            .copied()
            .collect();
        let (part, inputs) = subgraph(&self.graph, &from, &missing)?;
        let plan = Arc::new(Plan::compile(&part, &[], &self.observation.options)?);
        let threads = self.observation.threads.clamp(1, self.images.len().max(1));
        type Run<T> = Result<(Vec<Arc<Vec<f32>>>, T), CompressError>;
        let one = |session: &mut Session, image: usize| -> Run<T> {
            let mut computed = self.compute(session, image, &inputs, &missing)?;
            let values = frontier.iter().map(|&v| {
                let elements = match missing.iter().position(|m| *m == v) {
                    Some(i) => computed[i].as_slice(),
                    None => self.cache[&v][image].as_slice(),
                };
                (v, elements)
            });
            let seen = see(&Seen {
                image,
                values: values.collect(),
            });
            if !keep {
                computed.clear();
            }
            Ok((computed, seen))
        };
        let work = |first: usize| -> Result<Vec<_>, CompressError> {
            let mut session = Session::new(&plan, 1)?;
            let images = (first..self.images.len()).step_by(threads);
            images.map(|i| Ok((i, one(&mut session, i)?))).collect()
        };
        let parts: Vec<Result<Vec<_>, CompressError>> = std::thread::scope(|scope| {
            let start = |first: usize| {
                let work = &work;
                scope.spawn(move || work(first))
            };
            let running: Vec<_> = (0..threads).map(start).collect();
            let end = |w: std::thread::ScopedJoinHandle<'_, _>| {
                w.join().expect("a worker does not panic")
            };
            running.into_iter().map(end).collect()
        });
        let mut all = Vec::with_capacity(self.images.len());
        for part in parts {
            all.extend(part?);
        }
        all.sort_by_key(|(image, _)| *image);
        let (computed, seen): (Vec<_>, Vec<T>) = all.into_iter().map(|(_, r)| r).unzip();
        if keep {
            self.cache.retain(|v, _| frontier.contains(v));
            for (i, v) in missing.into_iter().enumerate() {
                let of_images = computed.iter().map(|c| Arc::clone(&c[i])).collect();
                self.cache.insert(v, of_images);
            }
        }
        Ok(seen)
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
                || self
                    .graph
                    .producer(*v)
                    .is_some_and(|n| self.done.contains(&n))
        };
        let read: BTreeSet<ValueId> = waiting
            .flat_map(|(_, n)| n.inputs.iter().copied())
            .filter(given)
            .collect();
        read.into_iter().collect()
    }

    fn bytes(&self, values: &[ValueId]) -> Result<usize, IrError> {
        let mut elements = 0;
        for v in values {
            elements += self.graph.ty(*v)?.elements();
        }
        Ok(elements * self.images.len() * size_of::<f32>())
    }

    fn compute(
        &self,
        session: &mut Session,
        image: usize,
        inputs: &[ValueId],
        missing: &[ValueId],
    ) -> Result<Vec<Arc<Vec<f32>>>, CompressError> {
        if missing.is_empty() {
            return Ok(vec![]);
        }
        let known = |v: &ValueId| !self.graph.inputs().contains(v) || self.cache.contains_key(v);
        let fresh: BTreeMap<ValueId, Vec<f32>> = match inputs.iter().chain(missing).all(known) {
            true => BTreeMap::new(),
            false => {
                let planes = self.observation.planes(&self.images[image])?.0;
                self.graph.inputs().iter().copied().zip(planes).collect()
            }
        };
        let element = |v: &ValueId| match fresh.get(v) {
            Some(elements) => elements.as_slice(),
            None => self.cache[v][image].as_slice(),
        };
        let given: Vec<&[f32]> = inputs.iter().map(element).collect();
        let outputs = if missing.iter().all(|v| fresh.contains_key(v)) {
            vec![]
        } else {
            session.run(&given)?
        };
        let mut outputs = outputs.into_iter();
        let take = |v: &ValueId| -> Result<Arc<Vec<f32>>, CompressError> {
            if let Some(elements) = fresh.get(v) {
                return Ok(Arc::new(elements.clone()));
            }
            let tensor = outputs
                .next()
                .expect("a subgraph gives what was asked of it");
            Ok(Arc::new(elements(&tensor)?))
        };
        missing.iter().map(take).collect()
    }
}

fn elements(tensor: &Tensor) -> Result<Vec<f32>, CompressError> {
    Ok(tensor.as_slice::<f32>()?.to_vec())
}

/// Nodes that the given ones depend on, themselves included.
fn ancestors(graph: &Graph, of: &BTreeSet<NodeId>) -> BTreeSet<NodeId> {
    let mut found = of.clone();
    for (id, node) in graph.nodes().rev() {
        if found.contains(&id) {
            found.extend(node.inputs.iter().filter_map(|v| graph.producer(*v)));
        }
    }
    found
}

/// The part of a graph that computes `to` from `from`, and which of `from` it reads, in the order of its inputs.
/// Values of `to` that are inputs of the graph are left out.
pub(crate) fn subgraph(
    graph: &Graph,
    from: &BTreeSet<ValueId>,
    to: &[ValueId],
) -> Result<(Graph, Vec<ValueId>), IrError> {
    let computed: Vec<ValueId> = to.iter().copied().filter(|v| !from.contains(v)).collect();
    let mut needed: BTreeSet<NodeId> = BTreeSet::new();
    let mut todo = computed.clone();
    let mut inputs: BTreeSet<ValueId> = BTreeSet::new();
    while let Some(v) = todo.pop() {
        if from.contains(&v) {
            inputs.insert(v);
        } else if let Some(id) = graph.producer(v).filter(|id| needed.insert(*id)) {
            todo.extend(&graph.node(id).inputs);
        }
    }
    let inputs: Vec<ValueId> = inputs.into_iter().collect();
    let mut part = Graph::new(graph.opset);
    let mut edit = part.edit();
    let mut map: BTreeMap<ValueId, ValueId> = BTreeMap::new();
    for &v in &inputs {
        map.insert(v, edit.input(&graph.value(v).name, graph.ty(v)?.clone()));
    }
    for (_, node) in graph.nodes().filter(|(id, _)| needed.contains(id)) {
        let mut read = Vec::new();
        for v in &node.inputs {
            let known = match (map.get(v), graph.constant(*v)) {
                (Some(&known), _) => known,
                (None, Some(tensor)) => edit.constant(&graph.value(*v).name, tensor.clone()),
                (None, None) => continue,
            };
            map.insert(*v, known);
            read.push(known);
        }
        let names: Vec<&str> = node
            .outputs
            .iter()
            .map(|v| graph.value(*v).name.as_str())
            .collect();
        let outputs = edit.node(&node.name, node.op.clone(), &read, &names);
        map.extend(node.outputs.iter().copied().zip(outputs));
    }
    computed.iter().for_each(|v| edit.output(map[v]));
    part.apply(edit)?;
    Ok((part, inputs))
}
