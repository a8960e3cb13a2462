//! One step of a plan: a kernel with its views.
use crate::RuntimeError;
use crate::layout::Halo;
use crate::lowering::{ChainLink, MAX_LINKS, Table};
use ir::{Graph, Op, Tensor, interpreter};
use kernels::{
    Activation, BinaryOp, Context, Epilogue, FakeQuantize, KernelError, Link, PackedConv,
    PackedQConv, Pool, QActivation, QEpilogue, QOut, TileChoice, U8Params, U8Table, UnaryOp, View,
};
use std::sync::Arc;

/// A convolution of quantized values and what follows its sums.
#[derive(Clone)]
pub(crate) struct QConvKernel {
    pub(crate) packed: Arc<PackedQConv>,
    pub(crate) activation: QActivation,
    pub(crate) table: Option<U8Table>,
    /// What the quantized values of the second input stand for.
    pub(crate) residual: Option<U8Params>,
    /// What is stored; `None` where f32 is.
    pub(crate) output: Option<U8Params>,
}

/// What a step does with its views.
#[derive(Clone)]
pub(crate) enum Kernel {
    /// Reads x and, if there is one, the residual.
    Conv {
        packed: Arc<PackedConv>,
        activation: Activation,
        fake_quantize: Option<FakeQuantize>,
    },
    MaxPool(Pool),
    AveragePool(Pool),
    Resize {
        map_h: Vec<usize>,
        map_w: Vec<usize>,
    },
    Unary(UnaryOp),
    Binary(BinaryOp),
    /// Reads x and the constants of the links, in order.
    Chain(Vec<ChainLink>),
    MatMul,
    Softmax {
        axis: usize,
    },
    /// The mean of these weights under a softmax over channels.
    SoftmaxMean(Vec<f32>),
    Copy,
    FillHalo(Halo),
    /// Reads x and, if there is one, the residual.
    QConv(Box<QConvKernel>),
    QMaxPool(Pool),
    QResize {
        map_h: Vec<usize>,
        map_w: Vec<usize>,
    },
    QBinary {
        op: BinaryOp,
        a: U8Params,
        b: U8Params,
        y: U8Params,
    },
    QMatMul {
        a: U8Params,
        b: U8Params,
        y: Option<U8Params>,
    },
    QCopy(Option<Table>),
    QFillHalo(Halo, u8),
    Quantize(U8Params),
    Dequantize(U8Params),
    /// The operator's own reference computation; constants sit at their input positions.
    Reference {
        op: Box<Op>,
        constants: Vec<Option<Tensor>>,
    },
    /// Several operators' reference computations, in their own element types.
    Island(Arc<Graph>),
}

/// A kernel with its operands; `V` says where they lie.
#[derive(Clone)]
pub(crate) struct Step<V> {
    pub(crate) name: String,
    pub(crate) kernel: Kernel,
    pub(crate) inputs: Vec<V>,
    pub(crate) outputs: Vec<V>,
    pub(crate) macs: u64,
}

impl Step<View> {
    /// Bytes that a reference computation takes: each element several times, as f64.
    pub(crate) fn scratch_bytes(&self) -> usize {
        const BYTES: usize = 3 * size_of::<f64>();
        let elements = match &self.kernel {
            Kernel::Reference { .. } => {
                let views = self.inputs.iter().chain(&self.outputs);
                views.fold(0usize, |n, v| n.saturating_add(v.elements()))
            }
            Kernel::Island(graph) => {
                let types = graph.values().filter_map(|(_, v)| v.ty.as_ref());
                types.fold(0usize, |n, t| n.saturating_add(t.elements()))
            }
            _ => 0,
        };
        elements.saturating_mul(BYTES)
    }
}

impl<V> Step<V> {
    /// The same step with its operands elsewhere.
    pub(crate) fn map<W>(self, f: impl Fn(V) -> W) -> Step<W> {
        Step {
            name: self.name,
            kernel: self.kernel,
            inputs: self.inputs.into_iter().map(&f).collect(),
            outputs: self.outputs.into_iter().map(&f).collect(),
            macs: self.macs,
        }
    }
}

