//! The values of the graph that is compiled: how each is held, which are kept, and those that are known beforehand.
use crate::RuntimeError;
use crate::step::Parameters;
use ir::{DataType, Graph, Node, NodeId, Op, Tensor, ValueId};
use kernels::U8Params;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

/// Most that constants computed from constants may take, and may take to compute: a file of a few bytes can ask for more
/// than any machine has.
const MAX_FOLDED_BYTES: u64 = 4 << 30;
const MAX_FOLDED_MACS: u64 = 1 << 34;

/// How a value is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Form {
    /// As f32.
    F32,
    /// As quantized values of type u8; [`Values::params`] says what they stand for.
    U8,
}

/// A value in one of its forms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Operand {
    pub(crate) value: ValueId,
    pub(crate) form: Form,
}

impl Operand {
    pub(crate) fn f32(value: ValueId) -> Self {
        let form = Form::F32;
        Self { value, form }
    }

    pub(crate) fn u8(value: ValueId) -> Self {
        let form = Form::U8;
        Self { value, form }
    }
}

/// What is known of a graph's values while it is compiled.
pub(crate) struct Values<'g> {
    pub(crate) graph: &'g Graph,
    /// Values that must exist as they are: outputs of the model, and what is observed.
    kept: BTreeSet<ValueId>,
    /// What the quantized form of a value stands for, where it has one.
    pub(crate) params: BTreeMap<ValueId, U8Params>,
    folded: BTreeMap<ValueId, Tensor>,
    /// Dequantized weights that only convolutions read: computed where they are packed.
    deferred: BTreeSet<ValueId>,
    folding: Folding,
}

impl<'g> Values<'g> {
    /// The values of a graph, of which those in `observe` are kept.
    pub(crate) fn new(graph: &'g Graph, observe: &[ValueId]) -> Self {
        let kept: BTreeSet<ValueId> = graph.outputs().iter().chain(observe).copied().collect();
        Self {
            graph,
            deferred: deferred(graph, &kept),
            kept,
            params: BTreeMap::new(),
            folded: BTreeMap::new(),
            folding: Folding::new(),
        }
    }

    /// Whether a value must exist as it is, so that nothing is fused across it.
    pub(crate) fn is_kept(&self, v: ValueId) -> bool {
        self.kept.contains(&v)
    }

    /// Whether a value has a quantized form.
    pub(crate) fn is_quantized(&self, v: Operand) -> bool {
        self.params.contains_key(&v.value)
    }

    /// The elements of a value that does not depend on the model's input.
    pub(crate) fn constant(&self, v: ValueId) -> Option<&Tensor> {
        self.folded.get(&v).or_else(|| self.graph.constant(v))
    }

