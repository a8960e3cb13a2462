//! Sessions: one arena each, running a shared plan.
use crate::conversion::quantize;
use crate::plan::{Input, Observation, Output, Parameter};
use crate::step::{Kernel, Packing, Parameters, Step};
use crate::{Plan, RuntimeError, StepInfo};
use ir::{Tensor, ValueId};
use kernels::{Arena, Context, ThreadPool, View};
use numerics::parallel_map;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

/// A value that has just been computed, still in the session's memory.
pub struct Observed<'a> {
    arena: &'a Arena,
    view: &'a View,
}

impl Observed<'_> {
    /// Shape in logical order, `[N, C, H, W]` for images.
    pub fn shape(&self) -> &[usize] {
        &self.view.shape
    }

    /// Visits the elements in runs that lie side by side (the channels of one pixel of an image), each with the
    /// coordinates of its first element.
    ///
    /// # Errors
    /// `Kernel` when the value does not lie in the arena.
    pub fn for_each_run(&self, f: &mut dyn FnMut(&[usize], &[f32])) -> Result<(), RuntimeError> {
        self.arena.for_each_run(self.view, f).map_err(RuntimeError::kernel("an observed value"))
    }

    /// A copy in row-major order.
    ///
    /// # Errors
    /// `Kernel` when the value does not lie in the arena.
    pub fn to_tensor(&self) -> Result<Tensor, RuntimeError> {
        read(self.arena, self.view, &self.view.shape)
    }
}

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

