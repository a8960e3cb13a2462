//! Activations of a network on images, kept at a cut through it, so that what lies behind can change and run again.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{self, ScopedJoinHandle};

use ir::{Graph, IrError, NodeId, ValueId};
use runtime::{Plan, Session};

use crate::{CompressError, Observation};

/// Activations of all images that are kept, at most.
const CACHE_BYTES: usize = 320 << 20;

/// The activations of one image at a cut.
pub(crate) struct Cut<'a> {
    /// Position in the list of images.
    pub(crate) image: usize,
    values: BTreeMap<ValueId, &'a [f32]>,
}

impl Cut<'_> {
    /// Elements of a value in row-major order.
    pub(crate) fn value(&self, value: ValueId) -> &[f32] {
        self.values.get(&value).copied().unwrap_or_default()
    }
}

/// What is known of a network's activations on images; what is asked for next is computed from there.
pub(crate) struct Activations<'a> {
    observation: Observation<'a>,
    images: Vec<PathBuf>,
    cache: BTreeMap<ValueId, Vec<Arc<Vec<f32>>>>,
}

impl<'a> Activations<'a> {
    /// Of images, all of them readable; nothing is known yet.
    pub(crate) fn new(observation: Observation<'a>, images: Vec<PathBuf>) -> Self {
        Self {
            observation,
            images,
            cache: BTreeMap::new(),
        }
    }

    /// What `see` makes of each image's values at a cut of `graph`, in the order of the images; `make` gives each
    /// worker what it keeps between images. Between two calls the graph may change behind the first one's cut.
    pub(crate) fn at<S, T: Send>(
        &mut self,
        (graph, cut): (&Graph, &[ValueId]),
        make: impl Fn() -> Result<S, CompressError> + Sync,
        see: impl Fn(&mut S, &Cut<'_>) -> Result<T, CompressError> + Sync,
    ) -> Result<Vec<T>, CompressError> {
        let missing = Missing::new(graph, cut, &self.cache, &self.observation)?;
        let keep = self.bytes(graph, cut)? <= CACHE_BYTES;
        type Run<T> = Result<(Vec<Arc<Vec<f32>>>, T), CompressError>;
        let one = |session: &mut Session, state: &mut S, image: usize| -> Run<T> {
            let mut computed = self.compute(graph, &missing, (session, image))?;
            let values = cut.iter().map(|v| {
                let known = |i: usize| computed[i].as_slice();
                let at = missing.values.iter().position(|m| m == v);
                (*v, at.map_or_else(|| self.cached(*v, image), known))
            });
            let values = values.collect();
            let seen = see(state, &Cut { image, values })?;
            if !keep {
                computed.clear();
            }
            Ok((computed, seen))
        };
        let threads = self.observation.threads.clamp(1, self.images.len().max(1));
        let work = |first: usize| -> Result<Vec<_>, CompressError> {
            let (mut session, mut state) = (Session::new(&missing.plan, 1)?, make()?);
            let images = (first..self.images.len()).step_by(threads);
            images
                .map(|i| Ok((i, one(&mut session, &mut state, i)?)))
                .collect()
        };
        let parts: Vec<Result<Vec<_>, CompressError>> = thread::scope(|scope| {
            let start = |first: usize| {
                let work = &work;
                scope.spawn(move || work(first))
            };
            let running: Vec<_> = (0..threads).map(start).collect();
            let end = |w: ScopedJoinHandle<'_, _>| w.join().expect("a worker does not panic");
            running.into_iter().map(end).collect()
        });
        let mut all = Vec::with_capacity(self.images.len());
        for part in parts {
            all.extend(part?);
        }
        all.sort_by_key(|(image, _)| *image);
        let (computed, seen): (Vec<_>, Vec<T>) = all.into_iter().map(|(_, r)| r).unzip();
        if keep {
            self.cache.retain(|v, _| cut.contains(v));
            for (i, v) in missing.values.into_iter().enumerate() {
                let of_images = computed.iter().map(|c| Arc::clone(&c[i])).collect();
                self.cache.insert(v, of_images);
            }
        }
        Ok(seen)
    }

    fn cached(&self, value: ValueId, image: usize) -> &[f32] {
        &self.cache[&value][image]
    }

    fn bytes(&self, graph: &Graph, values: &[ValueId]) -> Result<usize, IrError> {
        let mut elements = 0;
        for v in values {
            elements += graph.ty(*v)?.elements();
        }
        Ok(elements * self.images.len() * size_of::<f32>())
    }

    fn compute(
        &self,
        graph: &Graph,
        missing: &Missing,
        (session, image): (&mut Session, usize),
    ) -> Result<Vec<Arc<Vec<f32>>>, CompressError> {
        if missing.values.is_empty() {
            return Ok(vec![]);
        }
        let known = |v: &ValueId| !graph.inputs().contains(v) || self.cache.contains_key(v);
        let read = || missing.inputs.iter().chain(&missing.values);
        let mut fresh: BTreeMap<ValueId, Vec<f32>> = match read().all(known) {
            true => BTreeMap::new(),
            false => {
                let planes = self.observation.planes(&self.images[image])?.0;
                graph.inputs().iter().copied().zip(planes).collect()
            }
        };
        let element = |v: &ValueId| match fresh.get(v) {
            Some(elements) => elements.as_slice(),
            None => self.cached(*v, image),
        };
        let given: Vec<&[f32]> = missing.inputs.iter().map(element).collect();
        let outputs = match missing.values.iter().all(|v| fresh.contains_key(v)) {
            true => vec![],
            false => session.run(&given)?,
        };
        let mut outputs = outputs.into_iter();
        let take = |v: &ValueId| -> Result<Arc<Vec<f32>>, CompressError> {
            if let Some(elements) = fresh.remove(v) {
                return Ok(Arc::new(elements));
            }
            let tensor = outputs
                .next()
                .expect("a subgraph gives what was asked of it");
            Ok(Arc::new(tensor.as_slice::<f32>()?.to_vec()))
        };
        missing.values.iter().map(take).collect()
    }
}

/// Values of a cut that are not known, and how they are computed from what is.
struct Missing {
    values: Vec<ValueId>,
    inputs: Vec<ValueId>,
    plan: Arc<Plan>,
}

impl Missing {
    fn new(
        graph: &Graph,
        cut: &[ValueId],
        known: &BTreeMap<ValueId, Vec<Arc<Vec<f32>>>>,
        observation: &Observation<'_>,
    ) -> Result<Self, CompressError> {
        let unknown = |v: &ValueId| !known.contains_key(v);
        let values: Vec<ValueId> = cut.iter().copied().filter(unknown).collect();
        let from: BTreeSet<ValueId> = known.keys().chain(graph.inputs()).copied().collect();
        let (part, inputs) = subgraph(graph, &from, &values)?;
        let plan = Arc::new(Plan::compile(&part, &[], &observation.options)?);
        Ok(Self {
            values,
            inputs,
            plan,
        })
    }
}

/// The part of a graph that computes `to` from `from`, and which of `from` it reads, in the order of its inputs.
/// Values of `to` that are among `from` are left out.
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
