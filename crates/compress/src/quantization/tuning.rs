//! Quantization-aware tuning: the form in which a detector learns, and the way back to what engines run.
//!
//! A quantized detector learns in floats. Its weights are real numbers that are rounded to their integers wherever the detector is
//! run, and receive the gradient of the rounded ones (Bengio, Léonard and Courville, arXiv:1308.3432). Values are rounded in the
//! graph, by FakeQuantize, with scales that are learnt (Esser et al., "LSQ", arXiv:1902.08153). LSQ's factor on the gradient of a
//! scale has no effect in Adam, which divides by the gradient's own size; in its place a scale learns at a rate relative to
//! itself (Jain et al., "TQT", arXiv:1903.08066). Zero points, and the scales of weights and of the image, stay.
use crate::CompressError;
use ir::ops::{DequantizeLinear, FakeQuantize, Operator, QuantFacts, QuantizeLinear};
use ir::{Graph, NodeId, Op, OpError, QuantParams, Tensor, ValueId};
use numerics::parallel_map;
use std::borrow::Cow;
use std::collections::BTreeMap;
use train::{Weight, with_weights};

/// The smallest share of itself that a scale may become.
const LEAST: f32 = 1e-3;

/// The same where biases are stored as integers: quantizing leaves them a factor of two.
const LEAST_WITH_INTEGER_BIASES: f32 = 0.5;

/// How far the scale of a bias may be from the product of two others, relative to it, and still be that product.
const PRODUCT_TOLERANCE: f32 = 1e-4;

/// A detector in the form in which it learns.
pub(crate) struct LearningForm {
    /// The detector as it was read.
    source: Graph,
    /// The same with all that is learnt as constants of floats. Values that both have are the same.
    graph: Graph,
    /// Constants of `graph` that `source` stores as integers.
    stored: BTreeMap<ValueId, Stored>,
    /// Constants of `graph` that are scales, with the parameters that they belong to.
    scales: BTreeMap<ValueId, QuantParams>,
}

/// A weight or a bias that is stored as integers.
struct Stored {
    /// What makes real numbers of them.
    dequantize: NodeId,
    params: QuantParams,
    /// The integers that it may consist of.
    ends: [f64; 2],
    /// The parameters of the layer's input and of its weight, where the scale of this bias is the product of theirs.
    product: Option<[QuantParams; 2]>,
}

impl LearningForm {
    /// The form of a normalised graph, quantized or not.
    ///
    /// # Errors
    /// `Graph` where integers cannot be read.
    pub(crate) fn new(source: Graph) -> Result<Self, CompressError> {
        let mut graph = source.clone();
        let stored = real_constants(&mut graph)?;
        ir::fake_quantize(&mut graph)?;
        let scales = scales_as_inputs(&mut graph)?;
        Ok(Self { source, graph, stored, scales })
    }

    /// The graph that learns.
    pub(crate) fn graph(&self) -> &Graph {
        &self.graph
    }

