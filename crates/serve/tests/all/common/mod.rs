//! A server with the tiny detector, watched by its messages, and decoders that do what a test wants.
use serve::{HttpSettings, Message, OpenedModel, Server, Settings, SourceEvent};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use testkit::tiny_folder::TinyFolder;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::TryRecvError;

/// No test waits for longer than this.
const PATIENCE: Duration = Duration::from_secs(60);

/// A program that is started as the decoder of one source: it tells by the source's place which one it is for.
pub(crate) struct Decoder {
    script: String,
}

impl Decoder {
    /// Sends so many frames of 32 x 32 pixels, each made by a command that knows its number as `$n`, then does something else.
    pub(crate) fn frames(count: u32, frame: &str, then: &str) -> Self {
        Self::script(&format!(
            "printf 'YUV4MPEG2 W32 H32 F50:1 C420mpeg2 XCOLORRANGE=LIMITED\\n'\n\
             echo '[info] Output #0, yuv4mpegpipe, to pipe' >&2\n\
             echo '[info]   Stream #0:0: Video: wrapped_avframe, yuv420p(tv, bt709, progressive), 32x32' >&2\n\
             n=0; while [ $n -lt {count} ]; do n=$((n+1)); printf 'FRAME\\n'; {frame}; done\n{then}"
        ))
    }

    /// Does what a shell script says.
    pub(crate) fn script(script: &str) -> Self {
        Self { script: script.to_owned() }
    }
}

/// Settings of a server with one source for each decoder, the tiny detector and no outputs.
pub(crate) fn settings(decoders: &[&Decoder]) -> Settings {
    let tiny = Box::leak(Box::new(TinyFolder::new(0, 0)));
    let mut settings = Settings::new(tiny.path("tiny.onnx"));
    let mut cases = String::new();
    let places: Vec<String> = decoders
        .iter()
        .enumerate()
        .map(|(i, decoder)| {
            tiny.put(&format!("{i}.mp4"), b"");
            tiny.put(&format!("{i}.sh"), decoder.script.as_bytes());
            let place = tiny.arg(&format!("{i}.mp4"));
            // Places with secrets come by the standard input: such a server has one source.
            let script = tiny.arg(&format!("{i}.sh"));
            cases += &format!("*' {place} '*) exec sh {script};;\n");
            place
        })
        .collect();
    cases += &format!("*) exec sh {};;\n", tiny.arg("0.sh"));
    let ffmpeg = program(tiny, &format!("case \" $* \" in\n{cases}esac\n"));
    settings.add_sources(&places).unwrap();
    settings.ffmpeg = ffmpeg;
    settings.sessions = Some(1);
    // To the sink that tests give.
    settings.events.path = Some("-".into());
    settings.http = HttpSettings { listen: ([127, 0, 0, 1], 0).into(), ..HttpSettings::default() };
    settings
}

fn program(tiny: &TinyFolder, script: &str) -> PathBuf {
    tiny.put("ffmpeg", format!("#!/bin/sh\n{script}").as_bytes());
    let path = tiny.path("ffmpeg");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// Opens a model as the command line does.
pub(crate) fn open(path: &Path) -> Result<OpenedModel, Box<dyn std::error::Error + Send + Sync>> {
    let graph = yoloslim::Model::open(path)?.graph;
    Ok(OpenedModel { graph, family: None, options: Default::default(), bundle: None })
}

/// A server and all that it tells.
pub(crate) struct Watched {
    pub(crate) server: Server,
    messages: Receiver<Message>,
    /// The states in which sources were when the watch began.
    first: Vec<Message>,
}

impl Watched {
    pub(crate) fn start(settings: Settings) -> Self {
        let server = Server::start(settings, Box::new(open), Box::new(std::io::sink())).unwrap();
        let messages = server.hub().subscribe();
        let state = |report: serve::SourceReport| {
            let event = SourceEvent { camera: report.name, time: 0.0, state: report.state };
            Message::Source(Arc::new(event))
        };
        let first = server.hub().sources.iter().map(|source| state(source.report())).collect();
        Self { server, messages, first }
    }

    /// Takes messages until one is the wanted one.
    pub(crate) fn until(&mut self, mut wanted: impl FnMut(&Message) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        if std::mem::take(&mut self.first).iter().any(&mut wanted) {
            return;
        }
        loop {
            match self.messages.try_recv() {
                Ok(message) if wanted(&message) => return,
                Ok(_) | Err(TryRecvError::Lagged(_)) => {}
                Err(TryRecvError::Empty) => std::thread::sleep(Duration::from_millis(5)),
                Err(TryRecvError::Closed) => panic!("the server ended"),
            }
            let reports: Vec<_> = self.server.hub().sources.iter().map(|s| s.report()).collect();
            assert!(Instant::now() < deadline, "it never came: {reports:?}");
        }
    }

    /// Ends the server, and with it every thread and process.
    pub(crate) fn end(self) {
        self.server.hub().stop();
        assert!(self.server.wait());
    }
}
