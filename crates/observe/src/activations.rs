//! Activations of a network on images, kept at a cut through it, so that what lies behind can change and run again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ir::{Graph, IrError, ValueId, subgraph};
use numerics::parallel_map_with;
use runtime::{Plan, Session};
use yolo::{ModelInput, Planes, YoloError};

use crate::{Engine, ImageSet, ObserveError};

/// The activations of one image at a cut through the network.
pub struct Cut<'a> {
    /// Position in the list of images.
    pub image: usize,
    values: BTreeMap<ValueId, &'a [f32]>,
}

impl Cut<'_> {
    /// Elements of a value in row-major order; none for a value that is not of the cut.
    pub fn value(&self, value: ValueId) -> &[f32] {
        self.values.get(&value).copied().unwrap_or_default()
    }
}

/// What is known of one image.
type Known = BTreeMap<ValueId, Vec<f32>>;

/// What is known of a network's activations on images; what is asked for next is computed from there.
pub struct Activations<'a> {
    input: &'a ModelInput,
    images: ImageSet,
    engine: Engine,
    /// The same values of every image.
    known: Vec<Known>,
}

impl<'a> Activations<'a> {
    /// Of images, all of them readable; nothing is known yet.
    pub fn new(input: &'a ModelInput, images: ImageSet, engine: Engine) -> Self {
        Self { input, known: vec![Known::new(); images.len()], images, engine }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.known.iter_mut().for_each(Known::clear);
    }

    /// What `f` makes of each image's values at a cut through `graph`, in the order of the images; `state` gives each
    /// worker what it keeps between images. Between two calls the graph may change behind the first one's cut.
    ///
    /// # Errors
    /// `Runtime` when a plan complains, and what `state` and `f` return; then nothing is known any more.
    pub fn map<S: Send, T: Send>(
        &mut self,
        graph: &Graph,
        cut: &[ValueId],
        state: impl Fn() -> Result<S, ObserveError>,
        f: impl Fn(&mut S, &Cut<'_>) -> Result<T, ObserveError> + Sync,
    ) -> Result<Vec<T>, ObserveError> {
        let keep = self.bytes(graph, cut)? <= self.engine.kept_bytes();
        let known_now = self.known.first().into_iter().flat_map(BTreeMap::keys);
        let missing = Missing::new(graph, cut, known_now.copied().collect(), self.engine)?;
        let of_image = |(session, state): &mut (Session, S),
                        (image, known): (usize, &mut Known)| {
            let computed = missing.compute(graph, session, known, || {
                self.images.planes(&self.images.paths[image], self.input)
            })?;
            let value = |v: &ValueId| (*v, computed.get(v).unwrap_or_else(|| &known[v]).as_slice());
            let values = cut.iter().map(value).collect();
            let result = f(state, &Cut { image, values })?;
            if keep {
                known.retain(|v, _| cut.contains(v));
                known.extend(computed);
            }
            Ok(result)
        };
        let mut workers = (0..self.engine.threads.max(1))
            .map(|_| Ok((Session::new(&missing.plan, 1)?, state()?)))
            .collect::<Result<Vec<_>, ObserveError>>()?;
        let images = self.known.iter_mut().enumerate();
        let results = parallel_map_with(&mut workers, images, of_image);
        let results: Result<Vec<T>, ObserveError> = results.into_iter().collect();
        if results.is_err() {
            // What is known differs from image to image now.
            self.clear();
        }
        results
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
        engine: Engine,
    ) -> Result<Self, ObserveError> {
        let of_image = |v: &ValueId| graph.inputs().contains(v) && !known.contains(v);
        let unknown = |v: &&ValueId| !known.contains(v);
        let values: Vec<ValueId> = cut.iter().filter(unknown).copied().collect();
        let from = known.iter().chain(graph.inputs()).copied().collect();
        let (part, inputs) = subgraph(graph, &from, &values)?;
        Ok(Self {
            from_image: inputs.iter().chain(&values).any(of_image),
            plan: Arc::new(Plan::compile(&part, &[], &engine.options)?),
            values,
            inputs,
        })
    }

    fn compute(
        &self,
        graph: &Graph,
        session: &mut Session,
        known: &Known,
        image: impl Fn() -> Result<Planes, YoloError>,
    ) -> Result<Known, ObserveError> {
        let mut computed = Known::new();
        if self.from_image {
            let planes = image()?.0;
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
