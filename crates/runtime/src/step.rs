//! One step of a plan: a kernel with its parameters, and the views that it reads and writes.
use crate::RuntimeError;
use ir::{IrError, OpError, ValueId};
use kernels::{Context, KernelError, PackedConv, QOut, TileChoice, U8Params, View};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use thiserror::Error;

/// Why a kernel could not run.
#[derive(Debug, Error)]
pub(crate) enum StepError {
    #[error(transparent)]
    Kernel(#[from] KernelError),
    #[error(transparent)]
    Operator(#[from] OpError),
    #[error(transparent)]
    Graph(#[from] IrError),
}

impl StepError {
    /// Adds the node.
    pub(crate) fn at(self, node: &str) -> RuntimeError {
        match self {
            StepError::Kernel(source) => RuntimeError::kernel(node)(source),
            StepError::Operator(source) => RuntimeError::operator(node)(source),
            StepError::Graph(source) => RuntimeError::Graph(source),
        }
    }
}

/// The views that a step reads and writes, in the kernel's order.
#[derive(Clone, Debug)]
pub(crate) struct Operands<V> {
    pub(crate) inputs: Vec<V>,
    pub(crate) outputs: Vec<V>,
}

impl Operands<View> {
    /// The first input.
    pub(crate) fn x(&self) -> &View {
        &self.inputs[0]
    }

    /// The first output.
    pub(crate) fn y(&self) -> &View {
        &self.outputs[0]
    }

    /// The first output as quantized values with these parameters, or as f32.
    pub(crate) fn stored(&self, params: Option<U8Params>) -> QOut {
        let view = *self.y();
        match params {
            Some(params) => QOut::U8 { view, params },
            None => QOut::F32 { view },
        }
    }
}

type Run = dyn Fn(&mut Context<'_>, &Operands<View>, Option<&PackedConv>) -> Result<(), StepError>
    + Send
    + Sync;

/// A kernel with all of its parameters but the views.
#[derive(Clone)]
pub(crate) struct Kernel {
    /// What runs, with what is fused into it; for listings.
    pub(crate) kind: String,
    /// Whether it computes on quantized values.
    pub(crate) is_integer: bool,
    /// How a convolution uses the registers.
    pub(crate) tile: Option<TileChoice>,
    /// Bytes that it takes beside the arena.
    pub(crate) scratch_bytes: usize,
    /// The weights that it holds.
    packed: Option<PackedConv>,
    run: Arc<Run>,
}

impl Kernel {
    /// A kernel that computes in f32.
    pub(crate) fn f32(
        kind: impl Into<String>,
        run: impl Fn(&mut Context<'_>, &Operands<View>) -> Result<(), StepError> + Send + Sync + 'static,
    ) -> Self {
        Self {
            kind: kind.into(),
            is_integer: false,
            tile: None,
            scratch_bytes: 0,
            packed: None,
            run: Arc::new(move |ctx, at, _| run(ctx, at)),
        }
    }

    /// A convolution in f32, whose weights may be packed anew.
    pub(crate) fn convolution(
        kind: impl Into<String>,
        packed: PackedConv,
        run: impl Fn(&mut Context<'_>, &PackedConv, &Operands<View>) -> Result<(), KernelError>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        let run = move |ctx: &mut Context<'_>, at: &Operands<View>, packed: Option<&PackedConv>| {
            let packed = packed.expect("a convolution holds its weights");
            Ok(run(ctx, packed, at)?)
        };
        Self {
            kind: kind.into(),
            is_integer: false,
            tile: Some(packed.tile()),
            scratch_bytes: packed.scratch_bytes(),
            packed: Some(packed),
            run: Arc::new(run),
        }
    }

    /// A kernel that computes on quantized values.
    pub(crate) fn int8(
        kind: impl Into<String>,
        run: impl Fn(&mut Context<'_>, &Operands<View>) -> Result<(), StepError> + Send + Sync + 'static,
    ) -> Self {
        Self { is_integer: true, ..Self::f32(kind, run) }
    }

    /// The same, with the tile that listings show.
    pub(crate) fn with_tile(mut self, tile: TileChoice) -> Self {
        self.tile = Some(tile);
        self
    }

    /// The same, which takes so many bytes beside the arena.
    pub(crate) fn with_scratch(mut self, bytes: usize) -> Self {
        self.scratch_bytes = bytes;
        self
    }

    /// Computes the outputs.
    pub(crate) fn run(&self, ctx: &mut Context<'_>, at: &Operands<View>) -> Result<(), StepError> {
        (self.run)(ctx, at, self.packed.as_ref())
    }

    /// The same kernel with the weights that it holds, which stay here no longer.
    pub(crate) fn take(&mut self) -> Self {
        let packed = self.packed.take();
        Self { packed, ..self.clone() }
    }

    /// Lets it hold other weights.
    pub(crate) fn repack(
        &mut self,
        packing: &dyn Packing,
        parameters: &Parameters,
    ) -> Result<(), StepError> {
        let Some(packed) = &mut self.packed else {
            return Ok(());
        };
        let weights = packing.weights(parameters)?;
        Ok(packed.repack(&weights.weight, weights.bias.as_deref())?)
    }
}

/// Elements of the graph's parameters.
pub(crate) type Parameters = BTreeMap<ValueId, Vec<f32>>;

/// What a convolution's kernel is to hold, before it is packed.
pub(crate) struct Weights<'a> {
    pub(crate) weight: Cow<'a, [f32]>,
    pub(crate) bias: Option<Cow<'a, [f32]>>,
}

/// What a kernel holds of the graph's parameters.
pub(crate) trait Packing: Send + Sync {
    /// The parameters that it holds.
    fn parameters(&self) -> Vec<ValueId>;

    /// The weights that it holds when the parameters are these.
    fn weights<'a>(&'a self, parameters: &'a Parameters) -> Result<Weights<'a>, StepError>;
}

/// A kernel and where its operands lie, which `V` says.
pub(crate) struct Step<V> {
    pub(crate) name: String,
    pub(crate) kernel: Kernel,
    /// Where parameters are packed into the kernel.
    pub(crate) packing: Option<Box<dyn Packing>>,
    pub(crate) at: Operands<V>,
    pub(crate) macs: u64,
}

impl<V> Step<V> {
    /// The same step with its operands elsewhere.
    pub(crate) fn map<W>(self, f: impl Fn(V) -> W) -> Step<W> {
        Step {
            name: self.name,
            kernel: self.kernel,
            packing: self.packing,
            at: Operands {
                inputs: self.at.inputs.into_iter().map(&f).collect(),
                outputs: self.at.outputs.into_iter().map(&f).collect(),
            },
            macs: self.macs,
        }
    }
}
