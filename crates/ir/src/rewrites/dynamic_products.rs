//! Products of dynamically quantized values (ConvInteger, MatMulInteger) as products of real numbers.
use super::Rewrite;
use crate::ops::{Binary, BinaryKind, Cast, DequantizeLinear, DynamicDequantizeLinear, Op};
use crate::{DataType, Edit, Graph, Node, NodeId, QuantParams, Tensor, ValueId};
use std::collections::BTreeMap;

/// `Mul(Cast(ConvInteger(q, w)), Mul(scale, w_scale))`, with `q` and `scale` of one DynamicQuantizeLinear, is the convolution
/// of what `q` and `w` stand for; so is MatMulInteger. A bias that is added to a convolution becomes its own. What is
/// quantized stays so, and the graph has the form in which weights are known and computed fast.
pub const DYNAMIC_PRODUCTS: Rewrite = Rewrite { name: "dynamic_products", find };

fn find(graph: &Graph, id: NodeId) -> Option<Edit> {
    let dynamic = graph.node(id);
    let (Op::DynamicQuantizeLinear(_), &[quantized, scale, zero_point]) =
        (&dynamic.op, dynamic.outputs.as_slice())
    else {
        return None;
    };
    let input = DynamicInput { quantized, scale, zero_point };
    let consumers = graph.consumers();
    let readers = consumers.get(&quantized)?.iter();
    let places = readers
        .filter_map(|&(reader, _)| Product::find(graph, &consumers, graph.node(reader), input));
    let places: Vec<Product> = places.collect();
    if places.is_empty() {
        return None;
    }
    let mut edit = graph.edit();
    let name = format!("{}_dequantized", graph.value(quantized).name);
    let x = edit.node(&name, DynamicDequantizeLinear, &[quantized, scale, zero_point], &[&name])[0];
    for place in places {
        place.write(graph, &mut edit, x);
    }
    Some(edit)
}

/// The outputs of one DynamicQuantizeLinear.
#[derive(Clone, Copy)]
struct DynamicInput {
    quantized: ValueId,
    scale: ValueId,
    zero_point: ValueId,
}

/// One product, from its quantized values to the real numbers.
struct Product {
    op: Op,
    weight: ValueId,
    params: QuantParams,
    bias: Option<Tensor>,
    /// The node that gives the real numbers.
    last: NodeId,
}

type Consumers = BTreeMap<ValueId, Vec<(NodeId, usize)>>;

/// The only reader of a node's only output, which is no output of the model.
fn next(graph: &Graph, consumers: &Consumers, node: &Node) -> Option<NodeId> {
    let &[out] = node.outputs.as_slice() else {
        return None;
    };
    match consumers.get(&out)?.as_slice() {
        &[(reader, _)] if !graph.outputs().contains(&out) => Some(reader),
        _ => None,
    }
}

impl Product {
    fn find(
        graph: &Graph,
        consumers: &Consumers,
        node: &Node,
        input: DynamicInput,
    ) -> Option<Self> {
        let (op, axis) = match &node.op {
            Op::ConvInteger(op) => (Op::from(op.conv.clone()), 0),
            Op::MatMulInteger(op) => (Op::from(op.product), 1),
            _ => return None,
        };
        let weight = *node.inputs.get(1)?;
        let shape = graph.constant(weight)?.shape();
        let is_own =
            node.inputs[0] == input.quantized && node.inputs.get(2) == Some(&input.zero_point);
        if !is_own || (axis == 1 && shape.len() != 2) {
            return None;
        }
        let cast = next(graph, consumers, node)?;
        if !matches!(graph.node(cast).op, Op::Cast(Cast { to: DataType::F32 })) {
            return None;
        }
        let real = graph.node(cast).outputs[0];
        let last = next(graph, consumers, graph.node(cast))?;
        let factor = other_operand(graph.node(last), BinaryKind::Mul, real)?;
        let zeros = match node.inputs.get(3) {
            None => vec![0],
            Some(&v) => graph.constant(v)?.to_i64().ok()?,
        };
        let rank = graph.ty(real).ok()?.rank();
        let from_end = if axis == 0 { rank.checked_sub(2)? } else { 0 };
        let scales = weight_scales(graph, factor, input.scale)?;
        let scales = along(scales, shape[axis], from_end)?;
        let params = grid(axis, &scales, &zeros, graph.constant(weight)?.dtype())?;
        let mut product = Self { op, weight, params, bias: None, last };
        if axis == 0 {
            product.take_bias(graph, consumers, shape[0], from_end);
        }
        Some(product)
    }

