//! The agent with a layout folder as its registry, and programs and servers that do what a test wants.
mod faults;
mod power;
mod power_cuts;
mod probation;

use super::files::{Disk, Files};
use super::{Agent, AgentSettings, Outcome, Pulse, ServeSettings, WarmUpSettings};
use crate::bundle::Bundle;
use crate::package::{Form, push};
use crate::status::Stage;
use crate::store::{Access, Location, Store};
use crate::{DeliverError, Digest, KeyFiles, Passphrase, PublicKeys, SigningKey, keygen};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;

/// A repository, a key, and a device.
pub(super) struct Bench {
    folder: TempDir,
    pub(super) key: SigningKey,
    pub(super) settings: AgentSettings,
    /// What the agent told.
    pub(super) told: Arc<Mutex<Vec<String>>>,
}

impl Bench {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        let key = make_key(folder.path(), "maker");
        make_key(folder.path(), "device");
        let settings = AgentSettings {
            device: "cam-1".to_owned(),
            source: Location::folder(&path("store")),
            alias: "candidate".to_owned(),
            access: Access::default(),
            keys: path("maker.pub"),
            state: path("state"),
            target: "builtin".to_owned(),
            poll: Duration::from_millis(50),
            probation: Duration::ZERO,
            device_key: None,
            metrics_file: None,
            serve: None,
            warm_up: shell("true"),
        };
        Self { folder, key, settings, told: Arc::default() }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(super) fn store(&self) -> Box<dyn Store> {
        self.settings.source.open(&Access::default()).expect("a folder")
    }

    /// Makes a bundle and lets the alias name it; gives the digest of its manifest.
    pub(super) fn publish(&self, model: &[u8], version: u64) -> Digest {
        self.publish_with(model, version, &self.key)
    }

    pub(super) fn publish_with(&self, model: &[u8], version: u64, key: &SigningKey) -> Digest {
        let made = tempfile::tempdir().expect("a folder");
        let bundle = crate::package::tests::seal(made.path(), model);
        bundle.sign(key, version).expect("signed");
        push(&*self.store(), &bundle, "candidate", Form::ModelPack, &mut |_| {}).expect("pushed")
    }

    /// Gives what the alias names another tag as well.
    pub(super) fn name_again(&self, tag: &str) {
        let manifest = self.store().manifest_of_tag("candidate").expect("asked").expect("named");
        self.store().push_manifest(tag, &manifest).expect("named");
    }

    pub(super) fn agent(&self) -> Agent {
        self.agent_with(Box::new(Disk)).expect("it starts")
    }

    pub(super) fn agent_with(&self, files: Box<dyn Files>) -> Result<Agent, DeliverError> {
        let told = Arc::clone(&self.told);
        let tell = move |text: &str| told.lock().expect("not poisoned").push(text.to_owned());
        Agent::with(self.settings.clone(), files, Arc::new(Pulse::default()), Box::new(tell))
    }

    /// The bundle that is in use, proved to be whole.
    pub(super) fn in_use(&self) -> Option<Bundle> {
        let current = self.path("state/current");
        current.is_symlink().then(|| Bundle::open(&current).expect("it is whole"))
    }

    /// The version that is in use; 0 for none.
    pub(super) fn version(&self) -> u64 {
        let keys = PublicKeys::read(&self.settings.keys).expect("keys");
        self.in_use().map_or(0, |bundle| bundle.verify(&keys).expect("signed").version)
    }

    pub(super) fn all_told(&self) -> String {
        self.told.lock().expect("not poisoned").join("\n")
    }
}

pub(super) fn make_key(folder: &Path, name: &str) -> SigningKey {
    let files = KeyFiles {
        public: folder.join(format!("{name}.pub")),
        secret: folder.join(format!("{name}.key")),
    };
    keygen(&files, &Passphrase::None).expect("keys");
    SigningKey::read(&files.secret, &Passphrase::None).expect("a key")
}

/// A program that a script stands for; `$1` in it is the bundle's folder.
pub(super) fn shell(script: &str) -> WarmUpSettings {
    WarmUpSettings {
        program: "sh".into(),
        arguments: vec!["-c".into(), script.into(), "sh".into(), "{bundle}".into()],
        timeout: Duration::from_secs(60),
    }
}

/// A program that refuses a model with the word `bad` in it, but only once the bundle is in use.
pub(super) fn refuses_in_use(state: &Path) -> WarmUpSettings {
    // By the shell alone: some tests run it thousands of times.
    shell(&format!(
        "read -r word < \"$1/models/builtin.onnx\"; [ ! {}/current -ef \"$1\" ] || case $word in bad*) exit 1;; esac",
        state.display()
    ))
}

#[test]
fn agent_takes_what_its_alias_names_and_then_has_nothing_to_do() {
    let bench = Bench::new();
    let first = bench.publish(b"one", 1);
    let mut agent = bench.agent();
    assert_eq!(agent.converge().expect("converged"), Outcome::Installed);
    assert_eq!(agent.converge().expect("converged"), Outcome::UpToDate);
    let second = bench.publish(b"two", 2);
    assert_eq!(agent.converge().expect("converged"), Outcome::Installed);
    assert_eq!(bench.version(), 2);
    assert_ne!(first, second);
    let report = super::last_report(&bench.settings.state).expect("reported");
    assert!(report.at_work && report.status.healthy);
    assert_eq!(report.status.running.and_then(|running| running.manifest), Some(second));
    // What is no longer needed does not stay.
    let downloads = fs::read_dir(bench.path("state/downloads/sha256")).expect("a folder");
    assert_eq!(downloads.count(), 0);
}

