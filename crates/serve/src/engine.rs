//! Sources and sessions at work, each on a thread of its own, and whoever looks after them.
use crate::ServeError;
use crate::hub::Hub;
use crate::settings::Settings;
use crate::source::Source;
use crate::worker::Worker;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// How often sources are looked after.
const TICK: Duration = Duration::from_millis(100);

/// Sources and sessions at work.
pub(crate) struct Engine {
    hub: Arc<Hub>,
    sources: Vec<Arc<Source>>,
    threads: Vec<JoinHandle<()>>,
}

impl Engine {
    /// Starts the sessions and then the sources.
    ///
    /// # Errors
    /// `Yolo` where there is not enough memory for the sessions, `Start` where a thread cannot be started.
    pub(crate) fn start(hub: &Arc<Hub>, settings: &Settings) -> Result<Self, ServeError> {
        let of_sources: Arc<[_]> = settings.sources.clone().into();
        let workers = (0..settings.session_count()).map(|_| Worker::new(hub, &of_sources));
        let workers = workers.collect::<Result<Vec<_>, _>>()?;
        let source = |(i, s): (usize, _)| Arc::new(Source::new(hub, i, s, settings.ffmpeg.clone()));
        let sources: Vec<Arc<Source>> = settings.sources.iter().enumerate().map(source).collect();
        let mut engine = Self { hub: Arc::clone(hub), sources, threads: Vec::new() };
        for (i, worker) in workers.into_iter().enumerate() {
            engine.spawn(format!("session {i}"), move || worker.run())?;
        }
        for source in engine.sources.clone() {
            engine.spawn("source".to_owned(), move || source.keep_running())?;
        }
        let (hub, sources) = (Arc::clone(hub), engine.sources.clone());
        engine.spawn("watch".to_owned(), move || {
            while !hub.is_stopping() {
                sources.iter().for_each(|source| source.look_after());
                thread::sleep(TICK);
            }
            sources.iter().for_each(|source| source.kill());
        })?;
        Ok(engine)
    }

    /// A thread that ends everything when it panics: nothing goes on half alive, and a supervisor can start it anew.
    fn spawn(
        &mut self,
        name: String,
        work: impl FnOnce() + Send + 'static,
    ) -> Result<(), ServeError> {
        let guard = StopOnPanic(Arc::clone(&self.hub));
        let thread = thread::Builder::new().name(name).spawn(move || {
            let _guard = guard;
            work();
        });
        let thread = thread.map_err(|source| ServeError::Start { what: "a thread", source })?;
        self.threads.push(thread);
        Ok(())
    }

    /// Waits for all threads; everything must have been told to end.
    pub(crate) fn join(self) {
        for thread in self.threads {
            // One that panicked has told so.
            let _ = thread.join();
        }
    }
}

struct StopOnPanic(Arc<Hub>);

impl Drop for StopOnPanic {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.fail();
        }
    }
}
