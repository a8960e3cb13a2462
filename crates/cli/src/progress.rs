//! Progress on stderr: a bar on a terminal, plain lines elsewhere.
use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

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
