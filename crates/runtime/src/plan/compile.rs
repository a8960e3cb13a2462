//! Compilation: the graph is lowered, its values are given places, and buffers are laid out in the arenas.
use super::{At, Input, Observation, Output, Parameter, Plan, PlanOptions, Stored};
use crate::RuntimeError;
use crate::layout::{self, Halo};
use crate::lowering::{Lowered, destinations, lower};
use crate::memory::{self, Lifetime};
use crate::placement::{Destinations, Placement};
use crate::step::Step;
use crate::values::{Form, Operand};
use ir::{Graph, Op, Tensor, ValueId};
use kernels::{Isa, View};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

/// As [`Plan::compile`].
pub(super) fn compile(
    graph: &Graph,
    observe: &[ValueId],
    options: &PlanOptions,
) -> Result<Plan, RuntimeError> {
    let fake_quantized = with_fake_quantize(graph)?;
    let lowered = lower(&fake_quantized, observe, options.integer)?;
    let destinations = destinations(&lowered);
    let mut halos: BTreeMap<Operand, Halo> = BTreeMap::new();
    // Halos move views, so they are asked for before kernels are made; they never shrink, so this ends.
    loop {
        let asked = place(&lowered, options.isa, &destinations, &halos, false)?.demands;
        let mut wanted = halos.clone();
        for (v, demand) in asked {
            let halo = wanted.entry(v).or_default();
            *halo = layout::larger(*halo, demand);
        }
        if wanted == halos {
            break;
        }
        halos = wanted;
    }
    let placement = place(&lowered, options.isa, &destinations, &halos, true)?;
    let observed = observed(graph, observe, &placement)?;
    let arenas = Arenas::lay_out(&lowered, &placement, &observed);
    arenas.plan(&lowered, placement, &observed)
}

/// The graph with one operator for each quantizer and its dequantizer.
fn with_fake_quantize(graph: &Graph) -> Result<Cow<'_, Graph>, RuntimeError> {
    let is_quantizer = |op: &Op| matches!(op, Op::QuantizeLinear(_));
    if !graph.nodes().any(|(_, node)| is_quantizer(&node.op)) {
        return Ok(Cow::Borrowed(graph));
    }
    let mut graph = graph.clone();
    ir::fake_quantize(&mut graph)?;
    Ok(Cow::Owned(graph))
}

/// Gives all operands their places, with the halos that were asked for.
fn place<'a>(
    lowered: &'a Lowered<'_>,
    isa: Isa,
    destinations: &'a Destinations,
    halos: &'a BTreeMap<Operand, Halo>,
    makes_kernels: bool,
) -> Result<Placement<'a>, RuntimeError> {
    let mut placement = Placement::new(&lowered.values, isa, destinations, halos, makes_kernels);
    for &v in &lowered.inputs {
        placement.input(v)?;
    }
    for item in &lowered.items {
        item.place(&mut placement)?;
    }
    Ok(placement)
}

/// A value that is observed: where it lies, and how many steps have run when it is there.
struct Observed {
    value: ValueId,
    at: At,
    ready: usize,
}

/// The observed values in the order in which they are there.
fn observed(
    graph: &Graph,
    observe: &[ValueId],
    placement: &Placement<'_>,
) -> Result<Vec<Observed>, RuntimeError> {
    let mut observed = Vec::new();
    for &value in observe.iter().collect::<BTreeSet<_>>() {
        let operand = Operand::f32(value);
        let ready = placement.ready.get(&operand).copied();
        let (Some(at), Some(ready)) = (placement.at(operand), ready) else {
            return Err(RuntimeError::NotObservable { value: graph.value(value).name.clone() });
        };
        observed.push(Observed { value, at, ready });
    }
    observed.sort_by_key(|o| (o.ready, o.value));
    Ok(observed)
}

/// Where each buffer starts in its arena, and the elements of both arenas.
struct Arenas {
    starts: Vec<usize>,
    f32_len: usize,
    u8_len: usize,
}

impl Arenas {
    fn lay_out(lowered: &Lowered<'_>, placement: &Placement<'_>, observed: &[Observed]) -> Self {
        let lifetimes = lifetimes(lowered, placement, observed);
        let mut starts = vec![0; lifetimes.len()];
        let [f32_len, u8_len] = [Form::F32, Form::U8].map(|form| {
            let members = (0..starts.len()).filter(|&i| placement.buffers[i].form == form);
            let members: Vec<usize> = members.collect();
            let lives: Vec<Lifetime> = members.iter().map(|&i| lifetimes[i]).collect();
            let layout = memory::plan(&lives);
            for (i, start) in members.into_iter().zip(layout.starts) {
                starts[i] = start;
            }
            layout.len
        });
        Self { starts, f32_len, u8_len }
    }

    fn view(&self, at: At) -> View {
        View { offset: at.view.offset + self.starts[at.buffer], ..at.view }
    }

