//! A new bundle watched in a server that does what a test wants.
use super::{Bench, Outcome, ServeSettings, Stage};
use crate::agent::{Secret, last_report};
use crate::bundle::Bundle;
use crate::{DeliverError, Digest};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// What the server does once it is told to use a model with the word `bad` in it.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    Refuses,
    IsNotReady,
    Dies,
    StartsAnewEachTime,
    LosesTheModel,
}

#[derive(Debug)]
struct Serving {
    fault: Fault,
    model: Option<Vec<u8>>,
    first: Vec<u8>,
    /// Whether it answers, and is ready.
    up: bool,
    ready: bool,
    /// Whether the token is the one of the test.
    token: &'static str,
    answers: u32,
    changes: Vec<String>,
}

#[derive(Clone)]
struct Server {
    serving: Arc<Mutex<Serving>>,
    url: String,
}

impl Server {
    fn start(fault: Fault) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let serving = Serving {
            fault,
            model: None,
            first: b"its own".to_vec(),
            up: true,
            ready: true,
            token: "right",
            answers: 0,
            changes: Vec::new(),
        };
        let serving = Arc::new(Mutex::new(serving));
        let shared = Arc::clone(&serving);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let _ = answer(stream, &shared);
            }
        });
        Self { serving, url }
    }

    fn set(&self, change: impl FnOnce(&mut Serving)) {
        change(&mut self.serving.lock().expect("not poisoned"));
    }

    fn model(&self) -> Option<Vec<u8>> {
        self.serving.lock().expect("not poisoned").model.clone()
    }
}