/// Called with every observed value.
type Sink<'a> = &'a mut dyn FnMut(ValueId, &Observed<'_>) -> Result<(), RuntimeError>;

/// From the observed values to the elements of the inputs that are still missing.
type Supply<'a> = &'a mut dyn FnMut(&BTreeMap<ValueId, Tensor>) -> Vec<Vec<f32>>;

/// A plan with memory and threads to run it on.
pub struct Session {
    plan: Arc<Plan>,
    pool: Arc<ThreadPool>,
    f32_arena: Arena,
    u8_arena: Arena<u8>,
    /// Pixels on their way into an input that is held as f32.
    pixels: Vec<f32>,
    /// By output, its elements in row-major order where they do not lie so in the arena.
    ordered: Vec<Vec<f32>>,
    weights: Arc<RwLock<CurrentWeights>>,
    /// Which of their versions the arena holds.
    version: usize,
}

/// The parameters of the graph as they are now, and what is packed of them.
struct CurrentWeights {
    /// How often they were changed.
    version: usize,
    parameters: Parameters,
    /// By step, the kernels that hold other parameters than the plan's.
    repacked: Vec<Option<Kernel>>,
}

impl Session {
    /// A session with `threads` threads of its own, the caller's included.
    ///
    /// # Errors
    /// `Memory` when there is not enough memory.
    pub fn new(plan: &Arc<Plan>, threads: usize) -> Result<Session, RuntimeError> {
        Session::with_pool(plan, Arc::new(ThreadPool::new(threads)))
    }

    /// A session on threads that others use too.
    ///
    /// # Errors
    /// `Memory` when there is not enough memory.
    pub fn with_pool(plan: &Arc<Plan>, pool: Arc<ThreadPool>) -> Result<Session, RuntimeError> {
        let parameters = plan.parameters.iter().map(|(&v, parameter)| {
            let elements = parameter.tensor.as_slice::<f32>();
            Ok((v, elements.map_err(RuntimeError::operator(&parameter.name))?.to_vec()))
        });
        let weights = CurrentWeights {
            version: 0,
            parameters: parameters.collect::<Result<_, RuntimeError>>()?,
            repacked: plan.steps.iter().map(|_| None).collect(),
        };
        Session::with_weights(plan, pool, Arc::new(RwLock::new(weights)))
    }

    /// A session with memory and threads of its own, whose parameters are always those of this one.
    ///
    /// # Errors
    /// As [`Session::new`].
    pub fn sibling(&self, threads: usize) -> Result<Session, RuntimeError> {
        let pool = Arc::new(ThreadPool::new(threads));
        Session::with_weights(&self.plan, pool, Arc::clone(&self.weights))
    }

    fn with_weights(
        plan: &Arc<Plan>,
        pool: Arc<ThreadPool>,
        weights: Arc<RwLock<CurrentWeights>>,
    ) -> Result<Session, RuntimeError> {
        let failed = "the arena";
        let available = kernels::available_bytes().unwrap_or(usize::MAX);
        let short = |_| plan.short_of_memory(available);
        if plan.needed_bytes() > available {
            return Err(plan.short_of_memory(available));
        }
        let mut f32_arena = Arena::new(plan.f32_len).map_err(short)?;
        let u8_arena = Arena::new(plan.u8_len).map_err(short)?;
        for stored in &plan.stored {
            let written = f32_arena.write(&stored.view, &stored.data);
            written.map_err(RuntimeError::kernel(failed))?;
        }
        Ok(Session {
            plan: Arc::clone(plan),
            pool,
            f32_arena,
            u8_arena,
            pixels: Vec::new(),
            ordered: vec![Vec::new(); plan.outputs.len()],
            weights,
            version: 0,
        })
    }

    /// The threads that it computes on.
    pub fn threads(&self) -> usize {
        self.pool.threads()
    }

    /// The plan it runs.
    pub fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

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
    fn write_parameters(&mut self, weights: &CurrentWeights) -> Result<(), RuntimeError> {
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

    /// Runs the plan on inputs in row-major order (`[N, C, H, W]` for images) and gives the outputs in order.
    ///
    /// # Errors
    /// `InputCount`, `InputLength` when the inputs do not fit, `Kernel` or `Operator` when a step complains.
    pub fn run(&mut self, inputs: &[&[f32]]) -> Result<Vec<Tensor>, RuntimeError> {
        self.run_observed(inputs, &mut |_, _| Ok(()))
    }

    /// As [`Session::run`], without a copy of what the session holds: once warm, it allocates nothing.
    ///
    /// # Errors
    /// As [`Session::run`].
    pub fn infer(&mut self, inputs: &[&[f32]]) -> Result<Outputs<'_>, RuntimeError> {
        self.write_inputs(inputs)?;
        self.steps(&mut |_, _| Ok(()))?;
        self.order_outputs()
    }

    /// As [`Session::infer`], on inputs of pixels: row-major `[N, H, W, C]` bytes, each standing for `scale` times itself.
    ///
    /// # Errors
    /// As [`Session::run`].
    pub fn infer_u8(&mut self, inputs: &[&[u8]], scale: f32) -> Result<Outputs<'_>, RuntimeError> {
        self.write_pixels(inputs, scale)?;
        self.steps(&mut |_, _| Ok(()))?;
        self.order_outputs()
    }

    /// As [`Session::run`]; `sink` sees every observed value once, when it has been computed.
    ///
    /// # Errors
    /// As [`Session::run`], and what `sink` returns.
    pub fn run_observed(
        &mut self,
        inputs: &[&[f32]],
        sink: Sink<'_>,
    ) -> Result<Vec<Tensor>, RuntimeError> {
        self.write_inputs(inputs)?;
        self.steps(sink)?;
        self.outputs()
    }

    /// As [`Session::run`], into memory of the caller's, of a plan whose last inputs depend on what it computes before it reads them: when all observed
    /// values are there, `supply` is given them and gives the elements of the inputs that are missing.
    ///
    /// # Errors
    /// As [`Session::run`]; `OutputCount`, `OutputLength` when the outputs do not fit.
    pub fn run_supplied(
        &mut self,
        inputs: &[&[f32]],
        supply: Supply<'_>,
        outputs: &mut [&mut [f32]],
    ) -> Result<(), RuntimeError> {
        let plan = Arc::clone(&self.plan);
        let pool = Arc::clone(&self.pool);
        let _awake = pool.activate();
        for (input, data) in plan.inputs.iter().zip(inputs) {
            self.write_input(input, data)?;
        }
        let halfway = plan.observations.iter().map(|o| o.ready).max().unwrap_or(0);
        let mut nothing = |_: &Arena, _| Ok(());
        self.run_steps(0..halfway, &mut nothing)?;
        let mut observed = BTreeMap::new();
        for Observation { value, view, .. } in &plan.observations {
            let tensor = read(&self.f32_arena, view, &view.shape)?;
            observed.insert(*value, tensor);
        }
        let supplied = supply(&observed);
        check_count(&plan, inputs.len() + supplied.len())?;
        for (input, data) in plan.inputs[inputs.len()..].iter().zip(&supplied) {
            self.write_input(input, data)?;
        }
        self.run_steps(halfway..plan.steps.len(), &mut nothing)?;
        check_output_count(&plan, outputs.len())?;
        let outputs = plan.outputs.iter().zip(outputs).enumerate();
        let read = parallel_map(pool.threads(), outputs, |(index, (output, to))| {
            self.read_output(index, output, to)
        });
        read.into_iter().collect()
    }

    /// Runs the plan once and tells what each step took, in milliseconds; the inputs count as the first entry.
    ///
    /// # Errors
    /// As [`Session::run`].
    pub fn profile(&mut self, inputs: &[&[f32]]) -> Result<Vec<(StepInfo, f64)>, RuntimeError> {
        let plan = Arc::clone(&self.plan);
        let pool = Arc::clone(&self.pool);
        let _awake = pool.activate();
        let ms = |start: Instant| start.elapsed().as_secs_f64() * 1e3;
        let start = Instant::now();
        self.write_inputs(inputs)?;
        let mut times = vec![(StepInfo::named("inputs", "Input"), ms(start))];
        let mut info = plan.steps().into_iter();
        let mut start = Instant::now();
        self.run_steps(0..plan.steps.len(), &mut |_, _| {
            times.extend(info.next().map(|info| (info, ms(start))));
            start = Instant::now();
            Ok(())
        })?;
        Ok(times)
    }

    fn context(&mut self) -> Context<'_> {
        Context {
            f32_arena: &mut self.f32_arena,
            u8_arena: &mut self.u8_arena,
            pool: &self.pool,
            isa: self.plan.isa,
        }
    }

    /// Runs some steps, and shows the session after each, with the number of steps that have run.
    fn run_steps(
        &mut self,
        steps: Range<usize>,
        show: &mut dyn FnMut(&Arena, usize) -> Result<(), RuntimeError>,
    ) -> Result<(), RuntimeError> {
        let plan = Arc::clone(&self.plan);
        let weights = Arc::clone(&self.weights);
        let weights = weights.read().unwrap_or_else(PoisonError::into_inner);
        self.write_parameters(&weights)?;
        for i in steps {
            let kernel = weights.repacked[i].as_ref();
            self.run_step(&plan.steps[i], kernel)?;
            show(&self.f32_arena, i + 1)?;
        }
        Ok(())
    }

    fn run_step(
        &mut self,
        step: &Step<View>,
        repacked: Option<&Kernel>,
    ) -> Result<(), RuntimeError> {
        let kernel = repacked.unwrap_or(&step.kernel);
        let mut ctx = Context {
            f32_arena: &mut self.f32_arena,
            u8_arena: &mut self.u8_arena,
            pool: &self.pool,
            isa: self.plan.isa,
        };
        kernel.run(&mut ctx, &step.at).map_err(|e| e.at(&step.name))
    }

    fn steps(&mut self, sink: Sink<'_>) -> Result<(), RuntimeError> {
        let plan = Arc::clone(&self.plan);
        let pool = Arc::clone(&self.pool);
        let _awake = pool.activate();
        let mut observations = plan.observations.iter().peekable();
        let mut show = |arena: &Arena, done: usize| -> Result<(), RuntimeError> {
            while let Some(Observation { value, view, .. }) =
                observations.next_if(|w| w.ready <= done)
            {
                sink(*value, &Observed { arena, view })?;
            }
            Ok(())
        };
        show(&self.f32_arena, 0)?;
        self.run_steps(0..plan.steps.len(), &mut show)
    }

    fn write_inputs(&mut self, inputs: &[&[f32]]) -> Result<(), RuntimeError> {
        let plan = Arc::clone(&self.plan);
        let pool = Arc::clone(&self.pool);
        let _awake = pool.activate();
        check_count(&plan, inputs.len())?;
        for (input, data) in plan.inputs.iter().zip(inputs) {
            self.write_input(input, data)?;
        }
        Ok(())
    }

    fn write_input(&mut self, input: &Input, data: &[f32]) -> Result<(), RuntimeError> {
        check_input(input, data.len())?;
        let mut ctx = self.context();
        let written = match input.quantization {
            None => kernels::write(&mut ctx, data, &input.view),
            Some(params) => kernels::quantize_nchw(&mut ctx, data, &input.view, params),
        };
        written.map_err(RuntimeError::kernel(&input.name))
    }

    fn write_pixels(&mut self, inputs: &[&[u8]], scale: f32) -> Result<(), RuntimeError> {
        let plan = Arc::clone(&self.plan);
        check_count(&plan, inputs.len())?;
        for (input, pixels) in plan.inputs.iter().zip(inputs) {
            self.write_pixels_of(input, pixels, scale)?;
        }
        Ok(())
    }

    fn write_pixels_of(
        &mut self,
        input: &Input,
        pixels: &[u8],
        scale: f32,
    ) -> Result<(), RuntimeError> {
        check_input(input, pixels.len())?;
        let failed = RuntimeError::kernel(&input.name);
        if let Some(params) = input.quantization {
            let mut ctx = self.context();
            let table: [u8; 256] =
                std::array::from_fn(|byte| quantize(byte as f32 * scale, params));
            let is_same = table.iter().enumerate().all(|(byte, &value)| byte == usize::from(value));
            return kernels::write_pixels(&mut ctx, pixels, &input.view)
                .and_then(|()| {
                    if is_same {
                        return Ok(());
                    }
                    kernels::q_copy(&mut ctx, &input.view, &input.view, Some(&table))
                })
                .map_err(failed);
        }
        let rows = input.view.permute(&[0, 2, 3, 1]).map_err(RuntimeError::kernel(&input.name))?;
        self.pixels.clear();
        let real = pixels.iter().map(|&byte| f32::from(byte) * scale);
        self.pixels.extend(real);
        self.f32_arena.write(&rows, &self.pixels).map_err(failed)
    }

    fn outputs(&self) -> Result<Vec<Tensor>, RuntimeError> {
        let output = |o: &Output| match o {
            Output::View { shape, elements } => read(&self.f32_arena, elements, shape),
            Output::Constant(tensor) => Ok(tensor.clone()),
        };
        self.plan.outputs.iter().map(output).collect()
    }

    /// Copies those outputs whose elements do not lie in order.
    fn order_outputs(&mut self) -> Result<Outputs<'_>, RuntimeError> {
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

    fn read_output(
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

impl CurrentWeights {
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

fn check_count(plan: &Plan, found: usize) -> Result<(), RuntimeError> {
    let expected = plan.inputs.len();
    if found == expected {
        return Ok(());
    }
    Err(RuntimeError::InputCount { expected, found })
}

fn check_output_count(plan: &Plan, found: usize) -> Result<(), RuntimeError> {
    let expected = plan.outputs.len();
    if found == expected {
        return Ok(());
    }
    Err(RuntimeError::OutputCount { expected, found })
}

fn check_input(input: &Input, found: usize) -> Result<(), RuntimeError> {
    let expected = input.view.elements();
    if found == expected {
        return Ok(());
    }
    Err(RuntimeError::InputLength { input: input.name.clone(), expected, found })
}

fn read(arena: &Arena, view: &View, shape: &[usize]) -> Result<Tensor, RuntimeError> {
    let failed = "a value that is read";
    let data = arena.read(view).map_err(RuntimeError::kernel(failed))?;
    Tensor::new(shape.to_vec(), data).map_err(RuntimeError::operator(failed))
}
