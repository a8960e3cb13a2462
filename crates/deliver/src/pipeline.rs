//! From a commit to the fleet, unattended: a model in a git repository is compressed, bundled, judged, signed and pushed.
//!
//! Stages are functions of their inputs: what was made of the same is used again, so that a run that was interrupted goes on, and one
//! of nothing new does nothing. Everything that reads a model runs as a process of its own.
mod child;
mod gate;
mod present;
mod run;
mod settings;
mod source;
mod stages;
mod watch;

use crate::DeliverError;
pub use child::END_WITH_STDIN;
use child::Runner;
pub use gate::{Finding, GateSettings, Judgement, Loss, Rule};
pub use present::{annotations, junit, summary};
use run::Job;
pub use run::{Outcome, Verdict};
pub use settings::{
    DataSettings, FormName, Place, PushSettings, RecipeSettings, Settings, SignSettings,
    SourceSettings,
};
use source::Repository;
pub use stages::{StageReport, StageState};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

/// A pipeline, whose folder no other process works in.
pub struct Pipeline {
    settings: Settings,
    program: PathBuf,
    stop: AtomicBool,
    /// Holds the lock.
    _lock: File,
}

impl std::fmt::Debug for Pipeline {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pipeline({})", self.settings.name)
    }
}

impl Pipeline {
    /// A pipeline that runs `program`, which is yoloslim, for what knows models.
    ///
    /// # Errors
    /// `Busy` while another process works in its folder, `Write`.
    pub fn new(settings: Settings, program: PathBuf) -> Result<Self, DeliverError> {
        let work = &settings.work;
        fs::create_dir_all(work).map_err(|e| DeliverError::write(work, e))?;
        let path = work.join("lock");
        let file = OpenOptions::new().create(true).append(true).open(&path);
        let lock = file.map_err(|e| DeliverError::write(&path, e))?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => DeliverError::Busy { path: work.clone() },
            TryLockError::Error(source) => DeliverError::write(&path, source),
        })?;
        Ok(Self { settings, program, stop: AtomicBool::new(false), _lock: lock })
    }

    /// Ends a run, or a watch, before its next stage.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Runs once; `tell` hears what is done.
    pub fn run(&self, tell: &(dyn Fn(&str) + Sync)) -> Outcome {
        let runner = Runner { stop: &self.stop, tell };
        Job { settings: &self.settings, program: &self.program, runner: &runner }.run()
    }

    /// What the reference names now.
    fn tip(&self, tell: &(dyn Fn(&str) + Sync)) -> Result<String, DeliverError> {
        let runner = Runner { stop: &self.stop, tell };
        Repository::new(&self.settings, &runner).tip()
    }
}
