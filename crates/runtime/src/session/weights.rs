//! Parameters of the graph that change while its plan stays.
use super::Session;
use crate::RuntimeError;
use crate::plan::{Parameter, Plan};
use crate::step::{Kernel, Packing, Parameters};
use ir::ValueId;
use numerics::parallel_map;
use std::collections::BTreeMap;
use std::sync::PoisonError;

/// The parameters of the graph as they are now, and what is packed of them.
pub(super) struct CurrentWeights {
    /// How often they were changed.
    version: usize,
    parameters: Parameters,
    /// By step, the kernels that hold parameters of their own instead of the plan's.
    pub(super) repacked: Vec<Option<Kernel>>,
}

impl Session {
    /// Gives parameters of the graph other elements, in this session and its siblings: kernels that hold them are packed anew,
    /// on so many threads. What runs then has the same bits as a plan compiled with these elements.
    ///
    /// # Errors
    /// `NotAParameter` for a value that the graph does not mark as one, `ParameterLength` for too few or many; nothing has
    /// changed then.
    pub fn set_parameters(
        &mut self,
        elements: &BTreeMap<ValueId, &[f32]>,
        threads: usize,
    ) -> Result<(), RuntimeError> {
        let plan = &self.plan;
        elements.iter().try_for_each(|(&v, elements)| check_parameter(plan, v, elements.len()))?;
        let mut weights = self.weights.write().unwrap_or_else(PoisonError::into_inner);
        weights.set(plan, elements, threads)
    }

    /// Parameters that kernels read from the arena are written there when they have changed.
    pub(super) fn write_parameters(
        &mut self,
        weights: &CurrentWeights,
    ) -> Result<(), RuntimeError> {
        if self.version == weights.version {
            return Ok(());
        }
        for (value, Parameter { name, view, .. }) in &self.plan.parameters {
            if let Some(view) = view {
                let written = self.f32_arena.write(view, &weights.parameters[value]);
                written.map_err(RuntimeError::kernel(name))?;
            }
        }
        self.version = weights.version;
        Ok(())
    }
}

impl CurrentWeights {
    /// The parameters that a plan was compiled with.
    pub(super) fn of(plan: &Plan) -> Result<Self, RuntimeError> {
        let parameters = plan.parameters.iter().map(|(&v, parameter)| {
            let elements = parameter.tensor.as_slice::<f32>();
            Ok((v, elements.map_err(RuntimeError::operator(&parameter.name))?.to_vec()))
        });
        Ok(Self {
            version: 0,
            parameters: parameters.collect::<Result<_, RuntimeError>>()?,
            repacked: plan.steps.iter().map(|_| None).collect(),
        })
    }

    /// The same, with what the plan holds packed of them.
    pub(super) fn taken_from(plan: &mut Plan) -> Result<Self, RuntimeError> {
        let mut weights = Self::of(plan)?;
        for (step, own) in plan.steps.iter_mut().zip(&mut weights.repacked) {
            *own = step.packing.is_some().then(|| step.kernel.take());
        }
        Ok(weights)
    }

    fn set(
        &mut self,
        plan: &Plan,
        elements: &BTreeMap<ValueId, &[f32]>,
        threads: usize,
    ) -> Result<(), RuntimeError> {
        let changed = self.parameters.iter_mut();
        let changed = changed.filter_map(|(v, own)| Some((own, elements.get(v)?)));
        parallel_map(threads, changed.collect::<Vec<_>>(), |(own, new)| own.copy_from_slice(new));
        self.version += 1;
        let holds = |packing: &&dyn Packing| {
            let mut held = packing.parameters().into_iter();
            held.any(|v| elements.contains_key(&v))
        };
        let steps = plan.steps.iter().zip(&mut self.repacked);
        let stale = steps.filter_map(|(step, own)| {
            let packing = step.packing.as_deref().filter(holds)?;
            Some((step, own, packing))
        });
        let stale: Vec<_> = stale.collect();
        let parameters = &self.parameters;
        let repacked = parallel_map(threads, stale, |(step, own, packing)| {
            let kernel = own.get_or_insert_with(|| step.kernel.clone());
            kernel.repack(packing, parameters).map_err(|e| e.at(&step.name))
        });
        repacked.into_iter().collect()
    }
}

fn check_parameter(plan: &Plan, value: ValueId, found: usize) -> Result<(), RuntimeError> {
    let Some(parameter) = plan.parameters.get(&value) else {
        let value = format!("{value:?}");
        return Err(RuntimeError::NotAParameter { value });
    };
    let expected = parameter.tensor.len();
    if expected == found {
        return Ok(());
    }
    Err(RuntimeError::ParameterLength { parameter: parameter.name.clone(), expected, found })
}
