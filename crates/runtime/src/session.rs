//! Sessions: one arena each, running a shared plan.
use crate::layout;
use crate::plan::{Output, Watched};
use crate::{Plan, RuntimeError, StepInfo};
use ir::{Tensor, ValueId};
use kernels::{Arena, Context, ThreadPool, View};
use std::sync::Arc;
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
        self.arena
            .for_each_run(self.view, f)
            .map_err(RuntimeError::kernel("an observed value"))
    }

    /// A copy in row-major order.
    ///
    /// # Errors
    /// `Kernel` when the value does not lie in the arena.
    pub fn to_tensor(&self) -> Result<Tensor, RuntimeError> {
        read(self.arena, self.view)
    }
}

/// Called with every observed value.
type Sink<'a> = &'a mut dyn FnMut(ValueId, &Observed<'_>) -> Result<(), RuntimeError>;

/// A plan with memory and threads to run it on.
pub struct Session {
    plan: Arc<Plan>,
    pool: Arc<ThreadPool>,
    arena: Arena,
    codes: Arena<u8>,
}

impl Session {
    /// A session with `threads` threads of its own, the caller's included.
    ///
    /// # Errors
    /// `Kernel` when there is not enough memory.
    pub fn new(plan: &Arc<Plan>, threads: usize) -> Result<Session, RuntimeError> {
        Session::with_pool(plan, Arc::new(ThreadPool::new(threads)))
    }

    /// A session on threads that others use too.
    ///
    /// # Errors
    /// `Kernel` when there is not enough memory.
    pub fn with_pool(plan: &Arc<Plan>, pool: Arc<ThreadPool>) -> Result<Session, RuntimeError> {
        let failed = "the arena";
        let mut arena = Arena::new(plan.arena_elements);
        for (view, data) in &plan.constants {
            arena
                .write(view, data)
                .map_err(RuntimeError::kernel(failed))?;
        }
        Ok(Session {
            plan: Arc::clone(plan),
            pool,
            arena,
            codes: Arena::new(0),
        })
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

    /// As [`Session::run`]; `sink` sees every observed value once, when it has been computed.
    ///
    /// # Errors
    /// As [`Session::run`], and what `sink` returns.
    pub fn run_observed(
        &mut self,
        inputs: &[&[f32]],
        sink: Sink<'_>,
    ) -> Result<Vec<Tensor>, RuntimeError> {
        let plan = Arc::clone(&self.plan);
        let pool = Arc::clone(&self.pool);
        let _awake = pool.activate();
        self.write_inputs(inputs)?;
        let mut watched = plan.watched.iter().peekable();
        let mut show = |arena: &Arena, done: usize| -> Result<(), RuntimeError> {
            while let Some(Watched { value, view, .. }) = watched.next_if(|w| w.ready <= done) {
                sink(*value, &Observed { arena, view })?;
            }
            Ok(())
        };
        show(&self.arena, 0)?;
        for (i, step) in plan.steps.iter().enumerate() {
            let mut ctx = Context {
                arena: &mut self.arena,
                codes: &mut self.codes,
                pool: &pool,
                isa: plan.isa,
            };
            step.run(&mut ctx)?;
            show(&self.arena, i + 1)?;
        }
        let output = |o: &Output| match o {
            Output::View(view) => read(&self.arena, view),
            Output::Constant(tensor) => Ok(tensor.clone()),
        };
        plan.outputs.iter().map(output).collect()
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
        for (step, info) in plan.steps.iter().zip(plan.steps()) {
            let start = Instant::now();
            let mut ctx = Context {
                arena: &mut self.arena,
                codes: &mut self.codes,
                pool: &pool,
                isa: plan.isa,
            };
            step.run(&mut ctx)?;
            times.push((info, ms(start)));
        }
        Ok(times)
    }

    fn write_inputs(&mut self, inputs: &[&[f32]]) -> Result<(), RuntimeError> {
        if inputs.len() != self.plan.inputs.len() {
            return Err(RuntimeError::InputCount {
                expected: self.plan.inputs.len(),
                found: inputs.len(),
            });
        }
        for (input, data) in self.plan.inputs.iter().zip(inputs) {
            if data.len() != input.view.elements() {
                return Err(RuntimeError::InputLength {
                    input: input.name.clone(),
                    expected: input.view.elements(),
                    found: data.len(),
                });
            }
            self.arena
                .write(&input.view, data)
                .map_err(RuntimeError::kernel(&input.name))?;
        }
        Ok(())
    }
}

/// Elements that lie in memory in their logical order are copied as one run.
fn read(arena: &Arena, view: &View) -> Result<Tensor, RuntimeError> {
    let what = "a value that is read";
    let flat = layout::reshape(view, &[view.elements()]);
    let data = match flat.filter(|v| v.strides[0] == 1) {
        Some(flat) => {
            let mut data = Vec::with_capacity(view.elements());
            arena
                .for_each_run(&flat, &mut |_, run| data.extend_from_slice(run))
                .map(|()| data)
        }
        None => arena.read(view),
    };
    let data = data.map_err(RuntimeError::kernel(what))?;
    Tensor::new(view.shape.to_vec(), data).map_err(RuntimeError::operator(what))
}
