//! Sessions: one arena each, running a shared plan.
use crate::plan::Observation;
use crate::step::{Kernel, Step};
use crate::{Plan, RuntimeError, StepInfo};
use ir::{Tensor, ValueId};
use kernels::{Arena, Context, ThreadPool, View};
use numerics::parallel_map;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

mod inputs;
mod outputs;
mod weights;

use inputs::check_count;
pub use outputs::Outputs;
use outputs::check_output_count;
use weights::CurrentWeights;

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
        let weights = CurrentWeights::of(plan)?;
        Session::with_weights(plan, pool, Arc::new(RwLock::new(weights)))
    }

    /// As [`Session::new`], for a plan that nobody else runs and parameters that will change: what the plan holds packed of them becomes
    /// the session's, so that it is held once.
    ///
    /// # Errors
    /// As [`Session::new`].
    pub fn for_training(mut plan: Plan, threads: usize) -> Result<Session, RuntimeError> {
        let weights = CurrentWeights::taken_from(&mut plan)?;
        let pool = Arc::new(ThreadPool::new(threads));
        Session::with_weights(&Arc::new(plan), pool, Arc::new(RwLock::new(weights)))
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
}

fn read(arena: &Arena, view: &View, shape: &[usize]) -> Result<Tensor, RuntimeError> {
    let failed = "a value that is read";
    let data = arena.read(view).map_err(RuntimeError::kernel(failed))?;
    Tensor::new(shape.to_vec(), data).map_err(RuntimeError::operator(failed))
}
