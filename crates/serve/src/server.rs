//! The whole server: sources and sessions, outputs, and whoever looks after the machine.
use crate::context::Context;
use crate::engine::Engine;
use crate::hub::Hub;
use crate::message::Message;
use crate::model::{OpenModel, ServedModel};
use crate::outputs::{Outputs, lines};
use crate::settings::Settings;
use crate::{ServeError, http, machine};
use std::fs::OpenOptions;
use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

/// How long outputs may take to tell the last.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// A server at work.
pub struct Server {
    context: Arc<Context>,
    engine: Engine,
    outputs: Outputs,
    runtime: Runtime,
    http_address: SocketAddr,
    lines: Option<JoinHandle<()>>,
}

impl Server {
    /// Opens the model and starts everything. Lines go to `standard_output` where the settings say `-`.
    ///
    /// # Errors
    /// As [`ServedModel::open`]; `Write` for a file of lines, `Yolo` where memory is short, `Start`, `Listen`.
    pub fn start(
        settings: Settings,
        open: Box<OpenModel>,
        standard_output: Box<dyn Write + Send>,
    ) -> Result<Self, ServeError> {
        let model = ServedModel::open(&settings.model, None, &settings, &*open)?;
        let listener = http::Listener::bind(settings.http.listen)?;
        let hub = Arc::new(Hub::new(&settings, model));
        let out: Option<Box<dyn Write + Send>> = match &settings.events.path {
            Some(path) if path == Path::new("-") => Some(standard_output),
            Some(path) => {
                let file = OpenOptions::new().create(true).append(true).open(path);
                let failed = |source| ServeError::Write { path: path.clone(), source };
                Some(Box::new(file.map_err(failed)?))
            }
            None => None,
        };
        let messages = hub.subscribe();
        let frames = settings.events.frames;
        let counts = Arc::clone(&hub.outputs);
        let lines =
            out.map(|out| thread::spawn(move || lines::write(messages, out, frames, &counts)));
        let failed = |source| ServeError::Start { what: "the runtime of outputs", source };
        // Outputs mostly wait; the cores are the sessions'.
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.map_err(failed)?;
        let outputs = Outputs::start(runtime.handle(), &hub, &settings)?;
        let engine = Engine::start(&hub, &settings)?;
        let context = Arc::new(Context { hub, settings, open });
        runtime.spawn(machine::watch(Arc::clone(&context)));
        let http_address = listener.address();
        runtime.spawn(http::serve(listener, Arc::clone(&context)));
        Ok(Self { context, engine, outputs, runtime, http_address, lines })
    }

    /// What is known of the sources, the model and the objects.
    pub fn hub(&self) -> &Arc<Hub> {
        &self.context.hub
    }

    /// Where HTTP is answered; the port is the one that was given where the settings leave it open.
    pub fn http_address(&self) -> SocketAddr {
        self.http_address
    }

    /// Waits until everything has ended, by [`Hub::stop`] or because a part failed: false then.
    pub fn wait(self) -> bool {
        let Self { context, engine, outputs, runtime, lines, .. } = self;
        runtime.block_on(context.hub.stopped());
        engine.join();
        context.hub.tell(Message::Ended);
        // Whoever is not done by then is cut off.
        let _ = runtime.block_on(async { timeout(LAST_WORDS, outputs.finish()).await });
        runtime.shutdown_timeout(LAST_WORDS);
        let failed = context.hub.has_failed();
        !failed && lines.is_none_or(|lines| lines.join().is_ok())
    }
}
