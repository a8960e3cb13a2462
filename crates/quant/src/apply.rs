//! The plan written into the graph, as one edit.
use crate::points::Region;
use crate::weights::{at, bias_params, quantized};
use crate::{QuantError, QuantPlan};
use ir::ops::{BinaryKind, DequantizeLinear, Op, QuantizeLinear, Unary, UnaryKind};
use ir::{
    DataType, Edit, Graph, Node, NodeId, QuantFacts, QuantParams, Tensor, TensorData, ValueId,
};
use std::collections::BTreeMap;

/// The graph with the plan's QuantizeLinear and DequantizeLinear; weights become I8 constants.
///
/// An empty plan gives the graph itself. The opset is raised to 13, the first with per_channel parameters.
///
/// # Errors
/// `UnknownValue`, `NotConstant` and `Params` where the plan does not fit the graph; `Opset` when
/// the graph is older than 13 and has a node that is not understood; as [`crate::quantization_points`] otherwise.
pub fn apply(graph: &Graph, plan: &QuantPlan) -> Result<Graph, QuantError> {
    let region = Region::new(graph)?;
    let mut quantized = graph.clone();
    if plan.activations.is_empty() && plan.weights.is_empty() {
        return Ok(quantized);
    }
    upgrade(&mut quantized)?;
    let mut writer =
        Writer { region: &region, plan, edit: graph.edit(), written: 0, real: BTreeMap::new() };
    writer.activations()?;
    writer.silu();
    writer.weights()?;
    quantized.apply(writer.edit)?;
    let once = share_constants(&quantized);
    quantized.apply(once)?;
    Ok(quantized)
}

/// Operators are written for the opset of the graph, so raising it upgrades all but those kept as they were read.
fn upgrade(graph: &mut Graph) -> Result<(), QuantError> {
    if graph.opset >= 13 {
        return Ok(());
    }
    if let Some((_, node)) = graph.nodes().find(|(_, n)| matches!(n.op, Op::Opaque(_))) {
        return Err(QuantError::Opset { found: graph.opset, node: node.name.clone() });
    }
    graph.opset = 13;
    Ok(())
}

/// Lets equal constants be one: exporters write the anchor points of a head twice, which INT8 files feel.
fn share_constants(graph: &Graph) -> Edit {
    let mut edit = graph.edit();
    let mut first: Vec<(ValueId, &Tensor)> = Vec::new();
    let constants = graph.values().filter_map(|(v, value)| Some((v, value.constant.as_ref()?)));
    for (v, tensor) in constants.filter(|(v, _)| !graph.outputs().contains(v)) {
        match first.iter().find(|(_, t)| same_bits(t, tensor)) {
            Some(&(kept, _)) => edit.replace_uses(v, kept),
            None => first.push((v, tensor)),
        }
    }
    edit
}

/// Equality in which -0 is not 0.
fn same_bits(a: &Tensor, b: &Tensor) -> bool {
    match (a.data(), b.data()) {
        _ if a.shape() != b.shape() => false,
        (TensorData::F32(a), TensorData::F32(b)) => {
            a.iter().map(|x| x.to_bits()).eq(b.iter().map(|x| x.to_bits()))
        }
        (TensorData::F64(_) | TensorData::F16(_) | TensorData::BF16(_), _) => false,
        (a, b) => a == b,
    }
}

struct Writer<'a> {
    region: &'a Region<'a>,
    plan: &'a QuantPlan,
    edit: Edit,
    /// Number of quantized tensors so far: names are short, as files of small models are mostly names.
    written: usize,
    /// DequantizeLinear output of each quantized value.
    real: BTreeMap<ValueId, ValueId>,
}

