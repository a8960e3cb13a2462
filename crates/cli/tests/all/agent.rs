//! `agent` and `promote` as they are typed, with a layout folder as the registry, and killed in the middle of everything.
use crate::support;
use crate::support::bundle::manifest;
use crate::support::schema::breaches;
use crate::support::{json, refuses, stderr, yoloslim};
use deliver::bundle::{Bundle, FileRole};
use deliver::package::{Form, push};
use deliver::store::{Access, Location};
use deliver::{Digest, KeyFiles, Passphrase, PublicKeys, SigningKey, keygen};
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::Duration;
use tempfile::TempDir;

/// A repository, keys, and the settings of one device.
struct Site {
    folder: TempDir,
    key: SigningKey,
}

impl Site {
    /// `warm_up` is what a shell does with the bundle's folder, `$1`.
    fn new(warm_up: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in ["maker", "device"] {
            let files = KeyFiles {
                public: folder.path().join(format!("{name}.pub")),
                secret: folder.path().join(format!("{name}.key")),
            };
            keygen(&files, &Passphrase::None).unwrap();
        }
        let settings = format!(
            "device = \"cam-1\"\nsource = \"oci:store:candidate\"\nkeys = \"maker.pub\"\nstate = \"state\"\n\
             device_key = \"device.key\"\nmetrics_file = \"agent.prom\"\npoll_s = 0.1\nprobation_s = 0\n\
             [warm_up]\ncommand = [\"sh\", \"-c\", '''{warm_up}''', \"sh\", \"{{bundle}}\"]\n"
        );
        fs::write(folder.path().join("agent.toml"), settings).unwrap();
        let key = SigningKey::read(&folder.path().join("maker.key"), &Passphrase::None).unwrap();
        Self { folder, key }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn arg(&self, name: &str) -> String {
        support::text(self.path(name))
    }

    /// Lets the alias name a bundle with this model; gives the digest of its manifest.
    fn publish(&self, model: &[u8], version: u64) -> Digest {
        let made = tempfile::tempdir().unwrap();
        let name = "models/builtin.onnx".to_owned();
        fs::create_dir(made.path().join("models")).unwrap();
        fs::write(made.path().join(&name), model).unwrap();
        let bundle = Bundle::seal(made.path(), manifest(), [(name, FileRole::Model)]).unwrap();
        bundle.sign(&self.key, version).unwrap();
        let store = Location::folder(&self.path("store")).open(&Access::default()).unwrap();
        push(&*store, &bundle, "candidate", Form::ModelPack, &mut |_| {}).unwrap()
    }

    /// The version in use, of a bundle that is proved to be whole; 0 for none.
    fn version(&self) -> u64 {
        let current = self.path("state/current");
        if !current.is_symlink() {
            return 0;
        }
        let bundle = Bundle::open(&current).expect("what is in use is whole");
        bundle.verify(&PublicKeys::read(&self.path("maker.pub")).unwrap()).unwrap().version
    }

    fn once(&self) -> std::process::Output {
        yoloslim(&["agent", "run", &self.arg("agent.toml"), "--once"])
    }

    fn status(&self) -> serde_json::Value {
        let out = self.arg("status.json");
        support::accepts(&["agent", "status", &self.arg("state"), "--json", &out]);
        let status = json(&out);
        let breaches = breaches(&status, "agent-status.json");
        assert!(breaches.is_empty(), "{}", breaches.join("\n"));
        status
    }

    /// A command that runs the agent.
    fn agent(&self, before: &[&str], after: &[&str]) -> Command {
        let agent = [env!("CARGO_BIN_EXE_yoloslim"), "agent", "run"];
        let words = [before, &agent[..]].concat();
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).arg(self.path("agent.toml")).args(after);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command
    }
}

#[test]
fn agent_converges_reports_and_is_promoted() {
    let site = Site::new("! grep -q bad \"$1/models/builtin.onnx\"");
    let good = site.publish(b"good", 1);
    let once = site.arg("once.json");
    support::accepts(&["agent", "run", &site.arg("agent.toml"), "--once", "--json", &once]);
    let status = site.status();
    assert_eq!(json(&once), status);
    assert_eq!(status["healthy"], true);
    assert_eq!(status["at_work"], false);
    assert_eq!(status["running"]["manifest"], good.to_string());
    let metrics = fs::read_to_string(site.path("agent.prom")).unwrap();
    for line in [
        "yoloslim_agent_healthy 1.0",
        "yoloslim_agent_rollbacks_total 0",
        "yoloslim_agent_on_alias 1.0",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line}: {metrics}");
    }
    fs::create_dir(site.path("devices")).unwrap();
    fs::copy(site.path("device.pub"), site.path("devices/cam-1.pub")).unwrap();
    let store = format!("oci:{}:candidate", site.arg("store"));
    let devices = site.arg("devices");
    let promote = |healthy: &str| {
        let args = ["promote", &store, "--to", "champion", "--devices", &devices];
        yoloslim(&[&args[..], &["--healthy", healthy]].concat())
    };
    let out = promote("2");
    assert_eq!(out.status.code(), Some(1), "{}", stderr(&out));
    assert!(String::from_utf8_lossy(&out.stdout).contains("status-cam-1"));
    assert!(promote("1").status.success());
    let out = site.arg("promoted.json");
    let args = ["promote", &store, "--to", "champion", "--devices", &devices, "--json", &out];
    support::accepts(&args);
    let breaches = breaches(&json(&out), "promote.json");
    assert!(breaches.is_empty(), "{}", breaches.join("\n"));
    // One that fails its warm-up is not taken, and goes no further.
    site.publish(b"bad", 2);
    let out = site.once();
    assert_eq!(out.status.code(), Some(1), "{}", stderr(&out));
    assert_eq!(site.version(), 1);
    let out = promote("0");
    assert_eq!(out.status.code(), Some(1), "{}", stderr(&out));
    assert!(stderr(&out).contains("failed on 1 device"), "{}", stderr(&out));
}

