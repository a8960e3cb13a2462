//! From the graph to the list of what is executed: constants folded, quantize pairs joined, epilogues fused.
use crate::RuntimeError;
use ir::ops::{Conv, QuantizeLinear, TranscendentalKind, UnaryKind};
use ir::{Graph, Node, NodeId, Op, Tensor, ValueId};
use kernels::{Activation, BinaryOp, FakeQuantize, U8Params, U8Table, UnaryOp};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

mod chains;
mod focus;
mod fuse;
mod integer;
mod islands;

pub(crate) use chains::{ChainLink, MAX_LINKS};
pub(crate) use focus::Blocks;
pub(crate) use integer::{QuantizedWeight, Table, quantize, requantize};

/// Most that constants computed from constants may take, and may take to compute: a file of a few bytes can ask for more
/// than any machine has.
const MAX_FOLDED_BYTES: u64 = 4 << 30;
const MAX_FOLDED_MACS: u64 = 1 << 34;

/// How a value is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Form {
    /// As f32.
    F32,
    /// As u8; [`Lowered::params`] says of what.
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

/// `scale * x + shift`, one of each for every channel.
#[derive(Clone, Debug)]
pub(crate) struct Affine {
    pub(crate) scale: Vec<f32>,
    pub(crate) shift: Vec<f32>,
}

/// A convolution with what happens before its result is stored; its second input is the residual.
#[derive(Clone, Debug)]
pub(crate) struct FusedConv {
    pub(crate) conv: Conv,
    pub(crate) weight: ValueId,
    pub(crate) bias: Option<ValueId>,
    /// Where the weight's input channels are blocks of the image's pixels.
    pub(crate) blocks: Option<Blocks>,
    pub(crate) affine: Option<Affine>,
    pub(crate) activation: Activation,
    pub(crate) fake_quantize: Option<FakeQuantize>,
}

/// A convolution of quantized values with what happens before its result is stored; its second input is the residual.
#[derive(Clone, Debug)]
pub(crate) struct FusedQConv {
    pub(crate) conv: Conv,
    pub(crate) weight: ValueId,
    pub(crate) bias: Option<ValueId>,
    pub(crate) activation: Activation,
    /// Where the weight's input channels are blocks of the image's pixels.
    pub(crate) blocks: Option<Blocks>,
    /// Applied after the activation, before the residual.
    pub(crate) table: Option<U8Table>,
    /// The quantized values that are stored; `None` where f32 is.
    pub(crate) output: Option<U8Params>,
}

/// What an item computes.
#[derive(Clone, Debug)]
pub(crate) enum Work {
    Conv(Box<FusedConv>),
    QConv(Box<FusedQConv>),
    Unary(UnaryOp),
    /// Operations on the first input; the others are the constants of the links, in order.
    Chain(Vec<ChainLink>),
    /// The mean of these weights under a softmax over channels.
    SoftmaxMean(Vec<f32>),
    /// u8 to u8.
    Table(Table),
    /// u8 with u8 to u8.
    QBinary(BinaryOp),
    /// A product of u8 values; its sums become u8 again, or f32.
    QMatMul(Option<U8Params>),
    /// f32 to u8.
    Quantize,
    /// Quantized values to f32.
    Dequantize,
    /// As the graph's node says.
    Node(Op),
    /// Several nodes, in their own element types.
    Island(Arc<Graph>),
}

/// One entry of the list, in execution order.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    pub(crate) node: NodeId,
    pub(crate) name: String,
    pub(crate) work: Work,
    pub(crate) inputs: Vec<Operand>,
    pub(crate) outputs: Vec<Operand>,
    pub(crate) macs: u64,
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
        Self {
            bytes: 0,
            macs: 0,
            allowed_bytes: MAX_FOLDED_BYTES.min(available / 4),
        }
    }

    /// After one more node.
    fn with(mut self, graph: &Graph, id: NodeId) -> Result<Self, RuntimeError> {
        let node = graph.node(id);
        for &v in &node.outputs {
            let bytes = graph.ty(v)?.elements().saturating_mul(size_of::<f64>());
            self.bytes = self.bytes.saturating_add(bytes as u64);
        }
        self.macs = self.macs.saturating_add(graph.node_macs(id));
        let (unit, found, allowed) = match self.bytes > self.allowed_bytes {
            true => ("bytes", self.bytes, self.allowed_bytes),
            false => ("multiply-accumulate operations", self.macs, MAX_FOLDED_MACS),
        };
        if found > allowed {
            let node = node.name.clone();
            return Err(RuntimeError::Constants {
                node,
                unit,
                found,
                allowed,
            });
        }
        Ok(self)
    }
}

