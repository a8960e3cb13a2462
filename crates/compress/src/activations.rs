//! Activations of a network on images, kept at a cut through it, so that what lies behind can change and run again.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, ScopedJoinHandle};

use ir::{Graph, IrError, ValueId, subgraph};
use runtime::{Plan, Session};

use crate::{CompressError, Observation};

/// Activations of all images that are kept, at most.
const CACHE_BYTES: usize = 192 << 20;

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

/// What is known of one image.
type Known = BTreeMap<ValueId, Vec<f32>>;

/// What is known of a network's activations on images; what is asked for next is computed from there.
pub(crate) struct Activations<'a> {
    observation: Observation<'a>,
    images: Vec<PathBuf>,
    /// The same values of every image.
    known: Vec<Known>,
}

impl<'a> Activations<'a> {
    /// Of images, all of them readable; nothing is known yet.
    pub(crate) fn new(observation: Observation<'a>, images: Vec<PathBuf>) -> Self {
        Self {
            observation,
            known: vec![Known::new(); images.len()],
            images,
        }
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.known.iter_mut().for_each(Known::clear);
    }

    /// What `see` makes of each image's values at a cut of `graph`, in the order of the images; `make` gives each
    /// worker what it keeps between images. Between two calls the graph may change behind the first one's cut.
    pub(crate) fn at<S, T: Send>(
        &mut self,
        (graph, cut): (&Graph, &[ValueId]),
        make: impl Fn() -> Result<S, CompressError> + Sync,
        see: impl Fn(&mut S, &Cut<'_>) -> Result<T, CompressError> + Sync,
    ) -> Result<Vec<T>, CompressError> {
        let keep = self.bytes(graph, cut)? <= CACHE_BYTES;
        let of_first = self.known.first().into_iter().flat_map(BTreeMap::keys);
        let missing = Missing::new(graph, cut, of_first.copied().collect(), &self.observation)?;
        let one = |(session, state): &mut (Session, S), image: usize, known: &mut Known| {
            let path = &self.images[image];
            let computed = missing.compute(graph, (path, known), (session, &self.observation))?;
            let value = |v: &ValueId| (*v, computed.get(v).unwrap_or_else(|| &known[v]).as_slice());
            let values = cut.iter().map(value).collect();
            let seen = see(state, &Cut { image, values })?;
            if keep {
                known.retain(|v, _| cut.contains(v));
                known.extend(computed);
            }
            Ok(seen)
        };
        let threads = self.observation.threads.max(1);
        let share = self.images.len().div_ceil(threads).max(1);
        let work = |first: usize, known: &mut [Known]| -> Result<Vec<T>, CompressError> {
            let mut state = (Session::new(&missing.plan, 1)?, make()?);
            let images = known.iter_mut().enumerate();
            images.map(|(i, k)| one(&mut state, first + i, k)).collect()
        };
        let parts: Vec<Result<Vec<T>, CompressError>> = thread::scope(|scope| {
            let start = |(i, known)| {
                let work = &work;
                scope.spawn(move || work(i * share, known))
            };
            let running: Vec<_> = self
                .known
                .chunks_mut(share)
                .enumerate()
                .map(start)
                .collect();
            let end = |w: ScopedJoinHandle<'_, _>| w.join().expect("a worker does not panic");
            running.into_iter().map(end).collect()
        });
        if parts.iter().any(Result::is_err) {
            self.clear();
        }
        let mut all = Vec::with_capacity(self.images.len());
        for part in parts {
            all.extend(part?);
        }
        Ok(all)
    }

    fn bytes(&self, graph: &Graph, values: &[ValueId]) -> Result<usize, IrError> {
        let mut elements = 0;
        for v in values {
            elements += graph.ty(*v)?.elements();
        }
        Ok(elements * self.images.len() * size_of::<f32>())
    }
}

/// Values of a cut that are not known, and how they are computed from what is.
struct Missing {
    values: Vec<ValueId>,
    inputs: Vec<ValueId>,
    plan: Arc<Plan>,
    /// Whether the image itself is needed.
    from_image: bool,
}

impl Missing {
    fn new(
        graph: &Graph,
        cut: &[ValueId],
        known: BTreeSet<ValueId>,
        observation: &Observation<'_>,
    ) -> Result<Self, CompressError> {
        let of_image = |v: &ValueId| graph.inputs().contains(v) && !known.contains(v);
        let unknown = |v: &&ValueId| !known.contains(v);
        let values: Vec<ValueId> = cut.iter().filter(unknown).copied().collect();
        let from = known.iter().chain(graph.inputs()).copied().collect();
        let (part, inputs) = subgraph(graph, &from, &values)?;
        Ok(Self {
            from_image: inputs.iter().chain(&values).any(of_image),
            plan: Arc::new(Plan::compile(&part, &[], &observation.options)?),
            values,
            inputs,
        })
    }

    fn compute(
        &self,
        graph: &Graph,
        (path, known): (&Path, &Known),
        (session, observation): (&mut Session, &Observation<'_>),
    ) -> Result<Known, CompressError> {
        let mut computed = Known::new();
        if self.from_image {
            let planes = observation.planes(path)?.0;
            computed.extend(graph.inputs().iter().copied().zip(planes));
        }
        let mut outputs = vec![];
        if !self.inputs.is_empty() {
            let element = |v| computed.get(v).unwrap_or_else(|| &known[v]).as_slice();
            let given: Vec<&[f32]> = self.inputs.iter().map(element).collect();
            outputs = session.run(&given)?;
        }
        computed.retain(|v, _| self.values.contains(v));
        let given = |v: &&ValueId| !graph.inputs().contains(v);
        for (v, tensor) in self.values.iter().filter(given).zip(outputs) {
            computed.insert(*v, tensor.as_slice::<f32>()?.to_vec());
        }
        Ok(computed)
    }
}
