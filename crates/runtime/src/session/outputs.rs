//! What a run gives: copies, or where the session holds it.
use super::{Session, read};
use crate::RuntimeError;
use crate::plan::{Output, Plan};
use ir::Tensor;

/// The outputs of a run, where the session holds them.
pub struct Outputs<'a> {
    session: &'a Session,
}

impl<'a> Outputs<'a> {
    /// The elements of each output in row-major order, in the order of the graph's outputs.
    ///
    /// # Errors
    /// `Kernel` or `Operator` when an output cannot be read.
    pub fn iter(&self) -> impl Iterator<Item = Result<&'a [f32], RuntimeError>> + use<'a> {
        let session = self.session;
        session.plan.outputs.iter().zip(&session.ordered).map(|(output, ordered)| match output {
            Output::View { elements, .. } => {
                let in_order = session.f32_arena.in_order(elements);
                in_order
                    .map(|elements| elements.unwrap_or(ordered))
                    .map_err(RuntimeError::kernel("an output"))
            }
            Output::Constant(tensor) => {
                tensor.as_slice::<f32>().map_err(RuntimeError::operator("an output"))
            }
        })
    }
}

impl Session {
    pub(super) fn outputs(&self) -> Result<Vec<Tensor>, RuntimeError> {
        let output = |o: &Output| match o {
            Output::View { shape, elements } => read(&self.f32_arena, elements, shape),
            Output::Constant(tensor) => Ok(tensor.clone()),
        };
        self.plan.outputs.iter().map(output).collect()
    }

    /// Copies those outputs whose elements do not lie in order.
    pub(super) fn order_outputs(&mut self) -> Result<Outputs<'_>, RuntimeError> {
        for (output, ordered) in self.plan.outputs.iter().zip(&mut self.ordered) {
            let Output::View { elements, .. } = output else {
                continue;
            };
            let arena = &self.f32_arena;
            let in_order = arena.in_order(elements).map_err(RuntimeError::kernel("an output"))?;
            if in_order.is_none() {
                ordered.resize(elements.elements(), 0.0);
                let read = arena.read_into(elements, ordered);
                read.map_err(RuntimeError::kernel("an output"))?;
            }
        }
        Ok(Outputs { session: self })
    }

    pub(super) fn read_output(
        &self,
        index: usize,
        output: &Output,
        to: &mut [f32],
    ) -> Result<(), RuntimeError> {
        let expected = match output {
            Output::View { elements, .. } => elements.elements(),
            Output::Constant(tensor) => tensor.len(),
        };
        if to.len() != expected {
            return Err(RuntimeError::OutputLength { index, expected, found: to.len() });
        }
        match output {
            Output::View { elements, .. } => {
                let read = self.f32_arena.read_into(elements, to);
                read.map_err(RuntimeError::kernel("an output"))
            }
            Output::Constant(tensor) => {
                let data = tensor.as_slice::<f32>();
                to.copy_from_slice(data.map_err(RuntimeError::operator("an output"))?);
                Ok(())
            }
        }
    }
}

pub(super) fn check_output_count(plan: &Plan, found: usize) -> Result<(), RuntimeError> {
    let expected = plan.outputs.len();
    if found == expected {
        return Ok(());
    }
    Err(RuntimeError::OutputCount { expected, found })
}