    /// What the detector is run with: weights rounded where they are stored as integers, scales that are not too small.
    ///
    /// # Errors
    /// `Graph` never, unless the weights are not those of the graph.
    pub(crate) fn rounded<'w>(
        &self,
        weights: &'w [Weight],
        threads: usize,
    ) -> Result<Cow<'w, [Weight]>, CompressError> {
        if self.stored.is_empty() && self.scales.is_empty() {
            return Ok(Cow::Borrowed(weights));
        }
        let rounded = parallel_map(threads, weights, |weight| {
            let elements = match self.stored.get(&weight.value) {
                Some(stored) => {
                    let integers = stored.integers(weight, &stored.params)?;
                    let dequantize = DequantizeLinear { params: stored.params.clone() };
                    dequantize.forward(&[&integers])?.remove(0).as_slice::<f32>()?.to_vec()
                }
                None => match self.scales.get(&weight.value) {
                    Some(params) => vec![self.scale(weight, params)],
                    None => weight.elements.clone(),
                },
            };
            Ok(Weight { elements, ..weight.clone() })
        });
        rounded.into_iter().collect::<Result<_, CompressError>>().map(Cow::Owned)
    }

    /// The detector with these weights, in the form in which it was read.
    ///
    /// # Errors
    /// `Graph` never, unless the weights are not those of the graph.
    pub(crate) fn detector(&self, weights: &[Weight]) -> Result<Graph, CompressError> {
        let failed = |e| CompressError::training(0, e);
        let (own, changed): (Vec<Weight>, Vec<Weight>) =
            weights.iter().cloned().partition(|w| !self.is_converted(w.value));
        let mut detector = with_weights(&self.source, &own).map_err(failed)?;
        let learnt = self.learnt_params(&changed)?;
        let mut edit = detector.edit();
        for (id, node) in detector.nodes() {
            let is_constant = || detector.constant(node.inputs[0]).is_some();
            let params =
                |old: &QuantParams| Some(learnt.iter().find(|l| l.before == *old)?.now.clone());
            match &node.op {
                Op::QuantizeLinear(op) => {
                    params(&op.params).map(|params| edit.set_op(id, QuantizeLinear { params }))
                }
                Op::DequantizeLinear(op) if !is_constant() => {
                    params(&op.params).map(|params| edit.set_op(id, DequantizeLinear { params }))
                }
                _ => None,
            };
        }
        for weight in &changed {
            let Some(stored) = self.stored.get(&weight.value) else {
                continue;
            };
            let params = stored.params_with(&learnt)?;
            let before = detector.node(stored.dequantize).inputs[0];
            let integers = stored.integers(weight, &params)?;
            let integers = edit.constant(&detector.value(before).name, integers);
            edit.set_op(stored.dequantize, DequantizeLinear { params });
            edit.set_inputs(stored.dequantize, &[integers]);
        }
        detector.apply(edit)?;
        Ok(detector)
    }

    /// Whether a constant of the graph that learns has another form in the detector.
    fn is_converted(&self, value: ValueId) -> bool {
        self.stored.contains_key(&value) || self.scales.contains_key(&value)
    }

    fn scale(&self, weight: &Weight, params: &QuantParams) -> f32 {
        let has_products = self.stored.values().any(|stored| stored.product.is_some());
        let least = if has_products { LEAST_WITH_INTEGER_BIASES } else { LEAST };
        weight.elements[0].max(least * params.scale()[0])
    }

    /// Parameters whose scale was learnt.
    fn learnt_params(&self, weights: &[Weight]) -> Result<Vec<Learnt>, OpError> {
        let scales = weights.iter().filter_map(|w| Some((w, self.scales.get(&w.value)?)));
        let learnt = |(weight, before): (&Weight, &QuantParams)| {
            let (zero_point, scale) = (before.zero_point()[0], self.scale(weight, before));
            let now = QuantParams::per_tensor(scale, zero_point, before.dtype())?;
            Ok(Learnt { before: before.clone(), now })
        };
        scales.map(learnt).collect()
    }
}

/// Parameters before and after they were learnt.
struct Learnt {
    before: QuantParams,
    now: QuantParams,
}

impl Stored {
    /// The nearest integers.
    fn integers(&self, weight: &Weight, params: &QuantParams) -> Result<Tensor, CompressError> {
        let real = weight.tensor().map_err(|e| CompressError::training(0, e))?;
        let quantize = QuantizeLinear { params: params.clone() };
        let [lowest, highest] = self.ends;
        let integers = quantize.forward(&[&real])?.remove(0).to_f64()?;
        let integers: Vec<f64> = integers.into_iter().map(|q| q.clamp(lowest, highest)).collect();
        Ok(Tensor::from_f64(params.dtype(), real.shape(), &integers)?)
    }

    /// Its parameters when these were learnt.
    fn params_with(&self, learnt: &[Learnt]) -> Result<QuantParams, OpError> {
        let changed = self.product.as_ref().and_then(|[x, weight]| {
            let x = &learnt.iter().find(|l| l.before == *x)?.now;
            Some(product(x, weight))
        });
        let (Some(scale), Some(axis)) = (changed, self.params.axis()) else {
            return Ok(self.params.clone());
        };
        let zero_point = self.params.zero_point().to_vec();
        QuantParams::per_channel(axis, scale, zero_point, self.params.dtype())
    }
}

/// The scales of a layer's sums.
fn product(x: &QuantParams, weight: &QuantParams) -> Vec<f32> {
    weight.scale().iter().map(|w| w * x.scale()[0]).collect()
}

