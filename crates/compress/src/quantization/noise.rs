//! Where quantization loses: the noise at the head's output convolutions where one layer alone is quantized, and where all but
//! this one are.

use std::collections::{BTreeMap, BTreeSet};

use ir::{Graph, NodeId, QuantParams, ValueId, find_tail};
use observe::{Engine, ImageSet, Model, Observation, Reference};
use quant::{QuantPlan, Range, Target};
use serde::Serialize;

use crate::CompressError;

/// Images on which noise is measured.
const IMAGES: usize = 8;

/// The noise of one layer, as signal-to-noise ratios of the head's outputs, in decibels: of each channel's values, squared, to the
/// squared difference, over all channels alike. What is larger is better; 6 dB are a factor of two.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LayerNoise {
    /// Name of the convolution.
    pub layer: String,
    /// Its share of the MACs.
    pub macs_share: f64,
    /// Where it alone is quantized, with what it reads.
    pub alone_snr_db: f64,
    /// Where all layers but this one are.
    pub without_snr_db: f64,
}

/// The noise of a quantized model.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Noise {
    /// Of the model as it is delivered.
    pub snr_db: f64,
    /// Layer by layer, in the order of the graph, before anything was rounded by second moments or learnt.
    pub layers: Vec<LayerNoise>,
}

/// A float graph and all that its plan is made of.
pub(super) struct Planned<'a> {
    pub(super) graph: &'a Graph,
    pub(super) ranges: &'a BTreeMap<ValueId, Range>,
    /// Of what convolutions read, for the correction of biases; `None` where they stay.
    pub(super) means: Option<&'a BTreeMap<ValueId, Vec<f32>>>,
    pub(super) input_params: &'a QuantParams,
    pub(super) target: Target,
}

impl Planned<'_> {
    /// The plan with some layers left float, and the graph that it gives.
    pub(super) fn quantized(
        &self,
        float: &BTreeSet<NodeId>,
    ) -> Result<(QuantPlan, Graph), CompressError> {
        let plan = quant::plan(self.graph, self.ranges, self.input_params, self.target, float)?;
        let graph = match self.means {
            None => quant::apply(self.graph, &plan)?,
            Some(means) => quant::apply(&quant::correct_biases(self.graph, &plan, means)?, &plan)?,
        };
        Ok((plan, graph))
    }

    /// Convolutions that are quantized when none is left float.
    pub(super) fn layers(&self) -> Result<Vec<NodeId>, CompressError> {
        let plan =
            quant::plan(self.graph, self.ranges, self.input_params, self.target, &BTreeSet::new())?;
        let weighted = |node: &ir::Node| {
            let weights = node.inputs.iter().map(|&v| self.graph.value(v).name.as_str());
            weights.into_iter().any(|name| plan.weights.contains_key(name))
        };
        Ok(self.graph.nodes().filter(|(_, node)| weighted(node)).map(|(id, _)| id).collect())
    }
}

/// Measures noise at the head's outputs.
pub(super) struct Meter<'a> {
    reference: Reference<'a>,
    outputs: Vec<ValueId>,
}

/// The graph as far as the head's output convolutions.
pub(super) fn trunk(graph: &Graph) -> Result<Graph, CompressError> {
    let outputs = head_outputs(graph);
    with_outputs(graph, &outputs)
}

fn head_outputs(graph: &Graph) -> Vec<ValueId> {
    let convs = find_tail(graph).output_convs;
    let of_convs: Vec<ValueId> = convs.iter().map(|id| graph.node(*id).outputs[0]).collect();
    if of_convs.is_empty() { graph.outputs().to_vec() } else { of_convs }
}

fn with_outputs(graph: &Graph, outputs: &[ValueId]) -> Result<Graph, CompressError> {
    let mut trunk = graph.clone();
    let mut edit = trunk.edit();
    edit.set_outputs(outputs);
    trunk.apply(edit)?;
    Ok(trunk)
}

impl<'a> Meter<'a> {
    /// Runs the trunk of the float model on a few of the images.
    pub(super) fn new(
        observation: &Observation<'a>,
        trunk: &'a Graph,
        images: &ImageSet,
    ) -> Result<Self, CompressError> {
        let every = images.len().div_ceil(IMAGES).max(1);
        let few = images.with(images.paths.iter().step_by(every).cloned().collect());
        let (few, _) =
            few.readable(observation.model.input.images(), observation.engine.threads)?;
        let model = Model { graph: trunk, head: None, ..observation.model };
        let engine: Engine = observation.engine;
        Ok(Self {
            reference: Reference::new(model, few, engine)?,
            outputs: trunk.outputs().to_vec(),
        })
    }

    /// The noise of a graph, relative to the signal: a ratio of amplitudes.
    pub(super) fn noise(&mut self, quantized: &Graph) -> Result<f64, CompressError> {
        Ok(self.reference.error(&with_outputs(quantized, &self.outputs)?)?)
    }

    /// The noise of every layer.
    pub(super) fn layers(
        &mut self,
        planned: &Planned<'_>,
        quantized: &Graph,
        float: &BTreeSet<NodeId>,
    ) -> Result<Noise, CompressError> {
        let layers: Vec<NodeId> =
            planned.layers()?.into_iter().filter(|layer| !float.contains(layer)).collect();
        let all: BTreeSet<NodeId> = layers.iter().copied().collect();
        let macs = planned.graph.macs().max(1) as f64;
        let mut noise = Noise { snr_db: decibels(self.noise(quantized)?), layers: Vec::new() };
        for &layer in &layers {
            let others = all.iter().chain(float).copied().filter(|id| *id != layer).collect();
            let alone = self.noise(&planned.quantized(&others)?.1)?;
            noise.layers.push(LayerNoise {
                layer: planned.graph.node(layer).name.clone(),
                macs_share: planned.graph.node_macs(layer) as f64 / macs,
                alone_snr_db: decibels(alone),
                without_snr_db: 0.0,
            });
        }
        self.reference.clear();
        for (&layer, noise) in layers.iter().zip(&mut noise.layers) {
            let and_this = float.iter().copied().chain([layer]).collect();
            let without = self.noise(&planned.quantized(&and_this)?.1)?;
            noise.without_snr_db = decibels(without);
        }
        Ok(noise)
    }
}

/// 120 dB where there is no noise to speak of.
fn decibels(noise: f64) -> f64 {
    -20.0 * noise.max(1e-6).log10()
}
