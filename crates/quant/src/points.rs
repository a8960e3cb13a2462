//! Quantization points: the values that get QuantizeLinear and DequantizeLinear.
use crate::{Placement, QuantError, Target};
use ir::ops::{Binary, BinaryKind, Conv, Op, Unary, UnaryKind};
use ir::{DataType, Graph, Node, NodeId, QuantFacts, Tensor, ValueId, find_tail};
use std::collections::{BTreeMap, BTreeSet};

/// A value that gets QuantizeLinear and DequantizeLinear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuantizationPoint {
    /// The value.
    pub value: ValueId,
    /// The value whose range gives the parameters: itself, or the one of which it only moves elements. Unless it is
    /// an input of the model, it is to be observed.
    pub range_of: ValueId,
}

/// What names of operators contain that compute with quantized values, whichever tool they are of.
const INTEGER_OPERATORS: &[&str] =
    &["Quantize", "Dequantize", "QLinear", "QGemm", "Integer", "QAttention"];

/// Checks that nothing in a graph is quantized yet: what is can be neither pruned nor quantized again.
///
/// # Errors
/// `AlreadyQuantized`, with the first node that quantizes or computes with quantized values.
pub fn check_float(graph: &Graph) -> Result<(), QuantError> {
    let quantizes = |node: &&Node| {
        let name = node.op.op_type();
        INTEGER_OPERATORS.iter().any(|part| name.contains(part))
    };
    let mut nodes = graph.nodes().map(|(_, node)| node);
    match nodes.find(quantizes) {
        None => Ok(()),
        Some(node) => Err(QuantError::AlreadyQuantized {
            node: node.name.clone(),
            op_type: node.op.op_type().to_owned(),
        }),
    }
}

/// What the planner and `apply` must know of a graph.
pub(crate) struct Region<'a> {
    pub(crate) graph: &'a Graph,
    pub(crate) tail: BTreeSet<NodeId>,
    pub(crate) consumers: BTreeMap<ValueId, Vec<(NodeId, usize)>>,
    /// Nodes before the tail that stay float all the same.
    float: BTreeSet<NodeId>,
    roots: BTreeMap<ValueId, ValueId>,
}

impl<'a> Region<'a> {
    /// Checks that the graph is float and folded.
    pub(crate) fn new(graph: &'a Graph) -> Result<Self, QuantError> {
        check_float(graph)?;
        for (_, node) in graph.nodes() {
            if matches!(node.op, Op::BatchNormalization(_)) {
                let node = node.name.clone();
                return Err(QuantError::UnfoldedBatchNormalization { node });
            }
        }
        let mut region = Self {
            graph,
            tail: find_tail(graph).nodes,
            consumers: graph.consumers(),
            float: BTreeSet::new(),
            roots: BTreeMap::new(),
        };
        region.find_roots();
        Ok(region)
    }

    /// The same for a target, with nodes that stay float although it could quantize them.
    pub(crate) fn of(self, target: Target, float: &BTreeSet<NodeId>) -> Self {
        let mut float = float.clone();
        if let Some(narrow) = target.engine().narrow {
            let is_narrow = |&(_, node, weight): &(NodeId, &Node, usize)| {
                self.channels(node, weight).into_iter().any(|c| narrow.holds(c))
            };
            float.extend(self.weighted().filter(is_narrow).map(|(id, ..)| id));
        }
        if !target.engine().gives_float {
            let is_last =
                |node: &Node| node.outputs.iter().all(|&v| self.readers(v).next().is_none());
            float.extend(self.weighted().filter(|(_, node, _)| is_last(node)).map(|(id, ..)| id));
        }
        Self { float, ..self }
    }

    /// Channels that a node with a weight reads and gives.
    fn channels(&self, node: &Node, weight: usize) -> [usize; 2] {
        let shape = self.graph.constant(node.inputs[weight]).map_or(&[][..], Tensor::shape);
        let group = if let Op::Conv(Conv { group, .. }) = node.op { group } else { 1 };
        [shape.get(1).copied().unwrap_or(1) * group, shape.first().copied().unwrap_or(1)]
    }