    /// As [`Values::constant`], and weights that are stored as quantized values.
    pub(crate) fn weights(&self, v: ValueId) -> Result<Option<Cow<'_, Tensor>>, RuntimeError> {
        if let Some(tensor) = self.constant(v) {
            return Ok(Some(Cow::Borrowed(tensor)));
        }
        let graph = self.graph;
        let producer = graph.producer(v).filter(|_| self.deferred.contains(&v));
        let Some(node) = producer.map(|id| graph.node(id)) else {
            return Ok(None);
        };
        let Some(quantized) = self.constant(node.inputs[0]) else {
            return Ok(None);
        };
        let made = node.op.forward(&[quantized]);
        let mut made = made.map_err(|source| graph.op_error(node, source))?;
        Ok(made.pop().map(Cow::Owned))
    }

    /// Whether a value can be packed into a kernel: a constant, or a parameter, which is packed anew when it changes.
    pub(crate) fn is_packable(&self, v: ValueId) -> bool {
        let constant = self.deferred.contains(&v) || self.constant(v).is_some();
        constant || self.graph.parameter(v).is_some()
    }

    /// The elements of parameters as the graph has them.
    pub(crate) fn initial(&self, parameters: &[ValueId]) -> Result<Parameters, RuntimeError> {
        let initial = |&v: &ValueId| {
            let name = &self.graph.value(v).name;
            let tensor = self.graph.parameter(v)?;
            let elements = tensor.as_slice::<f32>().map_err(RuntimeError::operator(name));
            Some(elements.map(|elements| (v, elements.to_vec())))
        };
        parameters.iter().filter_map(initial).collect()
    }

    /// The shape of a value; `None` behind an operator that is not known.
    pub(crate) fn shape(&self, v: Operand) -> Option<&'g [usize]> {
        let ty = self.graph.value(v.value).ty.as_ref();
        ty.map(|t| t.shape.as_slice())
    }

    /// Number of axes of a value.
    pub(crate) fn rank(&self, v: Operand) -> usize {
        self.shape(v).map_or(0, <[usize]>::len)
    }

    /// Whether a value is computed and of another type than f32.
    pub(crate) fn is_other_type(&self, v: ValueId) -> bool {
        let ty = self.graph.value(v).ty.as_ref();
        ty.is_some_and(|t| t.dtype != DataType::F32) && self.constant(v).is_none()
    }

    /// The error that a value of another type than f32 is needed as f32.
    pub(crate) fn other_type(&self, v: ValueId) -> RuntimeError {
        let value = self.graph.value(v);
        RuntimeError::DType {
            value: value.name.clone(),
            found: value.ty.as_ref().map_or(DataType::Other(0), |t| t.dtype),
        }
    }

    /// Computes a node now if it reads constants alone; tells whether it did.
    ///
    /// # Errors
    /// `Constants` when that would take more than a machine has, `Graph` when the operator complains.
    pub(crate) fn fold(&mut self, id: NodeId, node: &Node) -> Result<bool, RuntimeError> {
        if self.deferred.contains(&node.outputs[0]) {
            return Ok(true);
        }
        let inputs: Option<Vec<&Tensor>> = node.inputs.iter().map(|&v| self.constant(v)).collect();
        let Some(inputs) = inputs else {
            return Ok(false);
        };
        let folding = self.folding.with(self.graph, id)?;
        let outputs =
            node.op.forward(&inputs).map_err(|source| self.graph.op_error(node, source))?;
        self.folding = folding;
        self.folded.extend(node.outputs.iter().copied().zip(outputs));
        Ok(true)
    }
}

/// Outputs of DequantizeLinear that only convolutions read, as weight or bias.
fn deferred(graph: &Graph, kept: &BTreeSet<ValueId>) -> BTreeSet<ValueId> {
    let consumers = graph.consumers();
    let parameter =
        |&(id, input): &(NodeId, usize)| input > 0 && matches!(graph.node(id).op, Op::Conv(_));
    let only_weights = |node: &&Node| {
        matches!(node.op, Op::DequantizeLinear(_))
            && graph.constant(node.inputs[0]).is_some()
            && !kept.contains(&node.outputs[0])
            && consumers.get(&node.outputs[0]).is_some_and(|readers| readers.iter().all(parameter))
    };
    let nodes = graph.nodes().map(|(_, node)| node);
    nodes.filter(only_weights).map(|n| n.outputs[0]).collect()
}

/// What computing constants from constants has made so far, and what it may.
#[derive(Clone, Copy, Debug)]
struct Folding {
    bytes: u64,
    macs: u64,
    allowed_bytes: u64,
}

impl Folding {
    fn new() -> Self {
        let available = kernels::available_bytes().map_or(u64::MAX, |bytes| bytes as u64);
        Self { bytes: 0, macs: 0, allowed_bytes: MAX_FOLDED_BYTES.min(available / 4) }
    }

    /// After one more node.
    fn with(mut self, graph: &Graph, id: NodeId) -> Result<Self, RuntimeError> {
        let node = graph.node(id);
        for &v in &node.outputs {
            let bytes = graph.ty(v)?.elements().saturating_mul(size_of::<f64>());
            self.bytes = self.bytes.saturating_add(bytes as u64);
        }
        self.macs = self.macs.saturating_add(graph.node_macs(id));
        let (unit, found, allowed) = if self.bytes > self.allowed_bytes {
            ("bytes", self.bytes, self.allowed_bytes)
        } else {
            ("multiply-accumulate operations", self.macs, MAX_FOLDED_MACS)
        };
        if found > allowed {
            return Err(RuntimeError::Constants { node: node.name.clone(), unit, found, allowed });
        }
        Ok(self)
    }
}
