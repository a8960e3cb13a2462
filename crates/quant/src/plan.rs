//! The plan: parameters for every quantization point and weight, as data.
use crate::points::{QuantizationPoint, Region, region_points};
use crate::weights::{at, weight_params};
use crate::{ConcatScales, Placement, QuantError, Range, Target};
use ir::ops::{Op, Unary, UnaryKind};
use ir::{Graph, NodeId, OpError, QuantFacts, QuantParams, ValueId};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Inputs of a Concat share parameters where the common range is at most this much wider than each one's own.
const SHARE_WITHIN: f64 = 1.5;

/// Parameters by value name; what is not listed stays float.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct QuantPlan {
    /// Who is to run it.
    pub target: Target,
    /// Parameters of activations, per tensor: asymmetric U8, or symmetric I8 as the target wants them.
    pub activations: BTreeMap<String, QuantParams>,
    /// Parameters of weights: symmetric I8, per_channel over output channels.
    pub weights: BTreeMap<String, QuantParams>,
}

impl QuantPlan {
    /// A plan that leaves everything float.
    pub fn empty(target: Target) -> Self {
        Self { target, activations: BTreeMap::new(), weights: BTreeMap::new() }
    }
}

/// Parameters for every quantization point of the target and every weight.
///
/// Nodes of `float` stay float, although they could be quantized.
/// `ranges` holds the observed range of every [`QuantizationPoint::range_of`] that is not an input of the model; inputs have
/// `input_params`. Concat inputs whose ranges are close get common parameters, and the Concat then none of its own;
/// others keep their own, and the Concat's result is quantized anew.
///
/// # Errors
/// `MissingRange`, `BadRange`, `NonFiniteWeight` and `Params` with the value; as [`crate::quantization_points`] otherwise.
pub fn plan(
    graph: &Graph,
    ranges: &BTreeMap<ValueId, Range>,
    input_params: &QuantParams,
    target: Target,
    float: &BTreeSet<NodeId>,
) -> Result<QuantPlan, QuantError> {
    let region = Region::new(graph)?.of(target, float);
    let mut points = region_points(&region, target);
    let mut ranges = SharedRanges::new(graph, &points, ranges)?;
    if let Placement::ConvolutionInputs { concat, behind_moves, .. } = target.engine().placement {
        let shared = ranges.share(&region, &points, concat);
        points.retain(|p| behind_moves || !shared.contains(&p.value));
    }
    let mut plan = QuantPlan::empty(target);
    for point in &points {
        let name = &graph.value(point.value).name;
        let params = match ranges.range(point.range_of) {
            None if target.engine().symmetric => represented(input_params).i8_params(),
            None => Ok(input_params.clone()),
            Some(range) if target.engine().symmetric => range.i8_params(),
            Some(range) => range.u8_params(),
        };
        let params = params.map_err(at(name))?;
        plan.activations.insert(name.clone(), params);
    }
    plan_weights(&region, target, &mut plan)?;
    Ok(plan)
}

/// The range that parameters of a tensor represent.
fn represented(params: &QuantParams) -> Range {
    let (lowest, highest) = params.range();
    Range::new(params.dequantize(0, lowest as i32), params.dequantize(0, highest as i32))
}

fn plan_weights(
    region: &Region<'_>,
    target: Target,
    plan: &mut QuantPlan,
) -> Result<(), QuantError> {
    let name = |v: ValueId| &region.graph.value(v).name;
    for (_, node, weight) in region.weighted() {
        let QuantFacts::Weighted { bias, .. } = node.op.quant_facts() else {
            continue;
        };
        let bias = node.inputs.get(bias).and_then(|&b| region.graph.constant(b));
        let x_scale = plan.activations.get(name(node.inputs[0])).map(|p| p.scale()[0]);
        let bias = match bias.filter(|_| target.engine().integer_bias) {
            Some(b) => Some(b.to_f64().map_err(at(&node.name))?),
            None => None,
        };
        let value = name(node.inputs[weight]);
        let Some(tensor) = region.graph.constant(node.inputs[weight]) else {
            continue;
        };
        let bias = bias.as_deref().zip(x_scale);
        let mut params = weight_params(value, tensor, target.largest_weight(), bias)?;
        if let Some(before) = plan.weights.get(value) {
            // Two convolutions read this weight: the scale must let both biases fit.
            params = wider(before, &params).map_err(at(value))?;
        }
        plan.weights.insert(value.clone(), params);
    }
    Ok(())
}

