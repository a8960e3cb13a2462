//! How far two models are apart, layer by layer, and how their values are spread.

use std::collections::BTreeMap;
use std::sync::Arc;

use ir::{DataType, Graph, Op, ValueId};
use runtime::{Plan, PlanOptions, RuntimeError, Session};
use serde::{Deserialize, Serialize};
use yolo::Planes;

use crate::{Engine, Observation, ObserveError};

/// Bins of a histogram.
const BINS: usize = 96;

/// One convolution with its activation, in two models.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct LayerError {
    /// Name of the convolution.
    pub layer: String,
    /// Name of the value that is compared.
    pub value: String,
    /// Output channels in the first model.
    pub channels: usize,
    /// Output channels in the second.
    pub other_channels: usize,
    /// Root of the squared difference over the squared values of the first; `None` where shapes differ.
    pub relative_error: Option<f64>,
}

/// How the values of one tensor are spread over several images.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Histogram {
    /// Name of the value.
    pub value: String,
    /// Smallest value.
    pub min: f32,
    /// Largest value.
    pub max: f32,
    /// Values in equal bins from `min` to `max`.
    pub counts: Vec<u64>,
}

/// The value after a convolution and its activation.
fn layer_value(graph: &Graph, conv: &ir::Node) -> ValueId {
    let value = conv.outputs[0];
    let consumers = graph.consumers();
    match consumers.get(&value).map(Vec::as_slice) {
        Some(&[(only, _)]) if matches!(graph.node(only).op, Op::Unary(_)) => {
            graph.node(only).outputs[0]
        }
        _ => value,
    }
}

/// A convolution of one model, with the value of the same name in another.
struct Pair {
    layer: String,
    first: ValueId,
    second: ValueId,
}

fn pairs(first: &Graph, second: &Graph) -> Vec<Pair> {
    let counterpart = |v: ValueId| {
        let other = second.value_named(&first.value(v).name)?;
        let is_f32 = second.ty(other).is_ok_and(|t| t.dtype == DataType::F32);
        (is_f32 && second.producer(other).is_some()).then_some(other)
    };
    let convs = first.nodes().filter(|(_, n)| matches!(n.op, Op::Conv(_)));
    let pair = |n: &ir::Node| {
        let value = layer_value(first, n);
        Some(Pair { layer: n.name.clone(), first: value, second: counterpart(value)? })
    };
    convs.filter_map(|(_, n)| pair(n)).collect()
}

/// A session in which every value can be observed: quantization is imitated in float.
fn session(graph: &Graph, values: &[ValueId], engine: Engine) -> Result<Session, ObserveError> {
    let options = PlanOptions { integer: false, ..engine.options };
    let plan = Arc::new(Plan::compile(graph, values, &options)?);
    Ok(Session::new(&plan, engine.threads)?)
}

/// Squares of one layer, summed over images.
#[derive(Clone, Copy, Default)]
struct Squares {
    difference: f64,
    whole: f64,
}