    fn plan(
        self,
        lowered: &Lowered<'_>,
        mut placement: Placement<'_>,
        observed: &[Observed],
    ) -> Result<Plan, RuntimeError> {
        let graph = lowered.values.graph;
        let steps = std::mem::take(&mut placement.steps);
        let steps: Vec<Step<View>> = steps.into_iter().map(|s| s.map(|at| self.view(at))).collect();
        let scratch = steps.iter().map(|s| s.kernel.scratch_bytes).max();
        let buffers = placement.buffers.iter();
        let stored = buffers
            .filter_map(|b| Some(Stored { view: self.view(b.root), data: b.constant.clone()? }));
        let observations = observed.iter().map(|o| Observation {
            value: o.value,
            view: self.view(o.at),
            ready: o.ready,
        });
        Ok(Plan {
            isa: placement.isa,
            inputs: self.inputs(lowered, &placement),
            outputs: self.outputs(lowered, &placement)?,
            observations: observations.collect(),
            stored: stored.collect(),
            parameters: self.parameters(graph, &placement),
            f32_len: self.f32_len,
            u8_len: self.u8_len,
            scratch: scratch.unwrap_or(0),
            largest: largest(graph),
            steps,
        })
    }

    fn inputs(&self, lowered: &Lowered<'_>, placement: &Placement<'_>) -> Vec<Input> {
        let graph = lowered.values.graph;
        let inputs = graph.inputs().iter().zip(&lowered.inputs);
        let input = |(&v, &held): (&ValueId, &Operand)| Input {
            name: graph.value(v).name.clone(),
            view: self.view(placement.at(held).expect("inputs are placed first")),
            quantization: placement.stored_params(held),
        };
        inputs.map(input).collect()
    }

    fn outputs(
        &self,
        lowered: &Lowered<'_>,
        placement: &Placement<'_>,
    ) -> Result<Vec<Output>, RuntimeError> {
        let values = &lowered.values;
        let output = |&v: &ValueId| match values.constant(v) {
            Some(tensor) => to_f32(tensor, &values.graph.value(v).name).map(Output::Constant),
            None => placement
                .at(Operand::f32(v))
                .map(|at| output_view(self.view(at)))
                .ok_or_else(|| values.other_type(v)),
        };
        values.graph.outputs().iter().map(output).collect()
    }

    fn parameters(&self, graph: &Graph, placement: &Placement<'_>) -> BTreeMap<ValueId, Parameter> {
        let parameter = |(v, value): (ValueId, &ir::Value)| {
            let parameter = Parameter {
                name: value.name.clone(),
                tensor: value.parameter.clone()?,
                view: placement.parameters.get(&v).map(|&at| self.view(at)),
            };
            Some((v, parameter))
        };
        graph.values().filter_map(parameter).collect()
    }
}

/// Name and type of the largest value.
fn largest(graph: &Graph) -> String {
    let sized = |(_, v): (ValueId, &ir::Value)| {
        let ty = v.ty.as_ref()?;
        Some((ty.elements(), format!("`{}` {ty}", v.name)))
    };
    let largest = graph.values().filter_map(sized).max();
    largest.map_or_else(|| "none".to_owned(), |(_, text)| text)
}

/// A constant as f32.
fn to_f32(tensor: &Tensor, name: &str) -> Result<Tensor, RuntimeError> {
    let values = tensor.to_f64();
    let values = values.and_then(|v| Tensor::from_f64(ir::DataType::F32, tensor.shape(), &v));
    values.map_err(RuntimeError::operator(name))
}

fn output_view(view: View) -> Output {
    let flat = layout::reshape(&view, &[view.elements()]).filter(|v| v.strides[0] == 1);
    Output::View { shape: view.shape, elements: flat.unwrap_or(view) }
}

/// When each buffer is in use: 0 is before the first step, `i + 1` is step `i`.
fn lifetimes(
    lowered: &Lowered<'_>,
    placement: &Placement<'_>,
    observed: &[Observed],
) -> Vec<Lifetime> {
    let end = placement.steps.len() + 1;
    let unused = placement.buffers.iter().map(|b| {
        let is_stored = b.constant.is_some();
        Lifetime {
            elements: b.elements,
            first: if is_stored { 0 } else { end },
            last: if is_stored { end } else { 0 },
        }
    });
    let mut lives: Vec<Lifetime> = unused.collect();
    let mut touch = |buffer: usize, time: usize| {
        let life = &mut lives[buffer];
        life.first = life.first.min(time);
        life.last = life.last.max(time);
    };
    for &v in &lowered.inputs {
        let at = placement.at(v).expect("inputs are placed first");
        touch(at.buffer, 0);
    }
    for (i, step) in placement.steps.iter().enumerate() {
        for at in step.at.inputs.iter().chain(&step.at.outputs) {
            touch(at.buffer, i + 1);
        }
    }
    for o in observed {
        touch(o.at.buffer, o.ready);
    }
    let outputs = lowered.values.graph.outputs().iter();
    for at in outputs.filter_map(|&v| placement.at(Operand::f32(v))) {
        touch(at.buffer, end);
    }
    lives
}