    /// What is added to every channel afterwards, if it is constant.
    fn take_bias(
        &mut self,
        graph: &Graph,
        consumers: &Consumers,
        channels: usize,
        from_end: usize,
    ) {
        let product = graph.node(self.last);
        let bias = next(graph, consumers, product).and_then(|add| {
            let other = other_operand(graph.node(add), BinaryKind::Add, product.outputs[0])?;
            let bias = graph.constant(other)?;
            let same = graph.ty(graph.node(add).outputs[0]) == graph.ty(product.outputs[0]);
            let bias = along(bias, channels, from_end).filter(|b| same && b.len() == channels)?;
            Some((add, Tensor::vector(bias)))
        });
        if let Some((add, bias)) = bias {
            (self.last, self.bias) = (add, Some(bias));
        }
    }

    fn write(self, graph: &Graph, edit: &mut Edit, x: ValueId) {
        let name = format!("{}_dequantized", graph.value(self.weight).name);
        let dequantize = DequantizeLinear { params: self.params };
        let weight = edit.node(&name, dequantize, &[self.weight], &[&name])[0];
        let mut inputs = vec![x, weight];
        if let Some(bias) = self.bias {
            inputs.push(edit.constant(&format!("{}_bias", graph.node(self.last).name), bias));
        }
        edit.set_op(self.last, self.op);
        edit.set_inputs(self.last, &inputs);
    }
}

/// What a node of that kind joins with a value.
fn other_operand(node: &Node, kind: BinaryKind, v: ValueId) -> Option<ValueId> {
    match (&node.op, node.inputs.as_slice()) {
        (Op::Binary(Binary { kind: found }), &[a, b]) if *found == kind && a != b => {
            [(a, b), (b, a)].into_iter().find(|p| p.0 == v).map(|p| p.1)
        }
        _ => None,
    }
}

/// The constant with which the scale of the activations is multiplied.
fn weight_scales(graph: &Graph, factor: ValueId, scale: ValueId) -> Option<&Tensor> {
    let node = graph.node(graph.producer(factor)?);
    graph.constant(other_operand(node, BinaryKind::Mul, scale)?)
}

/// The elements of a constant of one element, or that differ along one axis alone, counted from the last.
fn along(constant: &Tensor, channels: usize, from_end: usize) -> Option<Vec<f32>> {
    let values = constant.as_slice::<f32>().ok()?;
    let axis = constant.shape().iter().rev().nth(from_end).copied();
    match values.len() {
        1 => Some(values.to_vec()),
        n if n == channels && axis == Some(channels) => Some(values.to_vec()),
        _ => None,
    }
}

fn grid(axis: usize, scales: &[f32], zeros: &[i64], dtype: DataType) -> Option<QuantParams> {
    let zeros: Vec<i32> = zeros.iter().map(|&z| i32::try_from(z).ok()).collect::<Option<_>>()?;
    let params = match (scales, zeros.as_slice()) {
        (&[scale], &[zero]) => QuantParams::per_tensor(scale, zero, dtype),
        (&[scale], many) => QuantParams::per_channel(axis, vec![scale; many.len()], zeros, dtype),
        (many, &[zero]) => {
            QuantParams::per_channel(axis, many.to_vec(), vec![zero; many.len()], dtype)
        }
        (many, _) => QuantParams::per_channel(axis, many.to_vec(), zeros, dtype),
    };
    params.ok()
}