/// The list and the constants it reads.
pub(crate) struct Lowered<'g> {
    pub(crate) graph: &'g Graph,
    /// Values that must exist as they are.
    pub(crate) keep: &'g BTreeSet<ValueId>,
    pub(crate) items: Vec<Item>,
    /// How each input of the model is held.
    pub(crate) inputs: Vec<Operand>,
    /// What the quantized values of a value stand for, where it is held as u8.
    pub(crate) params: BTreeMap<ValueId, U8Params>,
    consumers: BTreeMap<ValueId, Vec<(NodeId, usize)>>,
    folded: BTreeMap<ValueId, Tensor>,
    /// Dequantized weights that only convolutions read: computed where they are packed.
    deferred: BTreeSet<ValueId>,
    folding: Folding,
}

impl<'g> Lowered<'g> {
    /// A BatchNormalization with constant statistics as one multiplication and one addition for each channel.
    pub(crate) fn affine(&self, epsilon: f32, parameters: &[Operand]) -> Option<Affine> {
        let read = |v: &Operand| self.constant(v.value)?.to_f64().ok();
        let parameters: Option<Vec<Vec<f64>>> = parameters.iter().map(read).collect();
        let [gamma, beta, mean, variance] = parameters?.try_into().ok()?;
        let scale: Vec<f64> = gamma
            .iter()
            .zip(&variance)
            .map(|(g, v)| g / (v + f64::from(epsilon)).sqrt())
            .collect();
        let shift = beta.iter().zip(&mean).zip(&scale);
        Some(Affine {
            shift: shift.map(|((b, m), s)| (b - m * s) as f32).collect(),
            scale: scale.iter().map(|&s| s as f32).collect(),
        })
    }

    /// The elements of a value that does not depend on the model's input.
    pub(crate) fn constant(&self, v: ValueId) -> Option<&Tensor> {
        self.folded.get(&v).or_else(|| self.graph.constant(v))
    }

    /// As [`Lowered::constant`], and weights that are stored as quantized values.
    pub(crate) fn weights(&self, v: ValueId) -> Result<Option<Cow<'_, Tensor>>, RuntimeError> {
        if let Some(tensor) = self.constant(v) {
            return Ok(Some(Cow::Borrowed(tensor)));
        }
        let producer = self
            .graph
            .producer(v)
            .filter(|_| self.deferred.contains(&v));
        let Some(node) = producer.map(|id| self.graph.node(id)) else {
            return Ok(None);
        };
        let Some(quantized) = self.constant(node.inputs[0]) else {
            return Ok(None);
        };
        let made = node.op.forward(&[quantized]);
        let mut made = made.map_err(|source| self.graph.op_error(node, source))?;
        Ok(made.pop().map(Cow::Owned))
    }

    fn is_constant(&self, v: ValueId) -> bool {
        self.deferred.contains(&v) || self.constant(v).is_some()
    }
}

/// Lowers a graph; values in `keep` stay values of their own. Where `integer`, what lies between quantization steps runs
/// on quantized values; otherwise quantization is imitated in f32.
pub(crate) fn lower<'g>(
    graph: &'g Graph,
    keep: &'g BTreeSet<ValueId>,
    integer: bool,
) -> Result<Lowered<'g>, RuntimeError> {
    let mut lowered = Lowered {
        graph,
        keep,
        items: Vec::new(),
        inputs: graph.inputs().iter().copied().map(Operand::f32).collect(),
        params: BTreeMap::new(),
        consumers: graph.consumers(),
        folded: BTreeMap::new(),
        deferred: deferred(graph, keep),
        folding: Folding::new(),
    };
    for (id, node) in graph.nodes() {
        if let Op::Opaque(op) = &node.op {
            return Err(RuntimeError::Opaque {
                node: node.name.clone(),
                op_type: op.op_type.clone(),
            });
        }
        if !lowered.fold(id, node)? {
            let item = lowered.item(id, node)?;
            lowered.items.extend(item);
        }
    }
    islands::join(&mut lowered, keep)?;
    fuse::share_fake_quantize(&mut lowered, keep);
    fuse::join_silu(&mut lowered, keep);
    fuse::raise_activations(&mut lowered, keep);
    fuse::softmax_means(&mut lowered, keep)?;
    match integer {
        true => integer::lower(&mut lowered, keep)?,
        false => {
            focus::read_images(&mut lowered, keep);
            fuse::drop_unread(&mut lowered, keep);
        }
    }
    fuse::epilogues(&mut lowered, keep);
    if integer {
        integer::forms(&mut lowered, keep);
    }
    chains::chains(&mut lowered, keep);
    Ok(lowered)
}

