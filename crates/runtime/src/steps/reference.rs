//! An operator's own reference computation, where nothing faster computes it.
use super::{FastStep, Int8, Item};
use crate::RuntimeError;
use crate::placement::Placement;
use crate::step::{Kernel, Operands, StepError};
use crate::values::Operand;
use ir::{Op, Tensor};
use kernels::{Context, View};

/// Bytes that a reference computation takes for each element: several times, as f64.
pub(super) const BYTES_PER_ELEMENT: usize = 3 * size_of::<f64>();

/// As the operator says.
#[derive(Clone, Debug)]
pub(crate) struct Reference(pub(crate) Op);

impl FastStep for Reference {
    fn int8(&self) -> Int8 {
        Int8::None
    }

    fn place(&self, item: &Item, placement: &mut Placement<'_>) -> Result<(), RuntimeError> {
        place_reference(&self.0, item, placement)
    }
}

/// Emits an operator's reference computation.
///
/// # Errors
/// As [`FastStep::place`].
pub(super) fn place_reference(
    op: &Op,
    item: &Item,
    placement: &mut Placement<'_>,
) -> Result<(), RuntimeError> {
    let values = placement.values;
    let constant = |v: &Operand| values.constant(v.value).cloned();
    let constants: Vec<Option<Tensor>> = item.inputs.iter().map(constant).collect();
    let computed = item.inputs.iter().zip(&constants);
    let computed: Vec<Operand> = computed.filter(|(_, c)| c.is_none()).map(|(&v, _)| v).collect();
    let inputs = placement.read_all(&computed)?;
    let places = item.outputs.iter().map(|&v| placement.place(v));
    let outputs = places.collect::<Result<Vec<_>, _>>()?;
    let sizes = inputs.iter().chain(&outputs).map(|at| at.view.elements());
    let elements = sizes.fold(0, usize::saturating_add);
    let op = op.clone();
    let kind = format!("Reference {}", op.op_type());
    let kernel = Kernel::f32(kind, move |ctx, at| run(ctx, at, &op, &constants))
        .with_scratch(elements.saturating_mul(BYTES_PER_ELEMENT));
    placement.emit(inputs, outputs, || Ok(kernel.into()))
}

/// Computes with tensors; `constants` stand at their input positions.
fn run(
    ctx: &mut Context<'_>,
    at: &Operands<View>,
    op: &Op,
    constants: &[Option<Tensor>],
) -> Result<(), StepError> {
    let mut views = at.inputs.iter();
    let mut tensors = Vec::with_capacity(constants.len());
    for constant in constants {
        tensors.push(match constant {
            Some(tensor) => tensor.clone(),
            None => {
                let view = views.next().expect("one view for each computed input");
                Tensor::new(view.shape.to_vec(), ctx.f32_arena.read(view)?)?
            }
        });
    }
    let inputs: Vec<&Tensor> = tensors.iter().collect();
    let outputs = op.forward(&inputs)?;
    for (view, tensor) in at.outputs.iter().zip(&outputs) {
        ctx.f32_arena.write(view, tensor.as_slice::<f32>()?)?;
    }
    Ok(())
}
