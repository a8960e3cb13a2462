//! Constants that an exporter folded, written as what computes them: the positions, anchors and strides of a detector's cells.
//!
//! A cell's x is the same in every row, its y the same in every column, its stride the same on the whole scale. An exporter that
//! folds constants writes each of them once a cell, which is a fifth of a small INT8 file. Here such a constant becomes Expand,
//! Reshape and Concat of the few numbers that differ. Engines compute it once, while they load the file; so does our reader.
use crate::fold::{FoldBudget, is_small};
use crate::sweep::work;
use crate::tensors;
use ir::{
    Attribute, Attributes, Graph, InputSpec, LoweredInput, LoweredNode, LoweredOutput, NodeSpec,
    Op, Shapes, Tensor, TensorType, ValueId,
};
use pattern::{Copies, Parts, Pattern};
use std::collections::BTreeSet;

mod pattern;

/// Smaller constants are not worth a node.
const LEAST_BYTES: usize = 4096;
/// Smaller parts of a constant are written as they are.
const LEAST_PART_BYTES: usize = 512;
/// A constant is written so if that takes at most this part of its bytes.
const GAIN: usize = 4;
/// Most parts that an axis is taken apart into.
const MOST_PARTS: usize = 12;
/// Most parts inside one another.
const DEPTH: usize = 6;
/// About what a node and the shape that it reads take in a file.
const NODE_BYTES: usize = 64;

/// The constants of a graph that may be written as what computes them: those that only arithmetic and Concat read. What else
/// reads one, weights above all, some engines want as it is.
pub(crate) fn candidates(graph: &Graph) -> BTreeSet<ValueId> {
    let reads_any = |op: &Op| matches!(op, Op::Binary(_) | Op::Concat(_));
    let consumers = graph.consumers();
    let is_candidate = |v: &ValueId| {
        let mut readers = consumers.get(v).into_iter().flatten();
        let is_large = graph.constant(*v).is_some_and(|t| bytes(&t.ty()) >= LEAST_BYTES);
        is_large
            && !graph.outputs().contains(v)
            && readers.all(|(id, _)| reads_any(&graph.node(*id).op))
    };
    graph.values().map(|(v, _)| v).filter(is_candidate).collect()
}

/// The nodes that give exactly this tensor, the last one as output 0; `None` where they would not be much smaller than it.
///
/// They are computed here as a reader computes them, and taken from the same budget.
pub(crate) fn lowered(
    tensor: &Tensor,
    opset: i64,
    budget: &FoldBudget,
) -> Option<Vec<LoweredNode>> {
    let whole = bytes(&tensor.ty());
    let made = Made::of(&Pattern::new(tensor)?, tensor, DEPTH)?;
    if made.bytes().checked_mul(GAIN)? > whole {
        return None;
    }
    let mut nodes = Vec::new();
    made.write(&mut nodes);
    let last = nodes.last_mut()?;
    last.outputs = vec![LoweredOutput::Output(0)];
    let computed = computed(&nodes, opset, budget)?;
    same_bits(&computed, tensor).then_some(nodes)
}

fn bytes(ty: &TensorType) -> usize {
    ty.elements().saturating_mul(ty.dtype.size_bytes().unwrap_or(0))
}

fn same_bits(a: &Tensor, b: &Tensor) -> bool {
    a.ty() == b.ty() && tensors::to_raw(a.data()) == tensors::to_raw(b.data())
}

/// What the nodes give, by the reference.
fn computed(nodes: &[LoweredNode], opset: i64, budget: &FoldBudget) -> Option<Tensor> {
    let mut given: Vec<Tensor> = Vec::new();
    for node in nodes {
        let inputs = node.inputs.iter().map(|input| match input {
            LoweredInput::Constant(_, tensor) => Some(tensor),
            LoweredInput::Temp(n) => given.get(*n),
            LoweredInput::Input(_) | LoweredInput::Absent => None,
        });
        let inputs: Vec<&Tensor> = inputs.collect::<Option<_>>()?;
        let types: Vec<TensorType> = inputs.iter().map(|t| t.ty()).collect();
        let spec = |(&tensor, ty)| Some(InputSpec { ty: Some(ty), constant: Some(tensor) });
        let attributes = node.attributes.iter().map(|(n, a)| ((*n).to_owned(), a.clone()));
        let parsed = Op::parse(NodeSpec {
            op_type: node.op_type,
            opset,
            inputs: inputs.iter().zip(&types).map(spec).collect(),
            outputs: 1,
            attributes: Attributes::new(attributes),
        });
        let parsed = parsed.ok()??;
        let read: Vec<&Tensor> = parsed.inputs.iter().map(|&i| inputs[i]).collect();
        let types: Vec<&TensorType> = parsed.inputs.iter().map(|&i| &types[i]).collect();
        let outputs = parsed.op.infer(&types).ok()?;
        let shapes = Shapes { inputs: types, outputs: outputs.iter().collect() };
        if !is_small(&shapes.inputs, &outputs) || !budget.take(&outputs, work(&parsed.op, &shapes))
        {
            return None;
        }
        given.push(parsed.op.forward(&read).ok()?.pop()?);
    }
    given.pop()
}