#[test]
fn agent_with_settings_that_cannot_work_says_why() {
    let site = Site::new("true");
    let once = site.arg("once.json");
    refuses(&["agent", "run", &site.arg("none.toml")], &["none.toml"]);
    refuses(&["agent", "status", &site.arg("agent.toml")], &["report.json"]);
    fs::write(site.path("wrong.toml"), "source = 1\n").unwrap();
    refuses(&["agent", "run", &site.arg("wrong.toml")], &["wrong.toml", "line 1"]);
    refuses(&["agent", "run", &site.arg("agent.toml"), "--once"], &["store"]);
    refuses(&["agent", "run", &site.arg("agent.toml"), "--json", &once], &["--once"]);
    refuses(&["promote", "oci:x:y", "--to", "z"], &["--devices"]);
}

#[test]
fn agent_ends_well_when_told_to_and_holds_its_folder_until_then() {
    let site = Site::new("true");
    site.publish(b"one", 1);
    let mut agent = site.agent(&[], &[]).spawn().unwrap();
    while !site.path("state/report.json").exists() || site.status()["healthy"] != true {
        sleep(Duration::from_millis(10));
    }
    assert_eq!(site.status()["at_work"], true);
    refuses(&["agent", "run", &site.arg("agent.toml"), "--once"], &["in use by another agent"]);
    site.publish(b"two", 2);
    while site.version() != 2 {
        sleep(Duration::from_millis(10));
    }
    assert!(Command::new("kill").arg(agent.id().to_string()).status().unwrap().success());
    assert!(agent.wait().unwrap().success());
}

/// Whether the agent was killed, rather than ended by itself.
fn was_killed(status: ExitStatus) -> bool {
    status.signal() == Some(9) || status.code() == Some(128 + 9)
}

/// The system calls by which the agent changes files, starts programs and tells of it.
const CALLS: [&str; 12] = [
    "openat",
    "write",
    "fsync",
    "rename",
    "link,linkat",
    "symlink,symlinkat",
    "unlink",
    "rmdir",
    "mkdir",
    "flock",
    "clone3,clone,vfork",
    "wait4,waitid",
];

/// Kills the agent at each of its system calls in turn, by strace, while it takes a bundle; `bad` ones fail once they are in use.
fn kill_at_every_call(bad: bool) {
    let traced = Command::new("strace").args(["-o", "/dev/null", "true"]).status();
    if !traced.is_ok_and(|status| status.success()) {
        println!("skipped: an agent killed at every system call (no strace)");
        return;
    }
    let site = Site::new(
        "[ \"$(readlink -f $1/../current)\" != \"$1\" ] || ! grep -q bad \"$1/models/builtin.onnx\"",
    );
    let (mut kills, mut version) = (0, 1);
    site.publish(b"good", version);
    assert!(site.once().status.success());
    for calls in CALLS {
        for nth in 1.. {
            let before = site.version();
            version += 1;
            let model = format!("{} {version}", if bad { "bad" } else { "good" });
            site.publish(model.as_bytes(), version);
            let inject = format!("inject=?{}:signal=KILL:when={nth}", calls.replace(',', ",?"));
            let strace = ["strace", "-qq", "-o", "/dev/null", "-e", &inject];
            let status = site.agent(&strace, &["--once"]).status().unwrap();
            let found = site.version();
            assert!([before, version].contains(&found), "{calls} {nth}: {found} of {version}");
            let expected = if bad { before } else { version };
            let again = site.once();
            assert_eq!(again.status.success(), !bad, "{calls} {nth}: {}", stderr(&again));
            assert_eq!(site.version(), expected, "{calls} {nth}: {}", stderr(&again));
            if !was_killed(status) {
                break;
            }
            kills += 1;
        }
    }
    assert!(kills > 50, "{kills} kills");
    let status = site.status();
    assert_eq!(status["healthy"], true);
    assert_eq!(status["probation"], false);
}

#[test]
fn agent_killed_at_any_system_call_of_an_update_has_the_old_or_the_new() {
    kill_at_every_call(false);
}

#[test]
fn agent_killed_at_any_system_call_of_a_rollback_has_the_old_or_the_new() {
    kill_at_every_call(true);
}
