//! How models are run.

use std::num::NonZeroUsize;

use runtime::PlanOptions;

/// How models are run. It decides how long the work takes; of the results only the last bits of sums, which differ
/// between instruction sets.
#[derive(Clone, Copy, Debug)]
pub struct Engine {
    /// How plans are compiled.
    pub options: PlanOptions,
    /// Images in flight, and threads of one inference where a single one is timed.
    pub threads: usize,
}

impl Default for Engine {
    /// The best instruction set and all cores of this machine.
    fn default() -> Self {
        Self {
            options: PlanOptions::default(),
            threads: std::thread::available_parallelism().map_or(1, NonZeroUsize::get),
        }
    }
}