/// Outputs of DequantizeLinear that only convolutions read, as weight or bias.
fn deferred(graph: &Graph, keep: &BTreeSet<ValueId>) -> BTreeSet<ValueId> {
    let consumers = graph.consumers();
    let parameter =
        |&(id, input): &(NodeId, usize)| input > 0 && matches!(graph.node(id).op, Op::Conv(_));
    let only_weights = |node: &&Node| {
        matches!(node.op, Op::DequantizeLinear(_))
            && graph.constant(node.inputs[0]).is_some()
            && !keep.contains(&node.outputs[0])
            && consumers
                .get(&node.outputs[0])
                .is_some_and(|readers| readers.iter().all(parameter))
    };
    let nodes = graph.nodes().map(|(_, node)| node);
    nodes.filter(only_weights).map(|n| n.outputs[0]).collect()
}

impl<'g> Lowered<'g> {
    /// Computes a node of constants now.
    fn fold(&mut self, id: NodeId, node: &Node) -> Result<bool, RuntimeError> {
        if self.deferred.contains(&node.outputs[0]) {
            return Ok(true);
        }
        let inputs: Option<Vec<&Tensor>> = node.inputs.iter().map(|&v| self.constant(v)).collect();
        let Some(inputs) = inputs else {
            return Ok(false);
        };
        let folding = self.folding.with(self.graph, id)?;
        let outputs = node
            .op
            .forward(&inputs)
            .map_err(|source| self.graph.op_error(node, source))?;
        self.folding = folding;
        self.folded
            .extend(node.outputs.iter().copied().zip(outputs));
        Ok(true)
    }

    /// The item of a node; `None` for a QuantizeLinear, which its DequantizeLinear carries out.
    fn item(&self, id: NodeId, node: &Node) -> Result<Option<Item>, RuntimeError> {
        let mut inputs: Vec<Operand> = node.inputs.iter().copied().map(Operand::f32).collect();
        let work = match &node.op {
            Op::Conv(conv) if self.has_constant_weights(node) => {
                inputs.truncate(1);
                Work::Conv(Box::new(FusedConv {
                    conv: conv.clone(),
                    weight: node.inputs[1],
                    bias: node.inputs.get(2).copied(),
                    blocks: None,
                    affine: None,
                    activation: Activation::Identity,
                    fake_quantize: None,
                }))
            }
            Op::Unary(unary) => Work::Unary(unary_op(unary.kind)),
            Op::Transcendental(t) => match transcendental_op(t.kind) {
                Some(op) => Work::Unary(op),
                None => Work::Node(node.op.clone()),
            },
            Op::QuantizeLinear(_) if self.only_dequantized(node) => return Ok(None),
            Op::DequantizeLinear(_) => match self.quantizer(node) {
                None => Work::Node(node.op.clone()),
                Some((x, quantize)) => {
                    inputs = vec![Operand::f32(x)];
                    match grid(quantize) {
                        Some(grid) => Work::Unary(UnaryOp::FakeQuantize(grid)),
                        None => {
                            let island = islands::quantizer(self.graph, x, node, quantize)?;
                            Work::Island(Arc::new(island))
                        }
                    }
                }
            },
            op => Work::Node(op.clone()),
        };
        Ok(Some(Item {
            node: id,
            name: node.name.clone(),
            work,
            inputs,
            outputs: node.outputs.iter().copied().map(Operand::f32).collect(),
            macs: self.graph.node_macs(id),
        }))
    }

    fn has_constant_weights(&self, node: &Node) -> bool {
        node.inputs[1..].iter().all(|&v| self.is_constant(v))
    }

    /// The pair that ends in this DequantizeLinear: the real value that enters it, and how it becomes quantized values. `None` where
    /// its quantized values come from elsewhere.
    fn quantizer(&self, node: &Node) -> Option<(ValueId, &'g QuantizeLinear)> {
        let Op::DequantizeLinear(dq) = &node.op else {
            return None;
        };
        let source = self.graph.node(self.graph.producer(node.inputs[0])?);
        match &source.op {
            Op::QuantizeLinear(q) if q.params == dq.params => Some((source.inputs[0], q)),
            _ => None,
        }
    }