impl Step<View> {
    /// Name of the kernel, for listings.
    pub(crate) fn kind(&self) -> String {
        match &self.kernel {
            Kernel::Conv {
                activation,
                fake_quantize,
                ..
            } => {
                let quantized = if fake_quantize.is_some() {
                    " + QDQ"
                } else {
                    ""
                };
                self.conv_kind("Conv", *activation != Activation::Identity) + quantized
            }
            Kernel::QConv(conv) => {
                let kind = self.conv_kind("QConv", conv.activation != QActivation::Identity);
                let table = if conv.table.is_some() { " + table" } else { "" };
                let float = if conv.output.is_none() { " to f32" } else { "" };
                kind + table + float
            }
            Kernel::MaxPool(_) => "MaxPool".into(),
            Kernel::AveragePool(_) => "AveragePool".into(),
            Kernel::Resize { .. } => "Resize".into(),
            Kernel::Unary(_) => "Unary".into(),
            Kernel::Binary(_) => "Binary".into(),
            Kernel::Chain(links) => format!("Chain of {}", links.len()),
            Kernel::Softmax { .. } => "Softmax".into(),
            Kernel::MatMul => "MatMul".into(),
            Kernel::QMatMul { y: Some(_), .. } => "QMatMul".into(),
            Kernel::QMatMul { y: None, .. } => "QMatMul to f32".into(),
            Kernel::SoftmaxMean(_) => "Softmax + Conv".into(),
            Kernel::Copy => "Copy".into(),
            Kernel::FillHalo(_) => "FillHalo".into(),
            Kernel::QMaxPool(_) => "QMaxPool".into(),
            Kernel::QResize { .. } => "QResize".into(),
            Kernel::QBinary { .. } => "QBinary".into(),
            Kernel::QCopy(None) => "QCopy".into(),
            Kernel::QCopy(Some(_)) => "QTable".into(),
            Kernel::QFillHalo(..) => "QFillHalo".into(),
            Kernel::Quantize(_) => "Quantize".into(),
            Kernel::Dequantize(_) => "Dequantize".into(),
            Kernel::Reference { op, .. } => format!("Reference {}", op.op_type()),
            Kernel::Island(graph) => format!("Reference of {} nodes", graph.node_count()),
        }
    }

    fn conv_kind(&self, name: &str, activation: bool) -> String {
        let activation = if activation { " + activation" } else { "" };
        let residual = if self.inputs.len() > 1 { " + Add" } else { "" };
        format!("{name}{activation}{residual}")
    }

    /// Whether it computes on u8 values.
    pub(crate) fn is_integer(&self) -> bool {
        matches!(
            self.kernel,
            Kernel::QConv(_)
                | Kernel::QMaxPool(_)
                | Kernel::QResize { .. }
                | Kernel::QBinary { .. }
                | Kernel::QMatMul { .. }
                | Kernel::QCopy(_)
                | Kernel::QFillHalo(..)
        )
    }

    /// The tile of a convolution.
    pub(crate) fn tile(&self) -> Option<TileChoice> {
        match &self.kernel {
            Kernel::Conv { packed, .. } => Some(packed.tile()),
            Kernel::QConv(conv) => Some(conv.packed.tile()),
            _ => None,
        }
    }

    /// Runs the step.
    pub(crate) fn run(&self, ctx: &mut Context<'_>) -> Result<(), RuntimeError> {
        let (x, y) = (self.inputs.first(), &self.outputs[0]);
        let x = x.unwrap_or(y);
        let done = match &self.kernel {
            Kernel::Conv {
                packed,
                activation,
                fake_quantize,
            } => {
                let epilogue = Epilogue {
                    activation: *activation,
                    residual: self.inputs.get(1).copied(),
                    fake_quantize: *fake_quantize,
                };
                kernels::conv2d(ctx, packed, x, y, &epilogue)
            }
            Kernel::MaxPool(pool) => kernels::max_pool(ctx, x, y, pool),
            Kernel::AveragePool(pool) => kernels::avg_pool(ctx, x, y, pool),
            Kernel::Resize { map_h, map_w } => kernels::resize_nearest(ctx, x, y, map_h, map_w),
            Kernel::Unary(op) => kernels::unary(ctx, *op, x, y),
            Kernel::Binary(op) => kernels::binary(ctx, *op, x, &self.inputs[1], y),
            Kernel::Chain(links) => self.run_chain(ctx, links),
            Kernel::Softmax { axis } => kernels::softmax(ctx, x, y, *axis),
            Kernel::SoftmaxMean(weights) => kernels::softmax_mean(ctx, x, y, 1, weights),
            Kernel::Copy => kernels::copy(ctx, x, y),
            Kernel::FillHalo(halo) => kernels::fill_halo(ctx, y, *halo, 0.0),
            Kernel::QConv(conv) => self.run_q_conv(ctx, conv),
            Kernel::QMaxPool(pool) => kernels::q_max_pool(ctx, x, y, pool),
            Kernel::QResize { map_h, map_w } => kernels::q_resize_nearest(ctx, x, y, map_h, map_w),
            Kernel::QBinary { op, a, b, y: to } => {
                kernels::q_binary(ctx, *op, (x, *a), (&self.inputs[1], *b), (y, *to))
            }
            Kernel::MatMul => kernels::matmul(ctx, x, &self.inputs[1], y),
            Kernel::QMatMul { a, b, y: to } => {
                let to = q_out(*y, *to);
                kernels::q_matmul(ctx, (x, *a), (&self.inputs[1], *b), &to)
            }
            Kernel::QCopy(table) => kernels::q_copy(ctx, x, y, table.as_deref()),
            Kernel::QFillHalo(halo, value) => kernels::q_fill_halo(ctx, y, *halo, *value),
            Kernel::Quantize(params) => kernels::quantize(ctx, x, y, *params),
            Kernel::Dequantize(params) => kernels::dequantize(ctx, x, *params, y),
            Kernel::Reference { op, constants } => return self.run_reference(ctx, op, constants),
            Kernel::Island(graph) => return self.run_island(ctx, graph),
        };
        done.map_err(RuntimeError::kernel(&self.name))
    }