/// The larger scale of each channel.
fn wider(a: &QuantParams, b: &QuantParams) -> Result<QuantParams, OpError> {
    let scale = a.scale().iter().zip(b.scale()).map(|(a, b)| a.max(*b));
    QuantParams::per_channel(0, scale.collect(), a.zero_point().to_vec(), a.dtype())
}

/// The part of a range that shows behind the activation, where an activation is all that reads the value.
fn visible(
    graph: &Graph,
    consumers: &BTreeMap<ValueId, Vec<(NodeId, usize)>>,
    v: ValueId,
    range: Range,
) -> Range {
    let read_by = |wanted: UnaryKind| {
        let is_wanted =
            |&(id, _): &(NodeId, usize)| graph.node(id).op == Op::Unary(Unary { kind: wanted });
        let readers = consumers.get(&v).filter(|r| !r.is_empty());
        readers.is_some_and(|r| r.iter().all(is_wanted)) && !graph.outputs().contains(&v)
    };
    if read_by(UnaryKind::Silu) {
        range.before_silu()
    } else if read_by(UnaryKind::Sigmoid) {
        range.before_sigmoid()
    } else {
        range
    }
}

/// Ranges of values, some of which have one in common.
struct SharedRanges {
    own: BTreeMap<ValueId, Range>,
    /// Group of each value: its smallest member.
    group: BTreeMap<ValueId, ValueId>,
}

impl SharedRanges {
    fn new(
        graph: &Graph,
        points: &[QuantizationPoint],
        ranges: &BTreeMap<ValueId, Range>,
    ) -> Result<Self, QuantError> {
        let mut own = BTreeMap::new();
        let consumers = graph.consumers();
        for v in points.iter().map(|p| p.range_of).filter(|v| !graph.inputs().contains(v)) {
            let value = || graph.value(v).name.clone();
            let &range =
                ranges.get(&v).ok_or_else(|| QuantError::MissingRange { value: value() })?;
            if !range.is_valid() {
                return Err(QuantError::BadRange {
                    value: value(),
                    min: range.min,
                    max: range.max,
                });
            }
            own.insert(v, visible(graph, &consumers, v, range));
        }
        let group = own.keys().map(|&v| (v, v)).collect();
        Ok(Self { own, group })
    }

    /// The common range; `None` for inputs of the model.
    fn range(&self, v: ValueId) -> Option<Range> {
        let group = self.group.get(&v)?;
        let members = self.group.iter().filter(|(_, g)| *g == group).map(|(m, _)| self.own[m]);
        members.reduce(Range::union)
    }

    /// Lets the inputs of Concats share, where their ranges are close or always; gives the Concats whose inputs do.
    fn share(
        &mut self,
        region: &Region<'_>,
        points: &[QuantizationPoint],
        concat: ConcatScales,
    ) -> BTreeSet<ValueId> {
        let planned: BTreeSet<ValueId> = points.iter().map(|p| p.value).collect();
        let mut shared = BTreeSet::new();
        for output in region.nodes().flat_map(|(_, n)| &n.outputs).filter(|v| planned.contains(v)) {
            let Some(node) = region.joined(*output) else {
                continue;
            };
            let mut all: BTreeSet<ValueId> = node.inputs.iter().map(|&i| region.root(i)).collect();
            all.insert(*output);
            let groups: Option<BTreeSet<ValueId>> =
                all.iter().map(|v| self.group.get(v).copied()).collect();
            let Some(groups) = groups else { continue };
            if concat == ConcatScales::Always || self.close(&groups) {
                let first = *groups.first().expect("a Concat has inputs");
                self.group.values_mut().filter(|g| groups.contains(g)).for_each(|g| *g = first);
                shared.insert(*output);
            }
        }
        shared
    }

    fn close(&self, groups: &BTreeSet<ValueId>) -> bool {
        let members: Vec<Range> = self
            .group
            .iter()
            .filter(|(_, g)| groups.contains(g))
            .map(|(m, _)| self.own[m])
            .collect();
        let common = members.iter().copied().reduce(Range::union).map_or(0.0, Range::width);
        members.iter().all(|r| common <= SHARE_WITHIN * r.width())
    }
}
