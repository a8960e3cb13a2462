//! What all parts of the server share: sources, model, messages.
use crate::ServeError;
use crate::dispatch::Dispatch;
use crate::message::{DownReason, Message, ModelEvent, SourceEvent, SourceState, unix_s};
use crate::model::{ModelSlot, ServedModel};
use crate::outputs::OutputCounts;
use crate::preview::Previews;
use crate::readings::Machine;
use crate::request::{Answer, Request, Task};
use crate::settings::Settings;
use crate::status::SourceStatus;
use crate::tracker::Tracker;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime};
use tokio::sync::{broadcast, oneshot, watch};

/// Messages that an output may be behind by. One that is slower loses the oldest, and is told how many.
const MESSAGES: usize = 4096;

/// What all parts of the server share.
#[derive(Debug)]
pub struct Hub {
    /// The sources, in the settings' order.
    pub sources: Vec<Arc<SourceStatus>>,
    /// The model that is used.
    pub model: ModelSlot,
    /// The machine's readings.
    pub machine: Machine,
    /// What outputs lost.
    pub outputs: Arc<OutputCounts>,
    /// When the server was started.
    pub started: Instant,
    pub(crate) dispatch: Dispatch,
    /// By source, its objects.
    pub(crate) trackers: Vec<Mutex<Tracker>>,
    /// By source, its last picture with boxes, while somebody looks.
    pub(crate) previews: Vec<Previews>,
    messages: broadcast::Sender<Message>,
    stopping: watch::Sender<bool>,
    failed: AtomicBool,
}

/// Why a request was not answered.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Unanswered {
    /// Too many wait.
    #[error("too many requests wait; try again later")]
    Busy,
    /// The server is about to end.
    #[error("the server is stopping")]
    Stopping,
    /// The model cannot do what was asked for.
    #[error("{0}")]
    Failed(String),
}

impl Hub {
    /// Of a server that is about to start.
    pub(crate) fn new(settings: &Settings, model: ServedModel) -> Self {
        let status = |s: &crate::SourceSettings| Arc::new(SourceStatus::new(&s.name, &s.location));
        let sources: Vec<_> = settings.sources.iter().map(status).collect();
        let tracker = |s: &Arc<SourceStatus>| Mutex::new(Tracker::new(Arc::clone(&s.name)));
        Self {
            trackers: sources.iter().map(tracker).collect(),
            previews: sources.iter().map(|_| Previews::new()).collect(),
            dispatch: Dispatch::new(settings.sources.iter().map(|s| s.fps)),
            sources,
            model: ModelSlot::new(model),
            machine: Machine::default(),
            outputs: Arc::default(),
            started: Instant::now(),
            failed: AtomicBool::new(false),
            messages: broadcast::Sender::new(MESSAGES),
            stopping: watch::Sender::new(false),
        }
    }

    /// All messages from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<Message> {
        self.messages.subscribe()
    }

    /// Tells all outputs.
    pub(crate) fn tell(&self, message: Message) {
        // Without an output nobody listens, which is no error.
        let _ = self.messages.send(message);
    }

    /// The source of a name.
    pub fn source(&self, name: &str) -> Option<usize> {
        self.sources.iter().position(|source| &*source.name == name)
    }

    /// Sets the state of a source. Where it is another one it is told, and the objects of a source that has no picture end.
    pub(crate) fn set_state(&self, source: usize, state: SourceState) {
        if !self.sources[source].set_state(&state) {
            return;
        }
        if !matches!(state, SourceState::Live | SourceState::Starting) {
            let tracker = &self.trackers[source];
            let ended = tracker.lock().unwrap_or_else(PoisonError::into_inner).end_all();
            ended.into_iter().for_each(|event| self.tell(Message::Object(Arc::new(event))));
            self.dispatch.clear(source);
            self.previews[source].clear();
        }
        let camera = Arc::clone(&self.sources[source].name);
        let event = SourceEvent { camera, time: unix_s(SystemTime::now()), state };
        self.tell(Message::Source(Arc::new(event)));
    }

    /// The model could not look at a frame of a source.
    pub(crate) fn set_failed(&self, source: usize, error: &ServeError) {
        let state = SourceState::Down { reason: DownReason::Damaged, detail: error.whole() };
        self.set_state(source, state);
    }

    /// How many believed objects of each class a source sees now.
    pub fn objects(&self, source: usize) -> BTreeMap<String, usize> {
        let tracker = self.trackers[source].lock().unwrap_or_else(PoisonError::into_inner);
        let mut counts = BTreeMap::new();
        tracker.counts().for_each(|label| *counts.entry(label.to_string()).or_default() += 1);
        counts
    }

    /// Puts another model in the place of the one that is used, between two frames; where it cannot be opened, the one before
    /// goes on. Either is told.
    ///
    /// # Errors
    /// What `opened` says.
    pub(crate) fn swap(
        &self,
        path: &Path,
        opened: Result<ServedModel, ServeError>,
    ) -> Result<(), ServeError> {
        let event = ModelEvent {
            time: unix_s(SystemTime::now()),
            model: path.display().to_string(),
            digest: opened.as_ref().ok().map(|model| model.digest.clone()),
            refused: opened.as_ref().err().map(ServeError::whole),
        };
        let swapped = opened.map(|model| self.model.set(model));
        self.tell(Message::Model(Arc::new(event)));
        swapped
    }

    /// Asks a session for something, and waits for its answer.
    ///
    /// # Errors
    /// `Busy`, `Stopping`, `Failed`.
    pub(crate) async fn ask(&self, task: Task) -> Result<Answer, Unanswered> {
        let (reply, answer) = oneshot::channel();
        self.dispatch.submit(Request { task, reply }).map_err(|_| {
            if *self.stopping.borrow() { Unanswered::Stopping } else { Unanswered::Busy }
        })?;
        // A session that ends drops what it was to answer.
        let answer = answer.await.map_err(|_| Unanswered::Stopping)?;
        answer.map_err(Unanswered::Failed)
    }

    /// Ends everything.
    pub fn stop(&self) {
        self.stopping.send_replace(true);
        self.dispatch.stop();
    }

    /// Ends everything because something is wrong that only a new start mends.
    pub(crate) fn fail(&self) {
        self.failed.store(true, Ordering::Relaxed);
        self.stop();
    }

    /// Whether something was wrong that only a new start mends.
    pub(crate) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    /// Whether everything is to end.
    pub(crate) fn is_stopping(&self) -> bool {
        *self.stopping.borrow()
    }

    /// Waits until everything is to end.
    pub(crate) async fn stopped(&self) {
        // The sender lives as long as the hub.
        let _ = self.stopping.subscribe().wait_for(|stopping| *stopping).await;
    }
}
