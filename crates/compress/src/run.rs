//! Where and how a run works.

use observe::Engine;

use crate::RunDir;

/// Where a run keeps its files, how models are run, and who hears of it. Nothing of it decides the result.
pub struct Run<'a> {
    /// The run directory.
    pub dir: &'a RunDir,
    /// How models are run.
    pub engine: Engine,
    /// Told what begins, and what should be known of it.
    pub log: &'a (dyn Fn(&str) + Sync),
    /// Told how much of a stage is done, as images, of how many.
    pub progress: &'a (dyn Fn(usize, usize) + Sync),
}

impl<'a> Run<'a> {
    /// A run that tells nobody.
    pub fn quiet(dir: &'a RunDir, engine: Engine) -> Self {
        Self { dir, engine, log: &|_| (), progress: &|_, _| () }
    }
}
