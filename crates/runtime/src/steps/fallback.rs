//! Several nodes that compute with values of other types than f32: a subgraph that the interpreter runs.
use super::reference::BYTES_PER_ELEMENT;
use super::{FastStep, Int8, Item};
use crate::RuntimeError;
use crate::placement::Placement;
use crate::step::{Kernel, Operands, StepError};
use ir::{Graph, NodeId, Tensor, interpreter};
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
    fn int8(&self) -> Int8 {
        Int8::None
    }

    fn place(&self, item: &Item, placement: &mut Placement<'_>) -> Result<(), RuntimeError> {
        let inputs = placement.read_all(&item.inputs)?;
        let places = item.outputs.iter().map(|&v| placement.place(v));
        let outputs = places.collect::<Result<_, _>>()?;
        let graph = Arc::clone(&self.graph);
        let types = graph.values().filter_map(|(_, v)| v.ty.as_ref());
        let elements = types.fold(0usize, |n, t| n.saturating_add(t.elements()));
        let kind = format!("Reference of {} nodes", graph.node_count());
        let kernel = Kernel::f32(kind, move |ctx, at| run(ctx, at, &graph))
            .with_scratch(elements.saturating_mul(BYTES_PER_ELEMENT));
        placement.emit(inputs, outputs, || Ok(kernel.into()))
    }
}

fn run(ctx: &mut Context<'_>, at: &Operands<View>, graph: &Graph) -> Result<(), StepError> {
    let read = |view: &View| -> Result<Tensor, StepError> {
        Ok(Tensor::new(view.shape.to_vec(), ctx.f32_arena.read(view)?)?)
    };
    let inputs: Vec<Tensor> = at.inputs.iter().map(read).collect::<Result<_, _>>()?;
    let outputs = interpreter::run(graph, &inputs)?;
    for (view, tensor) in at.outputs.iter().zip(&outputs) {
        ctx.f32_arena.write(view, tensor.as_slice::<f32>()?)?;
    }
    Ok(())
}