/// Relative error of every layer that the observed model and `second` both have, over all images together.
///
/// # Errors
/// `Runtime` when a plan complains, `Yolo` when an image cannot be read.
pub fn layer_errors(
    observation: &Observation<'_>,
    second: &Graph,
) -> Result<Vec<LayerError>, ObserveError> {
    let first = observation.model.graph;
    let pairs = pairs(first, second);
    let values = |side: fn(&Pair) -> ValueId| pairs.iter().map(side).collect::<Vec<_>>();
    let mut sessions = (
        session(first, &values(|p| p.first), observation.engine)?,
        session(second, &values(|p| p.second), observation.engine)?,
    );
    let first_of: BTreeMap<ValueId, ValueId> = pairs.iter().map(|p| (p.second, p.first)).collect();
    let mut sums: BTreeMap<ValueId, Squares> = BTreeMap::new();
    for (done, path) in observation.images.paths.iter().enumerate() {
        let planes = observation.images.planes(path, observation.model.input)?;
        let mut expected = BTreeMap::new();
        sessions.0.run_observed(&planes.slices(), &mut |v, observed| {
            expected.insert(v, observed.to_tensor()?);
            Ok(())
        })?;
        sessions.1.run_observed(&planes.slices(), &mut |v, observed| {
            let (x, y) = (&expected[&first_of[&v]], observed.to_tensor()?);
            if x.shape() != y.shape() {
                return Ok(());
            }
            if let (Ok(x), Ok(y)) = (x.to_f64(), y.to_f64()) {
                let pairs = x.iter().zip(&y);
                let sum = sums.entry(first_of[&v]).or_default();
                sum.difference += pairs.map(|(x, y)| (x - y) * (x - y)).sum::<f64>();
                sum.whole += x.iter().map(|x| x * x).sum::<f64>();
            }
            Ok(())
        })?;
        (observation.progress)(done + 1);
    }
    let channels = |graph: &Graph, v: ValueId| -> Result<usize, ObserveError> {
        Ok(graph.ty(v)?.shape.get(1).copied().unwrap_or(0))
    };
    let error = |sum: &Squares| (sum.difference / sum.whole.max(1e-30)).sqrt();
    let layer = |pair: Pair| {
        Ok(LayerError {
            value: first.value(pair.first).name.clone(),
            channels: channels(first, pair.first)?,
            other_channels: channels(second, pair.second)?,
            relative_error: sums.get(&pair.first).map(error),
            layer: pair.layer,
        })
    };
    pairs.into_iter().map(layer).collect()
}

/// Histograms of the observed model's values by name; names that are not computed in its graph are left out.
///
/// # Errors
/// As [`layer_errors`].
pub fn histograms(
    observation: &Observation<'_>,
    names: &[String],
) -> Result<Vec<Histogram>, ObserveError> {
    let graph = observation.model.graph;
    let named = names.iter().filter_map(|n| graph.value_named(n));
    let values: Vec<ValueId> = named.filter(|&v| graph.producer(v).is_some()).collect();
    let mut session = session(graph, &values, observation.engine)?;
    let paths = observation.images.paths.iter();
    let inputs = paths.map(|path| observation.images.planes(path, observation.model.input));
    let inputs: Vec<Planes> = inputs.collect::<Result<_, _>>()?;
    let mut for_each_run = |f: &mut dyn FnMut(ValueId, &[f32])| -> Result<(), RuntimeError> {
        for input in &inputs {
            session.run_observed(&input.slices(), &mut |v, observed| {
                observed.for_each_run(&mut |_, run| f(v, run))
            })?;
        }
        Ok(())
    };
    let mut ends: BTreeMap<ValueId, (f32, f32)> = BTreeMap::new();
    for_each_run(&mut |v, xs| {
        let end = ends.entry(v).or_insert((f32::INFINITY, f32::NEG_INFINITY));
        let (low, high) = *end;
        *end = (xs.iter().copied().fold(low, f32::min), xs.iter().copied().fold(high, f32::max));
    })?;
    let mut counts: BTreeMap<ValueId, Vec<u64>> = BTreeMap::new();
    for_each_run(&mut |v, xs| {
        let (low, high) = ends[&v];
        let counts = counts.entry(v).or_insert_with(|| vec![0; BINS]);
        let scale = BINS as f32 / (high - low).max(f32::MIN_POSITIVE);
        for x in xs {
            // A cast of NaN gives 0, one of infinity the largest: both stay inside.
            counts[(((x - low) * scale) as usize).min(BINS - 1)] += 1;
        }
    })?;
    let histogram = |v: &ValueId| {
        let (min, max) = *ends.get(v)?;
        Some(Histogram { value: graph.value(*v).name.clone(), min, max, counts: counts.remove(v)? })
    };
    Ok(values.iter().filter_map(histogram).collect())
}
