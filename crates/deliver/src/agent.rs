//! The agent on a device: it watches an alias, and brings the device to what that names without a moment without a model.
mod device;
mod files;
mod folder;
mod install;
mod metrics;
mod probation;
mod pulse;
mod reporter;
mod server;
mod settings;
mod state;
#[cfg(test)]
mod tests;
mod warm_up;

use crate::status::Status;
use crate::store::Store;
use crate::{DeliverError, status};
use device::Device;
pub use device::{Outcome, Tell};
use files::{Disk, Files};
use folder::StateFolder;
use pulse::Pauses;
pub use pulse::Pulse;
pub use settings::{AgentSettings, Secret, ServeSettings, WarmUpSettings};
use std::fs;
use std::path::Path;
use std::sync::Arc;

/// An agent at work.
pub struct Agent {
    device: Device,
    store: Box<dyn Store>,
}

impl Agent {
    /// Takes the device's folder. `tell` hears what is done.
    ///
    /// # Errors
    /// `Locked` where another agent has the folder; `Read`, `Write`, `Key`, `Certificates`.
    pub fn open(
        settings: AgentSettings,
        pulse: Arc<Pulse>,
        tell: Box<Tell>,
    ) -> Result<Self, DeliverError> {
        Self::with(settings, Box::new(Disk), pulse, tell)
    }

    fn with(
        settings: AgentSettings,
        files: Box<dyn Files>,
        pulse: Arc<Pulse>,
        tell: Box<Tell>,
    ) -> Result<Self, DeliverError> {
        let folder = StateFolder::open(&settings.state, files)?;
        let store = settings.source.open(&settings.access)?;
        Ok(Self { device: Device::open(settings, folder, pulse, tell)?, store })
    }

    /// Looks at the alias once, does what that asks for, and reports.
    ///
    /// # Errors
    /// What hindered it, and may not hinder it the next time; `Stopped`.
    pub fn converge(&mut self) -> Result<Outcome, DeliverError> {
        let outcome = self.device.converge(&*self.store);
        if matches!(outcome, Err(DeliverError::Stopped)) {
            return outcome;
        }
        let error = outcome.as_ref().err().map(ToString::to_string);
        // Who could not be asked cannot be told either, and would be waited for again.
        let away = outcome.as_ref().err().is_some_and(DeliverError::is_away);
        self.device.report((!away).then_some(&*self.store), error);
        outcome
    }

    /// By which the agent is told to stop.
    pub fn pulse(&self) -> Arc<Pulse> {
        Arc::clone(&self.device.pulse)
    }

    /// Looks at the alias again and again, until all is to stop.
    pub fn run(&mut self) {
        let mut pauses = Pauses::new(&self.device.settings.device);
        let (mut failures, mut last) = (0, String::new());
        self.device.pulse.ready();
        loop {
            let outcome = self.converge();
            let failed = outcome.as_ref().err().is_some_and(|error| !error.is_final_answer());
            let said = match &outcome {
                Err(DeliverError::Stopped) => return,
                Ok(Outcome::UpToDate | Outcome::Installed) => "up to date".to_owned(),
                Ok(Outcome::Failed(failed)) => format!("not taken: {}", failed.why),
                Err(error) => error.to_string(),
            };
            self.device.pulse.status(&said);
            if said != last {
                (self.device.tell)(&said);
            }
            last = said;
            failures = if failed { failures + 1 } else { 0 };
            let pause = pauses.next(self.device.settings.poll, failures);
            if self.device.pulse.wait(pause).is_err() {
                return;
            }
        }
    }
}

/// What an agent last said of itself, and whether it is at work.
#[derive(Clone, Debug, PartialEq)]
pub struct LastReport {
    /// What it said.
    pub status: Status,
    /// Whether an agent has the folder now.
    pub at_work: bool,
}

/// What the agent of a folder last said of itself.
///
/// # Errors
/// `Read`, also for a folder in which no agent ever reported.
pub fn last_report(folder: &Path) -> Result<LastReport, DeliverError> {
    let path = folder.join(reporter::REPORT);
    let bytes = fs::read(&path).map_err(|e| DeliverError::read(&path, e))?;
    let status = status::parse(&bytes)
        .map_err(|why| DeliverError::read(&path, std::io::Error::other(why)))?;
    Ok(LastReport { status, at_work: StateFolder::is_taken(folder)? })
}
