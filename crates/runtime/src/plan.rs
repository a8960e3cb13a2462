//! Compilation of a graph into an executable schedule.
use crate::RuntimeError;
use crate::layout::{self, At, Halo};
use crate::lowering::{Form, Lowered, Operand, lower};
use crate::memory::{self, Lifetime};
use crate::schedule::{Packed, Schedule, parents};
use crate::step::Step;
use ir::{DataType, Graph, Tensor, ValueId};
use kernels::{Dims, Isa, TileChoice, U8Params, View};
use std::collections::{BTreeMap, BTreeSet};

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
        Self {
            isa: Isa::best(),
            integer: true,
        }
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

pub(crate) struct Input {
    pub(crate) name: String,
    pub(crate) view: View,
    /// What its quantized values stand for, where it is held as u8.
    pub(crate) quantization: Option<U8Params>,
}

pub(crate) enum Output {
    View {
        shape: Dims,
        /// Its elements in order, as one axis where they lie in memory like that.
        elements: View,
    },
    Constant(Tensor),
}

pub(crate) struct Watched {
    pub(crate) value: ValueId,
    pub(crate) view: View,
    /// Steps that have run when the value is there.
    pub(crate) ready: usize,
}

/// An executable schedule: steps, packed weights and the arena's layout. Sessions share it.
pub struct Plan {
    pub(crate) isa: Isa,
    pub(crate) steps: Vec<Step<View>>,
    pub(crate) inputs: Vec<Input>,
    pub(crate) outputs: Vec<Output>,
    pub(crate) watched: Vec<Watched>,
    pub(crate) constants: Vec<(View, Vec<f32>)>,
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
        let keep: BTreeSet<ValueId> = graph.outputs().iter().chain(observe).copied().collect();
        let lowered = lower(graph, &keep, options.integer)?;
        let parents = parents(&lowered);
        let mut halos: BTreeMap<Operand, Halo> = BTreeMap::new();
        let mut packed = Packed::default();
        // Halos move views, so the first pass only asks for them; they never shrink, so this ends.
        loop {
            let schedule = Schedule::build(&lowered, options.isa, &parents, &halos, &mut packed)?;
            let mut wanted = halos.clone();
            for (&v, demand) in &schedule.demands {
                let halo = wanted.entry(v).or_default();
                for (have, &need) in halo.iter_mut().zip(demand) {
                    *have = (*have).max(need);
                }
            }
            if wanted == halos {
                return Plan::finish(&lowered, observe, schedule, options.isa);
            }
            drop(schedule);
            halos = wanted;
        }
    }

    fn finish(
        lowered: &Lowered<'_>,
        observe: &[ValueId],
        schedule: Schedule<'_>,
        isa: Isa,
    ) -> Result<Plan, RuntimeError> {
        let graph = lowered.graph;
        let mut watched = Vec::new();
        for &v in observe.iter().collect::<BTreeSet<_>>() {
            let real = Operand::f32(v);
            let ready = schedule.ready.get(&real).copied();
            let (Some(at), Some(ready)) = (schedule.at(real), ready) else {
                return Err(RuntimeError::NotObservable {
                    value: graph.value(v).name.clone(),
                });
            };
            watched.push((v, at, ready));
        }
        watched.sort_by_key(|&(v, _, ready)| (ready, v));
        let lifetimes = lifetimes(lowered, &schedule, &watched);
        let (offsets, [f32_len, u8_len]) = offsets(&schedule, &lifetimes);
        let resolve = |at: At| View {
            offset: at.view.offset + offsets[at.buffer],
            ..at.view
        };
        let input = |(&v, &held): (&ValueId, &Operand)| Input {
            name: graph.value(v).name.clone(),
            view: resolve(schedule.at(held).expect("inputs are placed first")),
            quantization: (held.form == Form::U8).then(|| lowered.params[&held.value]),
        };
        let output = |&v: &ValueId| match lowered.constant(v) {
            Some(tensor) => as_reals(tensor, &graph.value(v).name).map(Output::Constant),
            None => schedule
                .at(Operand::f32(v))
                .map(|at| output_view(resolve(at)))
                .ok_or_else(|| RuntimeError::DType {
                    value: graph.value(v).name.clone(),
                    found: graph.ty(v).map_or(DataType::Other(0), |t| t.dtype),
                }),
        };
        let constant = |b: &crate::schedule::Buffer| {
            let data = b.constant.clone()?;
            Some((resolve(b.root), data))
        };
        let watch = |&(value, at, ready): &(ValueId, At, usize)| Watched {
            value,
            view: resolve(at),
            ready,
        };
        let steps: Vec<Step<View>> = schedule
            .steps
            .iter()
            .cloned()
            .map(|s| s.map(resolve))
            .collect();
        Ok(Plan {
            isa,
            inputs: graph
                .inputs()
                .iter()
                .zip(&lowered.inputs)
                .map(input)
                .collect(),
            outputs: graph
                .outputs()
                .iter()
                .map(output)
                .collect::<Result<_, _>>()?,
            watched: watched.iter().map(watch).collect(),
            constants: schedule.buffers.iter().filter_map(constant).collect(),
            f32_len,
            u8_len,
            scratch: steps.iter().map(Step::scratch_bytes).max().unwrap_or(0),
            largest: largest(graph),
            steps,
        })
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

    pub(crate) fn short_of_memory(&self, available: usize) -> RuntimeError {
        RuntimeError::Memory {
            needed: self.needed_bytes(),
            available,
            largest: self.largest.clone(),
        }
    }

    /// The steps in order, for listings.
    pub fn steps(&self) -> Vec<StepInfo> {
        let info = |s: &Step<View>| StepInfo {
            name: s.name.clone(),
            kind: s.kind(),
            macs: s.macs,
            is_integer: s.is_integer(),
            tile: s.tile(),
        };
        self.steps.iter().map(info).collect()
    }

    /// The instruction set it was compiled for.
    pub fn isa(&self) -> Isa {
        self.isa
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
fn as_reals(tensor: &Tensor, name: &str) -> Result<Tensor, RuntimeError> {
    let values = tensor.to_f64();
    let values = values.and_then(|v| Tensor::from_f64(DataType::F32, tensor.shape(), &v));
    values.map_err(RuntimeError::operator(name))
}

fn output_view(view: View) -> Output {
    let flat = layout::reshape(&view, &[view.elements()]).filter(|v| v.strides[0] == 1);
    Output::View {
        shape: view.shape,
        elements: flat.unwrap_or(view),
    }
}

/// Where each buffer starts in its arena, and the elements of both arenas.
fn offsets(schedule: &Schedule<'_>, lifetimes: &[Lifetime]) -> (Vec<usize>, [usize; 2]) {
    let mut offsets = vec![0; lifetimes.len()];
    let totals = [Form::F32, Form::U8].map(|form| {
        let buffers = schedule.buffers.iter().enumerate();
        let members: Vec<usize> = buffers
            .filter(|(_, b)| b.form == form)
            .map(|(i, _)| i)
            .collect();
        let lives: Vec<Lifetime> = members.iter().map(|&i| lifetimes[i]).collect();
        let (starts, total) = memory::plan(&lives);
        for (i, start) in members.into_iter().zip(starts) {
            offsets[i] = start;
        }
        total
    });
    (offsets, totals)
}

/// When each buffer is in use: 0 is before the first step, `i + 1` is step `i`.
fn lifetimes(
    lowered: &Lowered<'_>,
    schedule: &Schedule<'_>,
    watched: &[(ValueId, At, usize)],
) -> Vec<Lifetime> {
    let end = schedule.steps.len() + 1;
    let mut lives: Vec<Lifetime> = schedule
        .buffers
        .iter()
        .map(|b| Lifetime {
            elements: b.elements,
            first: if b.constant.is_some() { 0 } else { end },
            last: if b.constant.is_some() { end } else { 0 },
        })
        .collect();
    let mut touch = |buffer: usize, time: usize| {
        let life = &mut lives[buffer];
        life.first = life.first.min(time);
        life.last = life.last.max(time);
    };
    for &v in &lowered.inputs {
        touch(schedule.at(v).expect("inputs are placed first").buffer, 0);
    }
    for (i, step) in schedule.steps.iter().enumerate() {
        for at in step.inputs.iter().chain(&step.outputs) {
            touch(at.buffer, i + 1);
        }
    }
    for &(_, at, ready) in watched {
        touch(at.buffer, ready);
    }
    let outputs = lowered.graph.outputs().iter();
    for at in outputs.filter_map(|&v| schedule.at(Operand::f32(v))) {
        touch(at.buffer, end);
    }
    lives
}
