//! The whole loop on this machine: a commit in git becomes, by a watching pipeline, a bundle in a registry; a canary takes it and says
//! how it is; the alias moves on; and the other device's server changes to it while a stream runs.
#![cfg(unix)]
use crate::support;

use crate::support::{Tiny, accepts, json, stderr, yoloslim};
use serde_json::Value;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

/// How often something is looked for, a tenth of a second between two looks, before it is given up.
const LOOKS: usize = 1800;

/// A process that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(command: &mut Command) -> Running {
    Running(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it runs"))
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Waits until `look` finds something.
fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    for _ in 0..LOOKS {
        if let Some(found) = look() {
            return found;
        }
        sleep(Duration::from_millis(100));
    }
    panic!("{what} did not happen");
}

fn program(verb: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_yoloslim"));
    command.args(verb).env("MAKER_PASSPHRASE", "secret").env_remove("GITHUB_ACTIONS");
    command
}

/// Everything that one machine of each kind would have, in one folder.
struct Site {
    tiny: Tiny,
    /// Where bundles are kept, without a tag.
    store: String,
    _registry: Option<Running>,
}

impl Site {
    /// None where a program is missing that the loop is made of.
    fn new() -> Option<Self> {
        for program in ["git", "ffmpeg"] {
            let version = if program == "git" { "--version" } else { "-version" };
            if Command::new(program).arg(version).output().is_err() {
                println!("skipped: the closed loop (no {program})");
                return None;
            }
        }
        let tiny = Tiny::new(72, 60);
        for name in ["maker", "canary", "stable"] {
            accepts(&["keygen", &tiny.arg(name), "--no-passphrase"]);
        }
        fs::create_dir(tiny.path("devices")).unwrap();
        for name in ["canary.pub", "stable.pub"] {
            fs::copy(tiny.path(name), tiny.path(&format!("devices/{name}"))).unwrap();
        }
        let registry = registry(&tiny);
        let folder = || format!("oci:{}", tiny.arg("store"));
        let (store, registry) = match registry {
            Some((port, running)) => (format!("127.0.0.1:{port}/line/squares"), Some(running)),
            None => (folder(), None),
        };
        let site = Self { tiny, store, _registry: registry };
        site.write_settings();
        Some(site)
    }

    fn write_settings(&self) {
        let store = &self.store;
        let pipeline = format!(
            r#"
name = "squares"
threads = 1
[source]
repository = "repository"
ref = "main"
path = "best.onnx"
poll_s = 0.2
[data]
path = "data.yaml"
[recipe]
options = ["--keep", "0.5", "-n", "24", "--holdout", "24", "--macs", "0"]
[gate.metrics.map_50_95]
keep = 0.5
[sign]
key = "maker.key"
[push]
to = "{store}"
"#
        );
        self.tiny.put("pipeline.toml", pipeline.as_bytes());
    }

    fn agent(&self, device: &str, alias: &str, more: &str) -> Running {
        let store = &self.store;
        let settings = format!(
            "device = \"{device}\"\nsource = \"{store}:{alias}\"\nkeys = \"maker.pub\"\nstate = \"{device}-state\"\n\
             device_key = \"{device}.key\"\npoll_s = 0.2\nprobation_s = 1\n{more}"
        );
        let name = format!("{device}.toml");
        self.tiny.put(&name, settings.as_bytes());
        start(&mut program(&["agent", "run", &self.tiny.arg(&name)]))
    }

    fn commit(&self, comment: &str) {
        let mut graph = testkit::tiny::detector();
        graph.metadata.insert("comment".into(), comment.into());
        let model = onnx::encode(&graph).expect("a file's form");
        self.tiny.put("repository/best.onnx", &model);
        for args in [
            &["init", "--quiet", "--initial-branch=main", "."][..],
            &["add", "--all"],
            &["commit", "--quiet", "--message", comment],
        ] {
            let identity = ["-c", "user.name=Test", "-c", "user.email=test@example.org"];
            let mut git = Command::new("git");
            git.args(identity).args(args).current_dir(self.tiny.path("repository"));
            let out = git.output().expect("git runs");
            assert!(out.status.success(), "{args:?}: {}", stderr(&out));
        }
    }

    /// The bundle that a tag names, by its digest.
    fn named(&self, tag: &str) -> Option<String> {
        let folder = tempfile::tempdir().unwrap();
        let (into, out) = (folder.path().join("bundle"), folder.path().join("out.json"));
        let (into, out) = (support::text(into), support::text(out));
        let location = format!("{}:{tag}", self.store);
        let keys = self.tiny.arg("maker.pub");
        let pulled = yoloslim(&["pull", &location, "-o", &into, "--keys", &keys, "--json", &out]);
        pulled.status.success().then(|| json(&out)["bundle_digest"].as_str().unwrap().to_owned())
    }

    /// The bundle that a device says it is healthy with.
    fn healthy_with(&self, device: &str) -> Option<String> {
        let (state, out) =
            (self.tiny.arg(&format!("{device}-state")), self.tiny.arg("status.json"));
        let told = yoloslim(&["agent", "status", &state, "--json", &out]);
        let status = told.status.success().then(|| json(&out))?;
        let is_healthy = status["healthy"] == true && status["probation"] == false;
        is_healthy.then(|| status["running"]["bundle"].as_str().unwrap().to_owned())
    }