impl Writer<'_> {
    fn name(&self, v: ValueId) -> &str {
        &self.region.graph.value(v).name
    }

    fn dequantize(&mut self, q: ValueId, params: &QuantParams) -> ValueId {
        let name = format!("d{}", self.written);
        self.written += 1;
        let op = DequantizeLinear { params: params.clone() };
        self.edit.node(&name, op, &[q], &[&name])[0]
    }

    fn round_trip(&mut self, v: ValueId, params: &QuantParams) -> ValueId {
        let name = format!("q{}", self.written);
        let op = QuantizeLinear { params: params.clone() };
        let q = self.edit.node(&name, op, &[v], &[&name])[0];
        self.dequantize(q, params)
    }

    fn constant(&mut self, v: ValueId, params: &QuantParams) -> Result<ValueId, QuantError> {
        let value = self.name(v).to_owned();
        let tensor = self
            .region
            .graph
            .constant(v)
            .ok_or_else(|| QuantError::NotConstant { value: value.clone() })?;
        let q = quantized(&value, tensor, params)?;
        let q = self.edit.constant(&format!("q{}", self.written), q);
        Ok(self.dequantize(q, params))
    }

    fn activations(&mut self) -> Result<(), QuantError> {
        let named: BTreeMap<&str, ValueId> =
            self.region.graph.values().map(|(v, x)| (x.name.as_str(), v)).collect();
        let mut planned = BTreeMap::new();
        for (name, params) in &self.plan.activations {
            let &v = named
                .get(name.as_str())
                .ok_or_else(|| QuantError::UnknownValue { value: name.clone() })?;
            planned.insert(v, checked(name, params)?);
        }
        for (v, params) in planned {
            let real = self.round_trip(v, &params);
            self.real.insert(v, real);
            for (node, input) in self.region.readers(v) {
                self.edit.replace_input(node, input, real);
            }
        }
        Ok(())
    }

    fn silu(&mut self) {
        // The gate is in (0, 1) whatever it reads: its parameters need no observation.
        let Ok(gate_params) = QuantParams::per_tensor(1.0 / 255.0, 0, DataType::U8) else {
            return;
        };
        let kind = UnaryKind::Silu;
        let is_silu = |n: &Node| n.op == Op::Unary(Unary { kind });
        let nodes: Vec<(NodeId, ValueId)> = self
            .region
            .nodes()
            .filter(|(_, n)| is_silu(n))
            .map(|(id, n)| (id, n.inputs[0]))
            .collect();
        for (id, x) in nodes {
            let Some(&x) = self.real.get(&x).filter(|_| self.plan.target.engine().split_silu)
            else {
                continue;
            };
            let name = format!("s{}", self.written);
            let gate = self.edit.node(&name, UnaryKind::Sigmoid, &[x], &[&name])[0];
            let gate = self.round_trip(gate, &gate_params);
            self.edit.set_op(id, BinaryKind::Mul);
            self.edit.set_inputs(id, &[x, gate]);
        }
    }

    fn weights(&mut self) -> Result<(), QuantError> {
        let mut written: BTreeMap<ValueId, ValueId> = BTreeMap::new();
        let mut used = 0;
        for (id, node, weight) in self.region.weighted() {
            let v = node.inputs[weight];
            let Some(params) = self.plan.weights.get(self.name(v)) else {
                continue;
            };
            let params = checked(self.name(v), params)?;
            let real = match written.get(&v) {
                Some(&real) => real,
                None => {
                    used += 1;
                    let real = self.constant(v, &params)?;
                    written.insert(v, real);
                    real
                }
            };
            self.edit.replace_input(id, weight, real);
            self.bias(id, node, &params)?;
        }
        if used < self.plan.weights.len() {
            return Err(self.unused_weight(&written));
        }
        Ok(())
    }

    fn unused_weight(&self, written: &BTreeMap<ValueId, ValueId>) -> QuantError {
        let known: Vec<&str> = written.keys().map(|&v| self.name(v)).collect();
        let value = self
            .plan
            .weights
            .keys()
            .find(|n| !known.contains(&n.as_str()))
            .cloned()
            .unwrap_or_default();
        match self.region.graph.value_named(&value) {
            Some(v) if self.region.graph.constant(v).is_none() => QuantError::NotConstant { value },
            _ => QuantError::UnknownValue { value },
        }
    }

    fn bias(&mut self, id: NodeId, node: &Node, weight: &QuantParams) -> Result<(), QuantError> {
        let QuantFacts::Weighted { bias: position, .. } = node.op.quant_facts() else {
            return Ok(());
        };
        let x = self.plan.activations.get(self.name(node.inputs[0]));
        let (Some(&bias), Some(x)) = (node.inputs.get(position), x) else {
            return Ok(());
        };
        if !self.plan.target.engine().integer_bias
            || weight.axis().is_none()
            || self.region.graph.constant(bias).is_none()
        {
            return Ok(());
        }
        let params = bias_params(self.name(bias), weight, x.scale()[0])?;
        let real = self.constant(bias, &params)?;
        self.edit.replace_input(id, position, real);
        Ok(())
    }
}

/// Parameters that came out of a file may be anything: they go through the constructor again.
fn checked(value: &str, p: &QuantParams) -> Result<QuantParams, QuantError> {
    let (scale, zero_point) = (p.scale().to_vec(), p.zero_point().to_vec());
    let params = match p.axis() {
        Some(axis) => QuantParams::per_channel(axis, scale, zero_point, p.dtype()),
        None if scale.len() == 1 && zero_point.len() == 1 => {
            QuantParams::per_tensor(scale[0], zero_point[0], p.dtype())
        }
        None => Err(ir::OpError::ElementCount {
            shape: vec![],
            expected: 1,
            found: scale.len().max(zero_point.len()),
        }),
    };
    params.map_err(at(value))
}
