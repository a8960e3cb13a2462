//! How fast a network runs on this machine, found out by running it, before more is asked of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ir::{Graph, normalise};
use runtime::{Plan, Session};

use crate::{Engine, ObserveError};

/// What runs of a network take, about.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Speed {
    /// Of one run, on all threads.
    pub time: Duration,
    /// Bytes of packed weights and of a session for each thread.
    pub memory_bytes: usize,
    /// Bytes of one session.
    pub arena_bytes: usize,
}

impl Speed {
    /// Runs a network twice on inputs of zeros, and measures the second run.
    ///
    /// # Errors
    /// `Runtime` when the plan complains.
    pub fn measure(graph: &Graph, engine: Engine) -> Result<Self, ObserveError> {
        let ready = normalise(graph.clone())?;
        let plan = Arc::new(Plan::compile(&ready, &[], &engine.options)?);
        let mut session = Session::new(&plan, engine.threads.max(1))?;
        let mut inputs = Vec::new();
        for v in graph.inputs() {
            inputs.push(vec![0.0; graph.ty(*v)?.elements()]);
        }
        let inputs: Vec<&[f32]> = inputs.iter().map(Vec::as_slice).collect();
        session.run(&inputs)?;
        let start = Instant::now();
        session.run(&inputs)?;
        let weights = graph.params() as usize * size_of::<f32>();
        let arena_bytes = plan.arena_bytes();
        let memory_bytes = 2 * weights + engine.threads.max(1) * arena_bytes;
        Ok(Self { time: start.elapsed(), memory_bytes, arena_bytes })
    }
}