    fn promote(&self, healthy: &str) -> bool {
        let (from, keys) = (format!("{}:candidate", self.store), self.tiny.arg("devices"));
        let args = ["promote", &from, "--to", "champion", "--healthy", healthy];
        let out = yoloslim(&[&args[..], &["--devices", &keys]].concat());
        assert!(matches!(out.status.code(), Some(0 | 1)), "{}", stderr(&out));
        out.status.success()
    }
}

/// Debian's registry on a free port; a layout folder does its work where it is not installed.
fn registry(tiny: &Tiny) -> Option<(u16, Running)> {
    let port = free_port();
    let folder = tiny.arg("registry");
    let settings = format!(
        "version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {folder}\nhttp:\n  addr: 127.0.0.1:{port}\n"
    );
    tiny.put("registry.yml", settings.as_bytes());
    let mut command = Command::new("docker-registry");
    command.arg("serve").arg(tiny.path("registry.yml"));
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let Ok(child) = command.spawn() else {
        println!(
            "skipped: a registry in the closed loop, a layout folder instead (no docker-registry)"
        );
        return None;
    };
    until("the registry's start", || TcpStream::connect(("127.0.0.1", port)).ok());
    Some((port, Running(child)))
}

/// `serve` of a bundle on a video that is played over and over, slowly enough for a busy machine.
fn serve(site: &Site, bundle: &str, port: u16) -> Running {
    let made = Command::new("ffmpeg")
        .args([
            "-v",
            "fatal",
            "-nostdin",
            "-f",
            "lavfi",
            "-i",
            "testsrc2=size=160x120:rate=4:duration=3",
        ])
        // Frames that refer to later ones are held back until the file's end, and then come all at once.
        .args(["-pix_fmt", "yuv420p", "-bf", "0"])
        .arg(site.tiny.path("a.mp4"))
        .status();
    assert!(made.is_ok_and(|status| status.success()), "a video is made");
    let settings = format!(
        "model = \"{bundle}\"\nkeys = \"maker.pub\"\nhttp.listen = \"127.0.0.1:{port}\"\nhttp.token = \"a token\"\n\
         [[source]]\nname = \"line\"\nurl = \"a.mp4\"\nloop = true\n"
    );
    site.tiny.put("serve.toml", settings.as_bytes());
    start(&mut program(&["serve", "--config", &site.tiny.arg("serve.toml")]))
}

/// What the server says of itself.
fn server_status(port: u16) -> Option<Value> {
    let mut server = TcpStream::connect(("127.0.0.1", port)).ok()?;
    write!(server, "GET /v1/status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .ok()?;
    let mut answer = String::new();
    server.read_to_string(&mut answer).ok()?;
    serde_json::from_str(answer.split_once("\r\n\r\n")?.1).ok()
}

fn count(status: &Value, what: &str) -> u64 {
    status["sources"][0][what].as_u64().unwrap_or_else(|| panic!("no {what} in {status}"))
}

#[test]
fn commit_reaches_the_fleet_and_a_running_stream_loses_no_frame() {
    let Some(site) = Site::new() else { return };
    site.commit("the first model");
    let _pipeline = start(&mut program(&["pipeline", "watch", &site.tiny.arg("pipeline.toml")]));
    let first = until("the first bundle", || site.named("candidate"));

    // The canary takes it by itself; without its report nothing is promoted.
    assert!(!site.promote("1"), "nobody has reported yet");
    let _canary = site.agent("canary", "candidate", "");
    until("the canary's health", || site.healthy_with("canary").filter(|b| *b == first));
    until("the promotion", || site.promote("1").then_some(()));
    assert!(!site.promote("2"), "one device is not two");
    assert_eq!(site.named("champion").as_ref(), Some(&first));

    // The other device serves what the alias names, and is told of what comes by its agent.
    let (champion, bundle) = (format!("{}:champion", site.store), site.tiny.arg("first"));
    accepts(&["pull", &champion, "-o", &bundle, "--keys", &site.tiny.arg("maker.pub")]);
    let port = free_port();
    let _serve = serve(&site, &bundle, port);
    until("a frame", || server_status(port).filter(|status| count(status, "detected") > 0));
    let serve = format!("[serve]\nurl = \"http://127.0.0.1:{port}\"\ntoken = \"a token\"\n");
    let _stable = site.agent("stable", "champion", &serve);
    until("the stable device's health", || site.healthy_with("stable").filter(|b| *b == first));

    site.commit("a better model");
    let second = until("the second bundle", || site.named("candidate").filter(|b| *b != first));
    until("the canary's second health", || site.healthy_with("canary").filter(|b| *b == second));
    let before = server_status(port).expect("it serves");
    assert_eq!(before["model"]["bundle"]["digest"], *first);
    until("the second promotion", || site.promote("1").then_some(()));
    until("the stable device's second health", || {
        site.healthy_with("stable").filter(|b| *b == second)
    });
    let swapped = server_status(port).expect("it serves");
    assert_eq!(swapped["model"]["bundle"]["digest"], *second);
    let after = until("more frames", || {
        let looked_at = count(&swapped, "detected") + 3;
        server_status(port).filter(|status| count(status, "detected") > looked_at)
    });
    assert_eq!(after["sources"][0]["state"], "live");
    assert_eq!(count(&after, "restarts"), 0);
    assert_eq!(count(&after, "rejected"), 0);
    // Every frame that came was looked at, but for those that are on their way.
    let lost = count(&after, "received") - count(&after, "detected");
    assert!(lost <= 2, "{after}");
    assert_eq!(count(&after, "dropped"), 0, "{after}");
}
