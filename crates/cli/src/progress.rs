//! Progress on stderr: a bar on a terminal, plain lines elsewhere.
use indicatif::{ProgressBar, ProgressStyle};
use std::cell::Cell;
use std::io::IsTerminal;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// Progress over a known number of things.
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    what: &'static str,
    total: usize,
    /// The last tenth that was printed.
    printed: AtomicUsize,
}

impl Progress {
    /// Progress over `total` things called `what`.
    pub(crate) fn new(what: &'static str, total: usize) -> Self {
        let style = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len}, {eta} left");
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(total as u64).with_message(what);
            bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        });
        Self { bar, what, total, printed: AtomicUsize::new(0) }
    }

    /// `done` things are finished.
    pub(crate) fn at(&self, done: usize) {
        let tenth = done * 10 / self.total.max(1);
        match &self.bar {
            Some(bar) => bar.set_position(done as u64),
            None if self.printed.fetch_max(tenth, Ordering::Relaxed) < tenth => {
                note!("{} {done}/{}", self.what, self.total);
            }
            None => {}
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Progress of a run of many stages: what begins, and how far a stage is, counted in its images.
#[derive(Default)]
pub(crate) struct Stages {
    current: Mutex<Option<Progress>>,
}

impl Stages {
    /// A stage begins.
    pub(crate) fn say(&self, line: &str) {
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = None;
        note!("{line}");
    }

    /// As much is done as makes `done` of `total` images.
    pub(crate) fn at(&self, done: usize, total: usize) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let progress = current.get_or_insert_with(|| Progress::new("progress", total));
        progress.at(done);
    }
}

/// How fast steps are done, from the first that it is told of: those of an earlier process took no time.
#[derive(Default)]
pub(crate) struct Pace {
    first: Cell<Option<FirstStep>>,
}

#[derive(Clone, Copy)]
struct FirstStep {
    step: usize,
    at: Instant,
}

impl Pace {
    /// The time that is left until so many steps are done, as a clause, when some are.
    pub(crate) fn left(&self, done: usize, steps: usize) -> String {
        let FirstStep { step, at } =
            self.first.get().unwrap_or_else(|| FirstStep { step: done, at: Instant::now() });
        self.first.set(Some(FirstStep { step, at }));
        if done == step {
            return String::new();
        }
        let seconds = at.elapsed().as_secs_f64() / (done - step) as f64;
        format!(", {:.0} s left", seconds * (steps - done) as f64)
    }
}
