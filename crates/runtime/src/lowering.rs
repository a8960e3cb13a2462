//! From the graph to the list of what is executed: constants folded, quantize pairs joined, epilogues fused.
use crate::RuntimeError;
use ir::ops::{Conv, UnaryKind};
use ir::{Graph, Node, NodeId, Op, Tensor, ValueId};
use kernels::{Activation, FakeQuantize, UnaryOp};
use std::collections::{BTreeMap, BTreeSet};

mod fuse;

/// `scale * x + shift`, one of each for every channel.
#[derive(Clone, Debug)]
pub(crate) struct Affine {
    pub(crate) scale: Vec<f32>,
    pub(crate) shift: Vec<f32>,
}

/// A convolution with what happens before its result is stored.
#[derive(Clone, Debug)]
pub(crate) struct FusedConv {
    pub(crate) conv: Conv,
    pub(crate) weight: ValueId,
    pub(crate) bias: Option<ValueId>,
    pub(crate) affine: Option<Affine>,
    pub(crate) activation: Activation,
    pub(crate) residual: Option<ValueId>,
    pub(crate) fake_quantize: Option<FakeQuantize>,
}

/// What an item computes.
#[derive(Clone, Debug)]
pub(crate) enum Work {
    Conv(Box<FusedConv>),
    Unary(UnaryOp),
    /// As the graph's node says.
    Node(Op),
}

/// One entry of the list, in execution order.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    pub(crate) node: NodeId,
    pub(crate) name: String,
    pub(crate) work: Work,
    pub(crate) inputs: Vec<ValueId>,
    pub(crate) outputs: Vec<ValueId>,
    pub(crate) macs: u64,
}

/// The list and the constants it reads.
pub(crate) struct Lowered<'g> {
    pub(crate) graph: &'g Graph,
    pub(crate) items: Vec<Item>,
    folded: BTreeMap<ValueId, Tensor>,
}

impl Lowered<'_> {
    /// A BatchNormalization with constant statistics as one multiplication and one addition for each channel.
    pub(crate) fn affine(&self, epsilon: f32, parameters: &[ValueId]) -> Option<Affine> {
        let read = |&v: &ValueId| self.constant(v)?.to_f64().ok();
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
}

/// Lowers a graph; values in `keep` stay values of their own.
pub(crate) fn lower<'g>(
    graph: &'g Graph,
    keep: &BTreeSet<ValueId>,
) -> Result<Lowered<'g>, RuntimeError> {
    let mut lowered = Lowered {
        graph,
        items: Vec::new(),
        folded: BTreeMap::new(),
    };
    for (id, node) in graph.nodes() {
        if let Op::Opaque(op) = &node.op {
            return Err(RuntimeError::Opaque {
                node: node.name.clone(),
                op_type: op.op_type.clone(),
            });
        }
        if !lowered.fold(node)? {
            let item = lowered.item(id, node)?;
            lowered.items.extend(item);
        }
    }
    fuse::share_fake_quantize(&mut lowered, keep);
    fuse::join_silu(&mut lowered, keep);
    fuse::epilogues(&mut lowered, keep);
    Ok(lowered)
}

impl Lowered<'_> {
    /// Computes a node of constants now.
    fn fold(&mut self, node: &Node) -> Result<bool, RuntimeError> {
        let inputs: Option<Vec<&Tensor>> = node.inputs.iter().map(|&v| self.constant(v)).collect();
        let Some(inputs) = inputs else {
            return Ok(false);
        };
        let outputs = node
            .op
            .forward(&inputs)
            .map_err(|source| self.graph.op_error(node, source))?;
        self.folded
            .extend(node.outputs.iter().copied().zip(outputs));
        Ok(true)
    }

    /// The item of a node; `None` for a QuantizeLinear, which its DequantizeLinear carries out.
    fn item(&self, id: NodeId, node: &Node) -> Result<Option<Item>, RuntimeError> {
        let mut inputs = node.inputs.clone();
        let work = match &node.op {
            Op::Conv(conv) if self.has_constant_weights(node) => {
                inputs.truncate(1);
                Work::Conv(Box::new(FusedConv {
                    conv: conv.clone(),
                    weight: node.inputs[1],
                    bias: node.inputs.get(2).copied(),
                    affine: None,
                    activation: Activation::Identity,
                    residual: None,
                    fake_quantize: None,
                }))
            }
            Op::Unary(unary) => Work::Unary(unary_op(unary.kind)),
            Op::QuantizeLinear(_) => return Ok(None),
            Op::DequantizeLinear(_) => {
                let (x, fake_quantize) = self.fake_quantize(node)?;
                inputs = vec![x];
                Work::Unary(UnaryOp::FakeQuantize(fake_quantize))
            }
            op => Work::Node(op.clone()),
        };
        Ok(Some(Item {
            node: id,
            name: node.name.clone(),
            work,
            inputs,
            outputs: node.outputs.clone(),
            macs: self.graph.node_macs(id),
        }))
    }

    fn has_constant_weights(&self, node: &Node) -> bool {
        node.inputs[1..].iter().all(|&v| self.constant(v).is_some())
    }

    /// The pair that ends in this DequantizeLinear: the real value that enters it, and its grid.
    fn fake_quantize(&self, node: &Node) -> Result<(ValueId, FakeQuantize), RuntimeError> {
        let Op::DequantizeLinear(dq) = &node.op else {
            unreachable!("called for DequantizeLinear only");
        };
        let codes = node.inputs[0];
        let source = self.graph.producer(codes).map(|id| self.graph.node(id));
        let quantize = source.and_then(|n| match &n.op {
            Op::QuantizeLinear(q) if q.params == dq.params => Some((n.inputs[0], q)),
            _ => None,
        });
        let Some((x, q)) = quantize else {
            return Err(RuntimeError::DType {
                value: self.graph.value(codes).name.clone(),
                found: dq.params.dtype(),
            });
        };
        if q.params.scale().len() != 1 {
            return Err(RuntimeError::PerChannelActivation {
                node: node.name.clone(),
            });
        }
        let (lo, hi) = q.params.range();
        let fake_quantize = FakeQuantize {
            scale: q.params.scale()[0],
            zero_point: q.params.zero_point()[0] as f32,
            q_min: lo as f32,
            q_max: hi as f32,
        };
        Ok((x, fake_quantize))
    }
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

/// Who reads and who writes each value, by position in the list.
pub(crate) struct Wiring {
    pub(crate) readers: BTreeMap<ValueId, Vec<usize>>,
    pub(crate) writer: BTreeMap<ValueId, usize>,
}

impl Wiring {
    pub(crate) fn new(items: &[Item]) -> Self {
        let mut readers: BTreeMap<ValueId, Vec<usize>> = BTreeMap::new();
        let mut writer = BTreeMap::new();
        for (i, item) in items.iter().enumerate() {
            for &v in &item.inputs {
                readers.entry(v).or_default().push(i);
            }
            writer.extend(item.outputs.iter().map(|&v| (v, i)));
        }
        Self { readers, writer }
    }
}
