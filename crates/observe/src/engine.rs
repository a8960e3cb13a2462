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
    /// What a stage may take of memory beside the model, about. It decides how much is kept and how often images are run, and no
    /// bit of what comes out, but for training, where fewer images run at a time.
    pub memory_bytes: usize,
}

/// Activations of all images that are kept, at most.
const KEPT_BYTES: usize = 192 << 20;

impl Engine {
    /// How much of the activations of all images is kept at a time.
    pub fn kept_bytes(&self) -> usize {
        KEPT_BYTES.min(self.memory_bytes / 8)
    }
}

impl Default for Engine {
    /// The best instruction set, all cores of this machine and as much memory as is wanted.
    fn default() -> Self {
        Self {
            options: PlanOptions::default(),
            threads: std::thread::available_parallelism().map_or(1, NonZeroUsize::get),
            memory_bytes: usize::MAX,
        }
    }
}