    /// Nodes before the tail, in execution order.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = (NodeId, &'a Node)> {
        self.graph.nodes().filter(|(id, _)| !self.tail.contains(id))
    }

    /// Convolutions before the tail that are quantized, since their weight is constant, with the weight's input position.
    pub(crate) fn weighted(&self) -> impl Iterator<Item = (NodeId, &'a Node, usize)> {
        let nodes = self.nodes().filter(|(id, _)| !self.float.contains(id));
        nodes.filter_map(|(id, node)| match node.op.quant_facts() {
            // Weights whose output channels are not axis 0 (ConvTranspose, MatMul) stay float.
            QuantFacts::Weighted { weight, axis: 0, .. }
                if self.is_float_constant(node.inputs[weight]) =>
            {
                Some((id, node, weight))
            }
            _ => None,
        })
    }

    /// Consumers before the tail.
    pub(crate) fn readers(&self, v: ValueId) -> impl Iterator<Item = (NodeId, usize)> {
        let all = self.consumers.get(&v).into_iter().flatten().copied();
        all.filter(|(id, _)| !self.tail.contains(id))
    }

    fn is_float_constant(&self, v: ValueId) -> bool {
        self.graph.constant(v).is_some_and(|t| t.dtype() == DataType::F32)
    }

    pub(crate) fn is_activation(&self, v: ValueId) -> bool {
        let value = self.graph.value(v);
        value.constant.is_none() && value.ty.as_ref().is_some_and(|t| t.dtype == DataType::F32)
    }

    /// The value of which `v` only moves elements; `v` itself otherwise.
    pub(crate) fn root(&self, v: ValueId) -> ValueId {
        self.roots.get(&v).copied().unwrap_or(v)
    }

    fn find_roots(&mut self) {
        let nodes: Vec<&Node> = self.nodes().map(|(_, node)| node).collect();
        for node in nodes {
            let mut roots = node.inputs.iter().map(|&v| self.root(v));
            let Some(first) = roots.next() else { continue };
            let moves_only = match node.op.quant_facts() {
                QuantFacts::SharesInput => self.is_activation(node.inputs[0]),
                QuantFacts::JoinsInputs => roots.all(|r| r == first),
                _ => false,
            };
            if moves_only {
                self.roots.extend(node.outputs.iter().map(|&v| (v, first)));
            }
        }
    }

    /// The node that joins its inputs into `v`, if that is what `v` is.
    pub(crate) fn joined(&self, v: ValueId) -> Option<&'a Node> {
        let id = self.graph.producer(v).filter(|id| !self.tail.contains(id))?;
        let node = self.graph.node(id);
        (node.op.quant_facts() == QuantFacts::JoinsInputs).then_some(node)
    }

    /// What convolutions read, and what is joined into it; `also` what else is to be quantized.
    fn convolution_inputs(&self, behind_moves: bool, also: Vec<ValueId>) -> BTreeSet<ValueId> {
        let mut stored = BTreeSet::new();
        let mut todo = also;
        todo.extend(self.weighted().map(|(_, node, _)| node.inputs[0]));
        while let Some(read) = todo.pop() {
            let root = self.root(read);
            for v in
                [Some(root), (behind_moves && read != root).then_some(read)].into_iter().flatten()
            {
                if self.is_activation(v) && stored.insert(v) {
                    todo.extend(self.joined(v).into_iter().flat_map(|node| &node.inputs));
                }
            }
        }
        stored
    }

    /// The inputs of Adds that no convolution gives which an engine could fuse with them.
    fn residuals(&self) -> Vec<ValueId> {
        let is_add = |node: &&Node| node.op == Op::Binary(Binary { kind: BinaryKind::Add });
        let nodes = self.nodes().map(|(_, node)| node).filter(is_add);
        let adds = nodes.filter(|n| n.inputs.iter().all(|&v| self.is_activation(v)));
        // Exporters write the branch behind the shortcut.
        let residual = |add: &Node| match add.inputs.iter().rposition(|&v| self.ends_convolution(v))
        {
            Some(fused) => add.inputs[1 - fused],
            None => add.inputs[0],
        };
        adds.map(residual).collect()
    }

    /// Whether a quantized convolution, perhaps with an activation, gives `v` to one reader alone.
    pub(crate) fn ends_convolution(&self, v: ValueId) -> bool {
        let alone = |v: ValueId| {
            self.consumers.get(&v).is_some_and(|readers| readers.len() == 1)
                && !self.graph.outputs().contains(&v)
        };
        let Some(mut id) = self.graph.producer(v).filter(|_| alone(v)) else { return false };
        let node = self.graph.node(id);
        if node.op.quant_facts() == QuantFacts::Activation {
            let x = node.inputs[0];
            match self.graph.producer(x).filter(|_| alone(x)) {
                Some(producer) => id = producer,
                None => return false,
            }
        }
        self.weighted().any(|(weighted, ..)| weighted == id)
    }

    fn has_integer_kernel(&self, node: &Node, has_kernel: fn(UnaryKind) -> bool) -> bool {
        match node.op.quant_facts() {
            QuantFacts::Weighted { weight, axis: 0, .. } => {
                self.is_float_constant(node.inputs[weight])
            }
            QuantFacts::SharesInput => self.is_activation(node.inputs[0]),
            QuantFacts::JoinsInputs | QuantFacts::ElementWise => {
                node.inputs.iter().all(|&v| self.is_activation(v))
            }
            QuantFacts::Activation => {
                matches!(node.op, Op::Unary(Unary { kind }) if has_kernel(kind))
            }
            QuantFacts::Weighted { .. } | QuantFacts::Boundary | QuantFacts::Float => false,
        }
    }

    /// What operators with an integer kernel read or write, unless the tail alone reads it.
    fn around_operators(
        &self,
        has_kernel: fn(UnaryKind) -> bool,
        fuses: fn(UnaryKind) -> bool,
    ) -> BTreeSet<ValueId> {
        let mut found = BTreeSet::new();
        let nodes = self.nodes().filter(|(id, _)| !self.float.contains(id));
        for (_, node) in nodes.filter(|(_, n)| self.has_integer_kernel(n, has_kernel)) {
            found.extend(
                node.inputs.iter().chain(&node.outputs).copied().filter(|&v| self.is_activation(v)),
            );
        }
        let is_fused =
            |id| matches!(self.graph.node(id).op, Op::Unary(Unary { kind }) if fuses(kind));
        found.retain(|&v| {
            self.readers(v).next().is_some() && !self.readers(v).all(|(id, _)| is_fused(id))
        });
        found
    }
}

/// The values that get QuantizeLinear and DequantizeLinear for a target.
///
/// MaxPool, nearest Resize, Slice, Split, Reshape and Transpose keep their input's parameters. A Concat that
/// convolutions read is a point beside its inputs; [`crate::plan`] drops it where the inputs can share parameters.
///
/// # Errors
/// `UnfoldedBatchNormalization` and `AlreadyQuantized`, with the node.
pub fn quantization_points(
    graph: &Graph,
    target: Target,
) -> Result<Vec<QuantizationPoint>, QuantError> {
    let region = Region::new(graph)?.of(target, &BTreeSet::new());
    Ok(region_points(&region, target))
}

pub(crate) fn region_points(region: &Region<'_>, target: Target) -> Vec<QuantizationPoint> {
    let values = match target.engine().placement {
        Placement::ConvolutionInputs { behind_moves, residuals, .. } => {
            let also = if residuals { region.residuals() } else { Vec::new() };
            region.convolution_inputs(behind_moves, also)
        }
        Placement::Operators { has_kernel, fuses } => region.around_operators(has_kernel, fuses),
        Placement::Vendors => BTreeSet::new(),
    };
    values
        .into_iter()
        .map(|value| QuantizationPoint { value, range_of: region.root(value) })
        .collect()
}