/// How a part of a constant is made.
enum Made {
    /// As it is.
    Whole(Tensor),
    /// By a node.
    Node { op_type: &'static str, inputs: Vec<Made>, attributes: Vec<(&'static str, Attribute)> },
}

impl Made {
    /// The smallest way that is found.
    fn of(pattern: &Pattern, tensor: &Tensor, depth: usize) -> Option<Self> {
        let elements = tensor.data().gather(pattern.elements());
        let whole = Self::Whole(Tensor::from_data(pattern.shape(), elements).ok()?);
        if depth == 0 || whole.bytes() < LEAST_PART_BYTES {
            return Some(whole);
        }
        if let Some(core) = pattern.without_copies() {
            return Some(Self::expanded(Self::of(&core, tensor, depth - 1)?, pattern.shape()));
        }
        let axes = (0..pattern.shape().len()).rev();
        let ways = axes.filter_map(|axis| Self::along(pattern, axis, tensor, depth));
        let smallest = ways.min_by_key(Self::bytes);
        Some(smallest.filter(|way| way.bytes() < whole.bytes()).unwrap_or(whole))
    }

    /// Taken apart along an axis.
    fn along(pattern: &Pattern, axis: usize, tensor: &Tensor, depth: usize) -> Option<Self> {
        let stretches = pattern.stretches(axis, MOST_PARTS)?;
        let parts = stretches.iter().map(|stretch| {
            let Parts { core, copies } = stretch.parts(pattern, axis);
            let core = Self::of(&core, tensor, depth - 1)?;
            Some(match copies {
                None => core,
                Some(Copies { expanded, joined }) if expanded == joined => {
                    Self::expanded(core, &joined)
                }
                Some(Copies { expanded, joined }) => {
                    Self::reshaped(Self::expanded(core, &expanded), &joined)
                }
            })
        });
        Some(Self::joined(parts.collect::<Option<_>>()?, axis))
    }

    fn expanded(of: Self, shape: &[usize]) -> Self {
        Self::shaped("Expand", of, shape)
    }

    fn reshaped(of: Self, shape: &[usize]) -> Self {
        Self::shaped("Reshape", of, shape)
    }

    fn shaped(op_type: &'static str, of: Self, shape: &[usize]) -> Self {
        let shape = Tensor::vector(shape.iter().map(|&d| d as i64).collect());
        Self::Node { op_type, inputs: vec![of, Self::Whole(shape)], attributes: vec![] }
    }

    fn joined(mut parts: Vec<Self>, axis: usize) -> Self {
        if parts.len() == 1 {
            return parts.remove(0);
        }
        let attributes = vec![("axis", Attribute::Int(axis as i64))];
        Self::Node { op_type: "Concat", inputs: parts, attributes }
    }

    /// About what it takes in a file.
    fn bytes(&self) -> usize {
        match self {
            Self::Whole(tensor) => bytes(&tensor.ty()),
            Self::Node { inputs, .. } => inputs.iter().fold(NODE_BYTES, |n, i| n + i.bytes()),
        }
    }

    /// Adds its nodes, each with one output, that of its position.
    fn write(&self, nodes: &mut Vec<LoweredNode>) -> LoweredInput {
        match self {
            Self::Whole(tensor) => LoweredInput::Constant("part", tensor.clone()),
            Self::Node { op_type, inputs, attributes } => {
                let inputs = inputs.iter().map(|input| input.write(nodes)).collect();
                let at = nodes.len();
                nodes.push(LoweredNode {
                    op_type,
                    inputs,
                    outputs: vec![LoweredOutput::Temp(at)],
                    attributes: attributes.clone(),
                });
                LoweredInput::Temp(at)
            }
        }
    }
}
