//! Several nodes that compute with values of other types than f32: a subgraph that the interpreter runs.
use super::reference::BYTES_PER_ELEMENT;
use super::{FastStep, Int8, Item};
use crate::RuntimeError;
use crate::placement::Placement;
use crate::step::{Kernel, KernelInfo, Operands, StepError};
use crate::values::{Operand, Values};
use ir::{Graph, Node, NodeId, Tensor, interpreter};
use kernels::{Context, View};
use std::sync::Arc;

/// A subgraph whose inputs and outputs are f32.
#[derive(Clone, Debug)]
pub(crate) struct Fallback {
    pub(crate) graph: Arc<Graph>,
    /// The nodes that it was made of.
    pub(crate) nodes: Vec<NodeId>,
}

impl FastStep for Fallback {
    fn lower(_node: &Node, _operands: &mut Vec<Operand>, _values: &Values<'_>) -> Option<Self> {
        None
    }

    fn int8(&self) -> Int8 {
        Int8::None
    }

    fn place(&self, item: &Item, placement: &mut Placement<'_>) -> Result<(), RuntimeError> {
        let inputs = placement.read_all(&item.inputs)?;
        let places = item.outputs.iter().map(|&v| placement.place(v));
        let outputs = places.collect::<Result<_, _>>()?;
        let graph = Arc::clone(&self.graph);
        placement.emit(inputs, outputs, || Ok(FallbackKernel(graph).into()))
    }
}

struct FallbackKernel(Arc<Graph>);

impl Kernel for FallbackKernel {
    fn info(&self) -> KernelInfo {
        let types = self.0.values().filter_map(|(_, v)| v.ty.as_ref());
        let elements = types.fold(0usize, |n, t| n.saturating_add(t.elements()));
        KernelInfo {
            scratch_bytes: elements.saturating_mul(BYTES_PER_ELEMENT),
            ..KernelInfo::f32(format!("Reference of {} nodes", self.0.node_count()))
        }
    }

    fn run(&self, ctx: &mut Context<'_>, at: &Operands<View>) -> Result<(), StepError> {
        let read = |view: &View| -> Result<Tensor, StepError> {
            Ok(Tensor::new(view.shape.to_vec(), ctx.f32_arena.read(view)?)?)
        };
        let inputs: Vec<Tensor> = at.inputs.iter().map(read).collect::<Result<_, _>>()?;
        let outputs = interpreter::run(&self.0, &inputs)?;
        for (view, tensor) in at.outputs.iter().zip(&outputs) {
            ctx.f32_arena.write(view, tensor.as_slice::<f32>()?)?;
        }
        Ok(())
    }
}