    fn run_chain(&self, ctx: &mut Context<'_>, links: &[ChainLink]) -> Result<(), KernelError> {
        let mut constants = self.inputs[1..].iter().copied();
        let mut next = || {
            constants
                .next()
                .expect("one constant for each link that has one")
        };
        let mut made = [Link::Unary(UnaryOp::Identity); MAX_LINKS];
        for (made, link) in made.iter_mut().zip(links) {
            *made = match *link {
                ChainLink::Unary(op) => Link::Unary(op),
                ChainLink::With(op) => Link::With(op, next()),
                ChainLink::After(op) => Link::After(op, next()),
            };
        }
        let (x, y) = (&self.inputs[0], &self.outputs[0]);
        kernels::chain(ctx, x, y, &made[..links.len()])
    }

    fn run_q_conv(&self, ctx: &mut Context<'_>, conv: &QConvKernel) -> Result<(), KernelError> {
        let y = q_out(self.outputs[0], conv.output);
        let epilogue = QEpilogue {
            activation: conv.activation,
            table: conv.table.as_ref(),
            residual: self.inputs.get(1).copied().zip(conv.residual),
        };
        kernels::qconv2d(ctx, &conv.packed, &self.inputs[0], &y, &epilogue)
    }

    fn run_island(&self, ctx: &mut Context<'_>, graph: &Graph) -> Result<(), RuntimeError> {
        let read = |view: &View| {
            let data = ctx.f32_arena.read(view);
            let data = data.map_err(RuntimeError::kernel(&self.name))?;
            Tensor::new(view.shape.to_vec(), data).map_err(RuntimeError::operator(&self.name))
        };
        let inputs = self.inputs.iter().map(read);
        let outputs = interpreter::run(graph, &inputs.collect::<Result<Vec<_>, _>>()?)?;
        for (view, tensor) in self.outputs.iter().zip(&outputs) {
            let data = tensor.as_slice::<f32>();
            let data = data.map_err(RuntimeError::operator(&self.name))?;
            let written = ctx.f32_arena.write(view, data);
            written.map_err(RuntimeError::kernel(&self.name))?;
        }
        Ok(())
    }

    fn run_reference(
        &self,
        ctx: &mut Context<'_>,
        op: &Op,
        constants: &[Option<Tensor>],
    ) -> Result<(), RuntimeError> {
        let mut views = self.inputs.iter();
        let mut tensors = Vec::with_capacity(constants.len());
        for constant in constants {
            tensors.push(match constant {
                Some(tensor) => tensor.clone(),
                None => {
                    let view = views.next().expect("one view for each computed input");
                    let data = ctx
                        .f32_arena
                        .read(view)
                        .map_err(RuntimeError::kernel(&self.name))?;
                    Tensor::new(view.shape.to_vec(), data)
                        .map_err(RuntimeError::operator(&self.name))?
                }
            });
        }
        let inputs: Vec<&Tensor> = tensors.iter().collect();
        let outputs = op
            .forward(&inputs)
            .map_err(RuntimeError::operator(&self.name))?;
        for (view, tensor) in self.outputs.iter().zip(&outputs) {
            let data = tensor
                .as_slice::<f32>()
                .map_err(RuntimeError::operator(&self.name))?;
            ctx.f32_arena
                .write(view, data)
                .map_err(RuntimeError::kernel(&self.name))?;
        }
        Ok(())
    }
}

fn q_out(view: View, params: Option<U8Params>) -> QOut {
    match params {
        Some(params) => QOut::U8 { view, params },
        None => QOut::F32 { view },
    }
}
