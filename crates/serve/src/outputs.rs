//! Who is told what the server tells. Each output runs on its own until everything ends; one that is slow or away holds up nobody,
//! and what it lost is counted.
mod counts;
pub(crate) mod lines;
mod mqtt;
mod record;
#[cfg(test)]
mod tests;
mod tls;
mod webhook;

use crate::ServeError;
use crate::hub::Hub;
use crate::settings::Settings;
pub use counts::OutputCounts;
use mqtt::Mqtt;
use std::sync::Arc;
use tokio::runtime::Handle;
use tokio::task::JoinSet;

/// The outputs to other machines, at work.
pub(crate) struct Outputs(JoinSet<()>);

impl Outputs {
    /// Starts those that the settings ask for. It must happen before the sources start, so that their first words are heard.
    ///
    /// # Errors
    /// `Read` and `Setting` for certificates that cannot be used.
    pub(crate) fn start(
        runtime: &Handle,
        hub: &Arc<Hub>,
        settings: &Settings,
    ) -> Result<Self, ServeError> {
        let mut tasks = JoinSet::new();
        if let Some(mqtt) = &settings.mqtt {
            tasks.spawn_on(Mqtt::new(hub, mqtt, &settings.sources)?.run(), runtime);
        }
        if let Some(webhook) = &settings.webhook {
            webhook::start(&mut tasks, runtime, hub, webhook)?;
        }
        Ok(Self(tasks))
    }

    /// Waits until all have told their last, once everything was told to end.
    pub(crate) async fn finish(mut self) {
        while self.0.join_next().await.is_some() {}
    }
}
