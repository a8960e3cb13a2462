//! Events posted to a URL, one after another, in their order. An event that was taken without a word may be posted again: whoever
//! takes them knows objects by their ids.
use super::{OutputCounts, record, tls};
use crate::ServeError;
use crate::hub::Hub;
use crate::message::Message;
use crate::settings::{Secret, WebhookSettings};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio::task::JoinSet;
use ureq::Agent;
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use url::Url;

/// Events that may wait; what comes then is lost.
const MOST_WAITING: usize = 256;

/// The waits before an event is posted again.
const WAITS: [Duration; 3] =
    [Duration::from_millis(500), Duration::from_secs(2), Duration::from_secs(5)];

/// Starts the one who chooses what is posted, and the thread that posts it.
///
/// # Errors
/// As [`tls::trusted`], for an `https` URL.
pub(super) fn start(
    tasks: &mut JoinSet<()>,
    runtime: &Handle,
    hub: &Arc<Hub>,
    settings: &WebhookSettings,
) -> Result<(), ServeError> {
    let (events, queue) = sync_channel(MOST_WAITING);
    // Nothing is sent here: it closes when everything ends.
    let (alive, ended) = sync_channel(0);
    let poster = Poster {
        agent: agent(settings)?,
        url: settings.url.clone(),
        token: settings.token.clone(),
        ended,
        counts: Arc::clone(&hub.outputs),
    };
    let messages = hub.subscribe();
    tasks.spawn_on(choose(Arc::clone(hub), messages, events, alive), runtime);
    tasks.spawn_blocking_on(move || queue.iter().for_each(|event| poster.post(&event)), runtime);
    Ok(())
}

fn agent(settings: &WebhookSettings) -> Result<Agent, ServeError> {
    let config = Agent::config_builder()
        .timeout_global(Some(Duration::from_secs_f64(settings.timeout_s)))
        .user_agent(concat!("yoloslim/", env!("CARGO_PKG_VERSION")))
        // A redirection would be followed without what is posted.
        .max_redirects(0)
        .max_redirects_will_error(false)
        .http_status_as_error(false);
    if !Url::parse(settings.url.reveal()).is_ok_and(|url| url.scheme() == "https") {
        return Ok(config.build().into());
    }
    let trusted = tls::trusted(None, "webhook.url")?;
    let trusted: Vec<_> = trusted.iter().map(|c| Certificate::from_der(c).to_owned()).collect();
    let tls = TlsConfig::builder()
        .root_certs(RootCerts::Specific(Arc::new(trusted)))
        .unversioned_rustls_crypto_provider(tls::provider());
    Ok(config.tls_config(tls.build()).build().into())
}

/// Queues what is an event until everything ends: the thread that posts may take its time.
async fn choose(
    hub: Arc<Hub>,
    mut messages: broadcast::Receiver<Message>,
    events: SyncSender<String>,
    _alive: SyncSender<()>,
) {
    loop {
        let lost = tokio::select! {
            biased;
            message = messages.recv() => match message {
                Ok(message) => match record::event(&message) {
                    Some(event) => u64::from(events.try_send(event).is_err()),
                    None => 0,
                },
                Err(RecvError::Lagged(lost)) => lost,
                Err(RecvError::Closed) => return,
            },
            () = hub.stopped() => return,
        };
        hub.outputs.webhook_dropped.fetch_add(lost, Ordering::Relaxed);
    }
}

struct Poster {
    agent: Agent,
    url: Secret,
    token: Option<Secret>,
    ended: Receiver<()>,
    counts: Arc<OutputCounts>,
}

/// Why an attempt failed.
struct Failure {
    why: String,
    /// Whether another attempt may succeed.
    passing: bool,
}

impl Poster {
    /// Posts an event until it is taken, or is lost.
    fn post(&self, event: &str) {
        for wait in WAITS.into_iter().map(Some).chain([None]) {
            let Err(Failure { why, passing }) = self.attempt(event) else {
                return self.counts.set_webhook(None);
            };
            self.counts.set_webhook(Some(why));
            let ends = |wait| self.ended.recv_timeout(wait) != Err(RecvTimeoutError::Timeout);
            // Once everything ends there is no time for another attempt.
            if !passing || wait.is_none_or(ends) {
                break;
            }
        }
        self.counts.webhook_dropped.fetch_add(1, Ordering::Relaxed);
    }

    fn attempt(&self, event: &str) -> Result<(), Failure> {
        let mut request =
            self.agent.post(self.url.reveal()).header("Content-Type", "application/json");
        if let Some(token) = &self.token {
            request = request.header("Authorization", format!("Bearer {}", token.reveal()));
        }
        let answer = request.send(event).map_err(|error| Failure {
            passing: !matches!(error, ureq::Error::BadUri(_) | ureq::Error::Http(_)),
            why: untold(&error),
        })?;
        let status = answer.status();
        if status.is_success() {
            return Ok(());
        }
        let passing = status.is_server_error() || matches!(status.as_u16(), 408 | 425 | 429);
        Err(Failure { why: format!("it answered {status}"), passing })
    }
}

/// What went wrong, without the URL.
fn untold(error: &ureq::Error) -> String {
    match error {
        ureq::Error::BadUri(_) | ureq::Error::Http(_) => "the URL cannot be used".to_owned(),
        error => error.to_string(),
    }
}