    /// Whether the quantized values of a QuantizeLinear are read by DequantizeLinear on the same grid, and by nothing else.
    fn only_dequantized(&self, node: &Node) -> bool {
        let quantized = node.outputs[0];
        let pair = |&(reader, _): &(NodeId, usize)| {
            let reader = self.graph.node(reader);
            self.quantizer(reader).is_some()
        };
        let readers = self.consumers.get(&quantized).into_iter().flatten();
        !self.graph.outputs().contains(&quantized) && readers.into_iter().all(pair)
    }
}

/// The grid of quantized values; `None` where channels have grids of their own.
fn grid(quantize: &QuantizeLinear) -> Option<FakeQuantize> {
    let params = &quantize.params;
    let (&[scale], &[zero_point]) = (params.scale(), params.zero_point()) else {
        return None;
    };
    let (lo, hi) = params.range();
    Some(FakeQuantize {
        scale,
        zero_point: zero_point as f32,
        q_min: lo as f32,
        q_max: hi as f32,
    })
}

fn unary_op(kind: UnaryKind) -> UnaryOp {
    UnaryOp::Activation(match kind {
        UnaryKind::Sigmoid => Activation::Sigmoid,
        UnaryKind::Silu => Activation::Silu,
        UnaryKind::Relu => Activation::Relu,
        UnaryKind::LeakyRelu { alpha } => Activation::LeakyRelu { alpha },
        UnaryKind::HardSigmoid { alpha, beta } => Activation::HardSigmoid { alpha, beta },
        UnaryKind::HardSwish => Activation::HardSwish,
        UnaryKind::Tanh => Activation::Tanh,
        UnaryKind::Clip { min, max } => Activation::Clip { min, max },
        UnaryKind::Exp => return UnaryOp::Exp,
        UnaryKind::Log => return UnaryOp::Log,
        UnaryKind::Sqrt => return UnaryOp::Sqrt,
        UnaryKind::Neg => return UnaryOp::Neg,
        UnaryKind::Abs => return UnaryOp::Abs,
        UnaryKind::Floor => return UnaryOp::Floor,
        UnaryKind::Ceil => return UnaryOp::Ceil,
        UnaryKind::Round => return UnaryOp::Round,
        UnaryKind::Reciprocal => return UnaryOp::Reciprocal,
    })
}

/// The kernel of a rarer function; `None` where the reference computes it.
fn transcendental_op(kind: TranscendentalKind) -> Option<UnaryOp> {
    Some(match kind {
        TranscendentalKind::Erf => UnaryOp::Erf,
        TranscendentalKind::Softplus => UnaryOp::Softplus,
        TranscendentalKind::Mish => UnaryOp::Mish,
        TranscendentalKind::Gelu { tanh: false } => UnaryOp::Gelu,
        TranscendentalKind::Gelu { tanh: true } => UnaryOp::GeluTanh,
        TranscendentalKind::Elu { alpha } => UnaryOp::Elu { alpha },
        TranscendentalKind::Selu { .. }
        | TranscendentalKind::Softsign
        | TranscendentalKind::Sign
        | TranscendentalKind::Sin
        | TranscendentalKind::Cos => return None,
    })
}

/// Who reads and who writes each value, by position in the list.
pub(crate) struct Wiring {
    pub(crate) readers: BTreeMap<Operand, Vec<usize>>,
    pub(crate) writer: BTreeMap<Operand, usize>,
}

impl Wiring {
    pub(crate) fn new(items: &[Item]) -> Self {
        let mut readers: BTreeMap<Operand, Vec<usize>> = BTreeMap::new();
        let mut writer = BTreeMap::new();
        for (i, item) in items.iter().enumerate() {
            for &v in &item.inputs {
                readers.entry(v).or_default().push(i);
            }
            writer.extend(item.outputs.iter().map(|&v| (v, i)));
        }
        Self { readers, writer }
    }

    /// The only item that reads a value.
    pub(crate) fn only_reader(&self, v: Operand) -> Option<usize> {
        match self.readers.get(&v)?.as_slice() {
            &[reader] => Some(reader),
            _ => None,
        }
    }
}