/// Lets weights and biases be constants of floats in place of integers that are dequantized.
fn real_constants(graph: &mut Graph) -> Result<BTreeMap<ValueId, Stored>, CompressError> {
    let mut edit = graph.edit();
    let mut stored = BTreeMap::new();
    let products = products(graph);
    for (id, node) in graph.nodes() {
        let (Op::DequantizeLinear(op), Some(integers)) = (&node.op, graph.constant(node.inputs[0]))
        else {
            continue;
        };
        let real = op.forward(&[integers])?.remove(0);
        let real = edit.constant(&graph.value(node.outputs[0]).name, real);
        edit.replace_uses(node.outputs[0], real);
        let params = op.params.clone();
        let ends = ends(integers, &params)?;
        let product = products.get(&id).cloned();
        stored.insert(real, Stored { dequantize: id, params, ends, product });
    }
    graph.apply(edit)?;
    Ok(stored)
}

/// The integers that weights may become: those that they use now, since engines may count on 7 bits; biases any.
fn ends(integers: &Tensor, params: &QuantParams) -> Result<[f64; 2], OpError> {
    let (lowest, highest) = (params.range().0 as f64, params.range().1 as f64);
    if params.dtype() == ir::DataType::I32 {
        return Ok([lowest, highest]);
    }
    let integers = integers.to_f64()?;
    let [least, most] = [f64::min, f64::max].map(|f| integers.iter().copied().fold(0.0, f));
    if params.zero_point().iter().any(|&z| z != 0) {
        return Ok([least, most]);
    }
    let largest = most.max(-least);
    Ok([lowest.max(-largest), highest.min(largest)])
}

/// For each node that dequantizes a bias whose scale is the product of two others: these.
fn products(graph: &Graph) -> BTreeMap<NodeId, [QuantParams; 2]> {
    let mut products = BTreeMap::new();
    let dequantize = |v: ValueId| {
        let id = graph.producer(v)?;
        let Op::DequantizeLinear(op) = &graph.node(id).op else { return None };
        Some((id, &op.params))
    };
    for (_, node) in graph.nodes() {
        let QuantFacts::Weighted { weight, bias, .. } = node.op.quant_facts() else {
            continue;
        };
        let of_input = |input: usize| node.inputs.get(input).and_then(|&v| dequantize(v));
        let (Some((id, bias)), Some((_, weight)), Some(x)) =
            (of_input(bias), of_input(weight), grid(graph, node.inputs[0]))
        else {
            continue;
        };
        let expected = product(x, weight);
        let is_near = |(a, b): (&f32, &f32)| (a - b).abs() <= PRODUCT_TOLERANCE * b;
        if expected.len() == bias.scale().len() && bias.scale().iter().zip(&expected).all(is_near) {
            products.insert(id, [x.clone(), weight.clone()]);
        }
    }
    products
}

/// The grid on which a value lies, where nothing but moves lies between.
fn grid(graph: &Graph, mut v: ValueId) -> Option<&QuantParams> {
    loop {
        let node = graph.node(graph.producer(v)?);
        match (&node.op, node.op.quant_facts()) {
            (Op::DequantizeLinear(op), _) => return Some(&op.params),
            (_, QuantFacts::SharesInput | QuantFacts::JoinsInputs) => v = node.inputs[0],
            _ => return None,
        }
    }
}

/// Lets every scale of a FakeQuantize be an input of its own. Those of equal parameters stay equal, as integers pass between them
/// unchanged; those of the image stay what they are.
fn scales_as_inputs(graph: &mut Graph) -> Result<BTreeMap<ValueId, QuantParams>, CompressError> {
    let mut edit = graph.edit();
    let mut scales: Vec<(QuantParams, ValueId)> = Vec::new();
    let quantizers = || {
        graph.nodes().filter_map(|(id, node)| match &node.op {
            Op::FakeQuantize(FakeQuantize { params }) => Some((id, node, params)),
            _ => None,
        })
    };
    let of_image = quantizers().filter(|(_, node, _)| graph.inputs().contains(&node.inputs[0]));
    let of_image: Vec<&QuantParams> = of_image.map(|(.., params)| params).collect();
    for (id, node, params) in quantizers() {
        if params.axis().is_some() || of_image.contains(&params) {
            continue;
        }
        let known = scales.iter().find(|(other, _)| other == params).map(|(_, scale)| *scale);
        let scale = known.unwrap_or_else(|| {
            let name = format!("{}_scale", graph.value(node.outputs[0]).name);
            let scale = edit.constant(&name, Tensor::scalar(params.scale()[0]));
            scales.push((params.clone(), scale));
            scale
        });
        edit.set_inputs(id, &[node.inputs[0], scale]);
    }
    graph.apply(edit)?;
    Ok(scales.into_iter().map(|(params, scale)| (scale, params)).collect())
}

#[cfg(test)]
mod tests;