fn answer(stream: TcpStream, serving: &Mutex<Serving>) -> std::io::Result<()> {
    let mut reader = BufReader::new(&stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let (mut length, mut bearer, mut header) = (0, String::new(), String::new());
    while reader.read_line(&mut header)? > 2 {
        let (name, value) = header.trim().split_once(": ").unwrap_or_default();
        match &*name.to_lowercase() {
            "content-length" => length = value.parse().unwrap_or(0),
            "authorization" => bearer = value.to_owned(),
            _ => {}
        }
        header.clear();
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let mut serving = serving.lock().expect("not poisoned");
    if !serving.up {
        return Ok(());
    }
    let reply = serving.reply(&line, &bearer, &body);
    drop(serving);
    let Some(Reply { status, body }) = reply else { return Ok(()) };
    let length = body.len();
    write!(
        &stream,
        "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
}

struct Reply {
    status: u16,
    body: String,
}

impl Serving {
    fn is_bad(&self) -> bool {
        self.model.as_ref().is_some_and(|model| model.starts_with(b"bad"))
    }

    fn reply(&mut self, line: &str, bearer: &str, body: &[u8]) -> Option<Reply> {
        self.answers += 1;
        let path = line.split(' ').nth(1).unwrap_or_default();
        match path {
            "/v1/model" => self.change(bearer, body),
            "/readyz" if !self.ready || (self.is_bad() && self.fault == Fault::IsNotReady) => {
                Some(Reply { status: 503, body: r#"{"error": "no source is live"}"#.to_owned() })
            }
            "/readyz" => Some(Reply { status: 200, body: "{}".to_owned() }),
            "/v1/status" => {
                if self.is_bad() && self.fault == Fault::LosesTheModel {
                    self.model = None;
                }
                let anew = self.is_bad() && self.fault == Fault::StartsAnewEachTime;
                let uptime_s = if anew { 1000 - self.answers } else { 1000 + self.answers };
                let digest = Digest::of(self.model.as_ref().unwrap_or(&self.first)).hex();
                let body = serde_json::json!({"uptime_s": uptime_s, "model": {"digest": digest}});
                Some(Reply { status: 200, body: body.to_string() })
            }
            _ => Some(Reply { status: 404, body: "{}".to_owned() }),
        }
    }

    fn change(&mut self, bearer: &str, body: &[u8]) -> Option<Reply> {
        if bearer != format!("Bearer {}", self.token) {
            return Some(Reply { status: 401, body: r#"{"error": "a token"}"#.to_owned() });
        }
        let wanted: serde_json::Value = serde_json::from_slice(body).expect("JSON");
        let path = wanted["path"].as_str().expect("a path").to_owned();
        let bundle = Bundle::open(Path::new(&path)).expect("what it is told to use is whole");
        let model = fs::read(bundle.model("builtin").expect("a model")).expect("a file");
        self.changes.push(path);
        let is_bad = model.starts_with(b"bad");
        if is_bad && self.fault == Fault::Refuses {
            return Some(Reply { status: 422, body: r#"{"error": "boxes differ"}"#.to_owned() });
        }
        self.model = Some(model);
        if is_bad && self.fault == Fault::Dies {
            self.up = false;
            return None;
        }
        Some(Reply { status: 200, body: "{}".to_owned() })
    }
}

fn bench(server: &Server, probation: Duration) -> Bench {
    let mut bench = Bench::new();
    bench.settings.probation = probation;
    let token = Some(Secret::for_tests("right"));
    bench.settings.serve = Some(ServeSettings { url: server.url.clone(), token });
    bench
}

fn part_of_a_second() -> Duration {
    Duration::from_millis(300)
}

#[test]
fn server_is_told_of_each_bundle_and_reported_by_what_it_runs() {
    let server = Server::start(Fault::Refuses);
    let bench = bench(&server, part_of_a_second());
    let mut agent = bench.agent();
    for (version, model) in [(1, b"one"), (2, b"two")] {
        bench.publish(model, version);
        assert_eq!(agent.converge().expect("converged"), Outcome::Installed);
        assert_eq!(server.model().as_deref(), Some(&model[..]));
    }
    let running = || last_report(&bench.settings.state).expect("reported").status;
    assert_eq!(running().running.map(|running| running.version), Some(2));
    // Somebody starts the server anew, with a model of his own: it is told again.
    server.set(|serving| serving.model = None);
    assert_eq!(agent.converge().expect("converged"), Outcome::UpToDate);
    assert_eq!(server.model().as_deref(), Some(&b"two"[..]));
    server.set(|serving| serving.up = false);
    agent.converge().expect("converged");
    assert_eq!((running().running, running().healthy), (None, false), "nobody says that it runs");
}

#[test]
fn bundle_under_which_the_server_gets_worse_is_taken_back() {
    for fault in [
        Fault::Refuses,
        Fault::IsNotReady,
        Fault::Dies,
        Fault::StartsAnewEachTime,
        Fault::LosesTheModel,
    ] {
        let server = Server::start(fault);
        let bench = bench(&server, part_of_a_second());
        bench.publish(b"good", 1);
        let mut agent = bench.agent();
        agent.converge().expect("converged");
        bench.publish(b"bad", 2);
        // It is started anew by its service manager, with what the link leads to.
        let restart = fault == Fault::Dies;
        let outcome = agent.converge().expect("converged");
        let Outcome::Failed(failed) = outcome else { panic!("{fault:?}: it was taken") };
        assert_eq!(failed.stage, Stage::RolledBack, "{fault:?}");
        assert_eq!(bench.version(), 1, "{fault:?}");
        if restart {
            server.set(|serving| (serving.up, serving.model) = (true, None));
            agent.converge().expect("converged");
        }
        assert_eq!(server.model().as_deref(), Some(&b"good"[..]), "{fault:?}");
        let status = last_report(&bench.settings.state).expect("reported").status;
        assert_eq!(status.running.map(|running| running.version), Some(1), "{fault:?}");
        assert!(status.healthy, "{fault:?}");
    }
}

#[test]
fn server_that_was_not_ready_before_is_not_the_bundles_fault() {
    let server = Server::start(Fault::Refuses);
    server.set(|serving| serving.ready = false);
    let bench = bench(&server, part_of_a_second());
    bench.publish(b"one", 1);
    assert_eq!(bench.agent().converge().expect("converged"), Outcome::Installed);
}

#[test]
fn bundle_is_not_judged_where_the_server_cannot_be_told() {
    for down in [true, false] {
        let server = Server::start(Fault::Refuses);
        let bench = bench(&server, part_of_a_second());
        bench.publish(b"one", 1);
        let mut agent = bench.agent();
        agent.converge().expect("converged");
        bench.publish(b"two", 2);
        server.set(|serving| (serving.up, serving.token) = (!down, "another"));
        let error = agent.converge().expect_err("it cannot be told");
        assert!(matches!(error, DeliverError::Serve { .. }), "{error}");
        assert_eq!(bench.version(), 1);
        // It is tried again, and is nobody's rollback.
        server.set(|serving| (serving.up, serving.token) = (true, "right"));
        assert_eq!(agent.converge().expect("converged"), Outcome::Installed);
        assert_eq!(bench.version(), 2);
        let status = last_report(&bench.settings.state).expect("reported").status;
        assert_eq!((status.rollbacks, status.failed), (0, None));
    }
}

#[test]
fn first_bundle_is_kept_for_a_server_that_cannot_start_without_it() {
    let server = Server::start(Fault::Refuses);
    server.set(|serving| serving.up = false);
    let bench = bench(&server, part_of_a_second());
    bench.publish(b"one", 1);
    let mut agent = bench.agent();
    agent.converge().expect_err("nobody could judge it");
    assert_eq!(bench.version(), 1, "there is nothing else");
    server.set(|serving| serving.up = true);
    agent.converge().expect("converged");
    let status = last_report(&bench.settings.state).expect("reported").status;
    assert!(status.healthy);
    assert_eq!(server.model().as_deref(), Some(&b"one"[..]));
}

#[test]
fn probation_that_was_interrupted_begins_again() {
    let server = Server::start(Fault::Refuses);
    let mut bench = bench(&server, Duration::from_secs(3600));
    bench.publish(b"one", 1);
    let mut agent = bench.agent();
    let pulse = agent.pulse();
    let stopper = {
        let server = server.clone();
        thread::spawn(move || {
            let start = Instant::now();
            while server.model().is_none() && start.elapsed() < Duration::from_secs(60) {
                thread::sleep(Duration::from_millis(5));
            }
            pulse.stop();
        })
    };
    let error = agent.converge().expect_err("stopped");
    assert!(matches!(error, DeliverError::Stopped), "{error}");
    stopper.join().expect("it ends");
    drop(agent);
    let status = last_report(&bench.settings.state).expect("reported").status;
    assert!(status.probation && !status.healthy);
    bench.settings.probation = part_of_a_second();
    bench.agent().converge().expect("converged");
    let status = last_report(&bench.settings.state).expect("reported").status;
    assert!(status.healthy);
    assert!(bench.all_told().matches("in probation").count() == 2, "{}", bench.all_told());
}
