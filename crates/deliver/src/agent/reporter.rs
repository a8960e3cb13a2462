//! Who is told of a device: its folder, Prometheus, and the repository.
use super::folder::StateFolder;
use super::metrics;
use super::settings::AgentSettings;
use crate::status::{self, Status};
use crate::store::Store;
use crate::{DeliverError, Passphrase, SigningKey};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The file in the agent's folder.
pub(crate) const REPORT: &str = "report.json";
/// A report that says nothing new is sent this often: that is how a device is known to be alive.
const AGAIN: Duration = Duration::from_secs(3600);

/// Who is told of a device.
#[derive(Debug)]
pub(crate) struct Reporter {
    key: Option<SigningKey>,
    metrics_file: Option<PathBuf>,
    written: Option<Status>,
    sent: Option<Sent>,
}

#[derive(Debug)]
struct Sent {
    status: Status,
    at: Instant,
}

impl Reporter {
    /// Nobody is told yet.
    ///
    /// # Errors
    /// `Read`, `Key`.
    pub(crate) fn new(settings: &AgentSettings) -> Result<Self, DeliverError> {
        let key = settings.device_key.as_ref();
        let key = key.map(|path| SigningKey::read(path, &Passphrase::None)).transpose()?;
        let metrics_file = settings.metrics_file.clone();
        Ok(Self { key, metrics_file, written: None, sent: None })
    }

    /// Tells everybody who was not told the same already.
    ///
    /// # Errors
    /// Of the first one that could not be told: `Write`, what the store says.
    pub(crate) fn publish(
        &mut self,
        status: &Status,
        folder: &StateFolder,
        store: Option<&dyn Store>,
    ) -> Result<(), DeliverError> {
        let metrics = self.metrics_file.as_deref();
        let metrics = metrics.map_or(Ok(()), |path| write_metrics(path, status));
        let written = self.write(status, folder);
        let sent = store.map_or(Ok(()), |store| self.send(status, store));
        metrics.and(written).and(sent)
    }

    fn write(&mut self, status: &Status, folder: &StateFolder) -> Result<(), DeliverError> {
        if self.written.as_ref().is_some_and(|written| written.says_the_same(status)) {
            return Ok(());
        }
        let text = serde_json::to_string_pretty(status).unwrap_or_default();
        folder.write(REPORT, text.as_bytes())?;
        self.written = Some(status.clone());
        Ok(())
    }

    fn send(&mut self, status: &Status, store: &dyn Store) -> Result<(), DeliverError> {
        let Some(key) = &self.key else { return Ok(()) };
        let same = |sent: &Sent| sent.status.says_the_same(status) && sent.at.elapsed() < AGAIN;
        if self.sent.as_ref().is_some_and(same) {
            return Ok(());
        }
        status::push(store, status, key)?;
        self.sent = Some(Sent { status: status.clone(), at: Instant::now() });
        Ok(())
    }
}

/// Prometheus' textfile collector never sees half of it. It is not synced: it says how things are now.
fn write_metrics(path: &Path, status: &Status) -> Result<(), DeliverError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let partial = path.with_file_name(format!(".{name}.partial"));
    let written =
        fs::write(&partial, metrics::text(status)).and_then(|()| fs::rename(&partial, path));
    written.map_err(|e| DeliverError::write(path, e))
}
