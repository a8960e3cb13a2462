//! How far two models are apart, layer by layer, and how their values are spread.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ir::{DataType, Graph, Op, ValueId};
use runtime::{Plan, PlanOptions, RuntimeError, Session};
use serde::{Deserialize, Serialize};
use yolo::{ModelInput, Planes, Streams};

use crate::CompressError;

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

/// Images of which all values are watched.
pub struct Watched<'a> {
    /// How images are prepared.
    pub input: &'a ModelInput,
    /// Where the other images of a scene lie, for models that read several.
    pub streams: &'a Streams,
    /// The images.
    pub images: &'a [PathBuf],
    /// How plans are compiled; quantization is imitated in float, so that every value can be seen.
    pub options: PlanOptions,
    /// Threads of one inference.
    pub threads: usize,
    /// Told the number of finished images.
    pub progress: &'a (dyn Fn(usize) + Sync),
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

/// Values of convolutions of `a`, with the value of the same name in `b`.
fn pairs(a: &Graph, b: &Graph) -> Vec<(String, ValueId, ValueId)> {
    let same = |v: ValueId| {
        let other = b.value_named(&a.value(v).name)?;
        let float = b.ty(other).is_ok_and(|t| t.dtype == DataType::F32);
        (float && b.producer(other).is_some()).then_some(other)
    };
    let convs = a.nodes().filter(|(_, n)| matches!(n.op, Op::Conv(_)));
    convs
        .filter_map(|(_, n)| {
            let value = layer_value(a, n);
            Some((n.name.clone(), value, same(value)?))
        })
        .collect()
}

impl Watched<'_> {
    fn planes(&self, image: &Path) -> Result<Planes, CompressError> {
        let scene = self.streams.read(image, self.input.images())?;
        Ok(self.input.prepare(&scene)?)
    }

    fn session(&self, graph: &Graph, values: &[ValueId]) -> Result<Session, CompressError> {
        let options = PlanOptions {
            integer: false,
            ..self.options
        };
        let plan = Arc::new(Plan::compile(graph, values, &options)?);
        Ok(Session::new(&plan, self.threads)?)
    }

    /// Relative error of every layer that both graphs have, over all images together.
    ///
    /// # Errors
    /// `Runtime` when a plan complains, `Yolo` when an image cannot be read.
    pub fn layer_errors(&self, a: &Graph, b: &Graph) -> Result<Vec<LayerError>, CompressError> {
        let pairs = pairs(a, b);
        let shape = |g: &Graph, v: ValueId| g.ty(v).map(|t| t.shape.clone());
        let of_b: BTreeMap<ValueId, ValueId> = pairs.iter().map(|&(_, a, b)| (b, a)).collect();
        let mut first = self.session(a, &pairs.iter().map(|p| p.1).collect::<Vec<_>>())?;
        let mut second = self.session(b, &pairs.iter().map(|p| p.2).collect::<Vec<_>>())?;
        let mut sums: BTreeMap<ValueId, (f64, f64)> = BTreeMap::new();
        for (done, path) in self.images.iter().enumerate() {
            let planes = self.planes(path)?;
            let mut values = BTreeMap::new();
            first.run_observed(&planes.slices(), &mut |v, seen| {
                values.insert(v, seen.to_tensor()?);
                Ok(())
            })?;
            second.run_observed(&planes.slices(), &mut |v, seen| {
                let (seen, expected) = (seen.to_tensor()?, &values[&of_b[&v]]);
                if seen.shape() == expected.shape() {
                    let (x, y) = (expected.to_f64(), seen.to_f64());
                    let (Ok(x), Ok(y)) = (x, y) else {
                        return Ok(());
                    };
                    let sum = sums.entry(of_b[&v]).or_default();
                    sum.0 += x
                        .iter()
                        .zip(&y)
                        .map(|(x, y)| (x - y) * (x - y))
                        .sum::<f64>();
                    sum.1 += x.iter().map(|x| x * x).sum::<f64>();
                }
                Ok(())
            })?;
            (self.progress)(done + 1);
        }
        let mut layers = Vec::with_capacity(pairs.len());
        for (layer, x, y) in pairs {
            let channels = |s: Vec<usize>| s.get(1).copied().unwrap_or(0);
            let error = |&(difference, whole): &(f64, f64)| (difference / whole.max(1e-30)).sqrt();
            layers.push(LayerError {
                layer,
                value: a.value(x).name.clone(),
                channels: channels(shape(a, x)?),
                other_channels: channels(shape(b, y)?),
                relative_error: sums.get(&x).map(error),
            });
        }
        Ok(layers)
    }

    /// Histograms of values by name; names that are not computed in the graph are left out.
    ///
    /// # Errors
    /// As [`Watched::layer_errors`].
    pub fn histograms(
        &self,
        graph: &Graph,
        names: &[String],
    ) -> Result<Vec<Histogram>, CompressError> {
        let found = names.iter().filter_map(|n| graph.value_named(n));
        let values: Vec<ValueId> = found.filter(|&v| graph.producer(v).is_some()).collect();
        let mut session = self.session(graph, &values)?;
        let inputs = self.images.iter().map(|path| self.planes(path));
        let inputs: Vec<Planes> = inputs.collect::<Result<_, CompressError>>()?;
        let mut run = |see: &mut dyn FnMut(ValueId, &[f32])| -> Result<(), CompressError> {
            for input in &inputs {
                session.run_observed(
                    &input.slices(),
                    &mut |v, seen| -> Result<(), RuntimeError> {
                        seen.for_each_run(&mut |_, run| see(v, run))
                    },
                )?;
            }
            Ok(())
        };
        let mut ends: BTreeMap<ValueId, (f32, f32)> = BTreeMap::new();
        run(&mut |v, xs| {
            let end = ends.entry(v).or_insert((f32::INFINITY, f32::NEG_INFINITY));
            let wider = |(low, high): (f32, f32), &x: &f32| (low.min(x), high.max(x));
            *end = xs.iter().fold(*end, wider);
        })?;
        let mut counts: BTreeMap<ValueId, Vec<u64>> = BTreeMap::new();
        run(&mut |v, xs| {
            let (low, high) = ends[&v];
            let counts = counts.entry(v).or_insert_with(|| vec![0; BINS]);
            let scale = BINS as f32 / (high - low).max(f32::MIN_POSITIVE);
            for x in xs {
                // A cast of NaN gives 0, one of infinity the largest: both stay inside.
                counts[(((x - low) * scale) as usize).min(BINS - 1)] += 1;
            }
        })?;
        let histogram = |v: &ValueId| {
            let counts = counts.remove(v)?;
            let (min, max) = ends[v];
            let value = graph.value(*v).name.clone();
            Some(Histogram {
                value,
                min,
                max,
                counts,
            })
        };
        Ok(values.iter().filter_map(histogram).collect())
    }
}
