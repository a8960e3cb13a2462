//! Plans: graphs compiled into executable schedules.
use crate::RuntimeError;
use crate::layout::At;
use crate::step::Step;
use ir::{Graph, Tensor, ValueId};
use kernels::{Dims, Isa, TileChoice, U8Params, View};
use std::collections::BTreeMap;

mod compile;

/// How to compile.
#[derive(Clone, Copy, Debug)]
pub struct PlanOptions {
    /// The instruction set of the kernels.
    pub isa: Isa,
    /// Whether a quantized graph runs on integers; otherwise its quantization is imitated in f32, as a reference.
    pub integer: bool,
}

impl Default for PlanOptions {
    fn default() -> Self {
        Self { isa: Isa::best(), integer: true }
    }
}

/// One step, for listings.
#[derive(Clone, Debug, PartialEq)]
pub struct StepInfo {
    /// Name of the node.
    pub name: String,
    /// What runs, with what is fused into it; `Reference` for operators without a kernel.
    pub kind: String,
    /// Multiply-accumulate operations.
    pub macs: u64,
    /// Whether it computes on integers.
    pub is_integer: bool,
    /// How a convolution uses the registers.
    pub tile: Option<TileChoice>,
}

impl StepInfo {
    /// A step that computes nothing.
    pub(crate) fn named(name: &str, kind: &str) -> Self {
        Self {
            name: name.to_owned(),
            kind: kind.to_owned(),
            macs: 0,
            is_integer: false,
            tile: None,
        }
    }
}

/// An input of the model.
pub(crate) struct Input {
    pub(crate) name: String,
    pub(crate) view: View,
    /// What its quantized values stand for, where it is held as such.
    pub(crate) quantization: Option<U8Params>,
}

/// An output of the model.
pub(crate) enum Output {
    View {
        shape: Dims,
        /// Its elements in order, as one axis where they lie in memory like that.
        elements: View,
    },
    Constant(Tensor),
}

/// A value that is observed.
pub(crate) struct Observation {
    pub(crate) value: ValueId,
    pub(crate) view: View,
    /// Steps that have run when the value is there.
    pub(crate) ready: usize,
}

/// Elements that a session's arena holds from its start.
pub(crate) struct Stored {
    pub(crate) view: View,
    pub(crate) data: Vec<f32>,
}

/// A parameter of the graph.
pub(crate) struct Parameter {
    pub(crate) name: String,
    /// Its elements at first.
    pub(crate) tensor: Tensor,
    /// Where it lies in the arena, if a kernel reads it there.
    pub(crate) view: Option<View>,
}

/// An executable schedule: steps, packed weights and the arena's layout. Sessions share it.
pub struct Plan {
    pub(crate) isa: Isa,
    pub(crate) steps: Vec<Step<View>>,
    pub(crate) inputs: Vec<Input>,
    pub(crate) outputs: Vec<Output>,
    pub(crate) observations: Vec<Observation>,
    pub(crate) stored: Vec<Stored>,
    pub(crate) parameters: BTreeMap<ValueId, Parameter>,
    pub(crate) f32_len: usize,
    pub(crate) u8_len: usize,
    /// Bytes that the most demanding step takes beside the arena.
    scratch: usize,
    /// The largest value, for messages.
    largest: String,
}

impl Plan {
    /// Compiles a graph; the values in `observe` will exist when it runs, so nothing is fused across them.
    ///
    /// # Errors
    /// `Opaque`, `DType` for what cannot be executed, `NotObservable` for a constant or an
    /// integer in `observe`, `Kernel` or `Operator` where a kernel or an operator refuses the node.
    pub fn compile(
        graph: &Graph,
        observe: &[ValueId],
        options: &PlanOptions,
    ) -> Result<Plan, RuntimeError> {
        compile::compile(graph, observe, options)
    }

    /// Memory of one session's arena.
    pub fn arena_bytes(&self) -> usize {
        let bytes = self.f32_len.saturating_mul(size_of::<f32>());
        bytes.saturating_add(self.u8_len)
    }

    /// Memory that one session needs.
    pub(crate) fn needed_bytes(&self) -> usize {
        self.arena_bytes().saturating_add(self.scratch)
    }

    /// The error that a session needs more memory than there is.
    pub(crate) fn short_of_memory(&self, available: usize) -> RuntimeError {
        RuntimeError::Memory {
            needed: self.needed_bytes(),
            available,
            largest: self.largest.clone(),
        }
    }

    /// The steps in order, for listings.
    pub fn steps(&self) -> Vec<StepInfo> {
        let info = |step: &Step<View>| StepInfo {
            name: step.name.clone(),
            kind: step.kernel.kind.clone(),
            macs: step.macs,
            is_integer: step.kernel.is_integer,
            tile: step.kernel.tile.clone(),
        };
        self.steps.iter().map(info).collect()
    }

    /// The instruction set it was compiled for.
    pub fn isa(&self) -> Isa {
        self.isa
    }
}