#[test]
fn files_that_a_slot_has_already_are_not_fetched_again() {
    let bench = Bench::new();
    bench.publish(b"one", 1);
    bench.agent().converge().expect("converged");
    bench.publish(b"two", 2);
    // Only what is new is still there to be fetched.
    let state = bench.path("state/a");
    for entry in Bundle::open(&state).expect("whole").manifest.files.values() {
        let _ = fs::remove_file(bench.path("store/blobs/sha256").join(entry.digest.hex()));
    }
    assert_eq!(bench.agent().converge().expect("converged"), Outcome::Installed);
    assert_eq!(bench.version(), 2);
}

#[test]
fn bundle_that_fails_once_it_is_in_use_is_taken_back_and_not_tried_again() {
    let mut bench = Bench::new();
    bench.settings.warm_up = refuses_in_use(&bench.settings.state);
    bench.publish(b"good", 1);
    let mut agent = bench.agent();
    agent.converge().expect("converged");
    let bad = bench.publish(b"bad", 2);
    for _ in 0..2 {
        let Outcome::Failed(failed) = agent.converge().expect("converged") else {
            panic!("it was taken")
        };
        assert_eq!((failed.manifest, failed.stage), (bad, Stage::RolledBack));
        assert_eq!(bench.version(), 1);
    }
    let status = super::last_report(&bench.settings.state).expect("reported").status;
    assert_eq!((status.rollbacks, status.healthy), (1, true), "what it reports is what runs");
    assert_eq!(status.running.map(|running| running.version), Some(1));
    // A better one is taken, and a late agent of another process knows all of it.
    drop(agent);
    bench.publish(b"better", 3);
    assert_eq!(bench.agent().converge().expect("converged"), Outcome::Installed);
    assert_eq!(bench.version(), 3);
}

#[test]
fn bundle_that_fails_in_the_warm_up_is_never_in_use() {
    let mut bench = Bench::new();
    bench.settings.warm_up = shell("! grep -q bad \"$1/models/builtin.onnx\"");
    bench.publish(b"good", 1);
    let mut agent = bench.agent();
    agent.converge().expect("converged");
    let bad = bench.publish(b"bad", 2);
    let outcome = agent.converge().expect("converged");
    let Outcome::Failed(failed) = outcome else { panic!("it was taken: {outcome:?}") };
    assert_eq!((failed.manifest, failed.stage), (bad, Stage::WarmUp));
    assert_eq!(bench.version(), 1);
    let status = super::last_report(&bench.settings.state).expect("reported").status;
    assert_eq!((status.rollbacks, status.healthy), (0, true));
}

#[test]
fn first_bundle_that_fails_in_use_stays_and_is_reported_until_a_better_one_comes() {
    let mut bench = Bench::new();
    bench.settings.warm_up = refuses_in_use(&bench.settings.state);
    bench.publish(b"bad", 1);
    let mut agent = bench.agent();
    for _ in 0..2 {
        assert!(matches!(agent.converge(), Ok(Outcome::Failed(_))));
        assert_eq!(bench.version(), 1, "there is nothing to go back to");
        let status = super::last_report(&bench.settings.state).expect("reported").status;
        assert_eq!((status.healthy, status.probation, status.rollbacks), (false, false, 1));
    }
    bench.publish(b"good", 2);
    assert_eq!(agent.converge().expect("converged"), Outcome::Installed);
    // What failed is nothing to go back to either.
    bench.publish(b"bad again", 3);
    assert!(matches!(agent.converge(), Ok(Outcome::Failed(_))));
    assert_eq!(bench.version(), 2);
}

#[test]
fn agent_at_work_follows_its_alias_until_told_to_stop() {
    let bench = Bench::new();
    bench.publish(b"one", 1);
    let mut agent = bench.agent();
    let pulse = agent.pulse();
    let at_work = std::thread::spawn(move || agent.run());
    for version in [1, 2] {
        while bench.version() != version {
            std::thread::sleep(Duration::from_millis(5));
        }
        bench.publish(b"two", 2);
    }
    pulse.stop();
    at_work.join().expect("it ends");
    assert!(bench.all_told().contains("up to date"), "{}", bench.all_told());
}

#[test]
fn device_sends_its_report_when_it_says_something_new() {
    let mut bench = Bench::new();
    bench.settings.device_key = Some(bench.path("device.key"));
    let keys = PublicKeys::read(&bench.path("device.pub")).expect("a key");
    let manifest = bench.publish(b"one", 1);
    let mut agent = bench.agent();
    agent.converge().expect("converged");
    let store = bench.store();
    let report = || store.digest_of_tag("status-cam-1").expect("asked");
    let first = report();
    let signed = crate::status::pull(&*store, "status-cam-1", &keys).expect("believed");
    let status = signed.expect("there").status;
    assert_eq!(status.running.and_then(|running| running.manifest), Some(manifest));
    assert!(status.healthy);
    agent.converge().expect("converged");
    assert_eq!(report(), first, "nothing new was said");
    bench.publish(b"two", 2);
    agent.converge().expect("converged");
    assert_ne!(report(), first);
}
