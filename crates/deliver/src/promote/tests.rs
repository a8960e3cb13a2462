use super::*;
use crate::package::{Form, push, tests::seal};
use crate::status::Running;
use crate::store::{Access, Location};
use crate::{KeyFiles, Passphrase, SigningKey, keygen};
use tempfile::TempDir;

/// A repository with a bundle in `candidate`, and devices with keys of their own.
struct Fleet {
    folder: TempDir,
    manifest: Digest,
}

impl Fleet {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let bundle = seal(&folder.path().join("bundle"), b"model");
        let store = store(&folder);
        let manifest = push(&*store, &bundle, "candidate", Form::ModelPack, &mut |_| {});
        std::fs::create_dir(folder.path().join("keys")).expect("a folder");
        Self { manifest: manifest.expect("pushed"), folder }
    }

    fn key(&self, name: &str) -> SigningKey {
        let files = KeyFiles {
            public: self.folder.path().join(format!("keys/{name}.pub")),
            secret: self.folder.path().join(format!("{name}.key")),
        };
        if !files.secret.exists() {
            keygen(&files, &Passphrase::None).expect("keys");
        }
        SigningKey::read(&files.secret, &Passphrase::None).expect("a key")
    }

    fn reports(&self, device: &str, change: impl FnOnce(&mut Status)) {
        self.reports_under(device, &self.key(device), change);
    }

    fn reports_under(&self, device: &str, key: &SigningKey, change: impl FnOnce(&mut Status)) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
        let running = Running {
            name: "boards".to_owned(),
            version: 7,
            manifest: Some(self.manifest),
            bundle: Digest::of(b"bundle"),
        };
        let mut status = Status {
            yoloslim_status: 1,
            device: device.to_owned(),
            time_s: now,
            alias: "candidate".to_owned(),
            running: Some(running),
            healthy: true,
            probation: false,
            wanted: Some(self.manifest),
            failed: None,
            rollbacks: 0,
            last_success_s: Some(now),
            free_bytes: Some(1),
            error: None,
            program: "0".to_owned(),
        };
        change(&mut status);
        status::push(&*store(&self.folder), &status, key).expect("pushed");
    }

    fn promote(&self, healthy: usize, despite_rollbacks: bool) -> Promotion {
        let keys = PublicKeys::read(&self.folder.path().join("keys")).expect("keys");
        let terms = Terms { from: "candidate", to: "champion", healthy, despite_rollbacks };
        promote(&*store(&self.folder), &terms, Some(&keys)).expect("judged")
    }

    fn champion(&self) -> Option<Digest> {
        store(&self.folder).digest_of_tag("champion").expect("asked")
    }
}

fn store(folder: &TempDir) -> Box<dyn Store> {
    Location::folder(&folder.path().join("store")).open(&Access::default()).expect("a folder")
}

fn meanings(promotion: &Promotion) -> Vec<Meaning> {
    promotion.devices.iter().map(|device| device.meaning).collect()
}

#[test]
fn alias_moves_once_enough_devices_report_the_very_bundle_healthy() {
    let fleet = Fleet::new();
    fleet.reports("a", |_| {});
    let promotion = fleet.promote(2, false);
    assert_eq!((promotion.healthy, promotion.promoted, fleet.champion()), (1, false, None));
    assert!(promotion.refused.expect("refused").contains("1 devices"));
    fleet.reports("b", |_| {});
    assert!(fleet.promote(2, false).promoted);
    assert_eq!(fleet.champion(), Some(fleet.manifest));
}

#[test]
fn reports_that_say_less_do_not_count() {
    let fleet = Fleet::new();
    let other = Some(Digest::of(b"another"));
    fleet.reports("a", |status| status.running.as_mut().expect("some").manifest = other);
    fleet.reports("b", |status| (status.healthy, status.probation) = (false, true));
    fleet.reports("c", |status| status.running = None);
    fleet.reports("d", |status| status.time_s -= OLDEST_S + 60);
    fleet.reports("e", |_| {});
    fleet.reports_under("f", &fleet.key("e"), |_| {});
    let promotion = fleet.promote(2, false);
    let waiting = Meaning::Waiting;
    assert_eq!(
        meanings(&promotion),
        [waiting, waiting, waiting, Meaning::Stale, Meaning::Healthy, Meaning::SameKey]
    );
    assert!(!promotion.promoted);
}

#[test]
fn device_on_which_it_failed_holds_it_back_however_long_ago() {
    for stage in [Stage::RolledBack, Stage::WarmUp] {
        let fleet = Fleet::new();
        fleet.reports("a", |_| {});
        fleet.reports("b", |status| {
            let (manifest, why) = (fleet.manifest, "boxes differ".to_owned());
            status.failed = Some(Failed { manifest, stage, why });
            status.time_s -= 10 * OLDEST_S;
        });
        let promotion = fleet.promote(1, false);
        assert_eq!(meanings(&promotion), [Meaning::Healthy, Meaning::Failed]);
        assert!(!promotion.promoted && promotion.devices[1].why.contains("boxes differ"));
        assert!(fleet.promote(1, true).promoted);
    }
}

#[test]
fn report_that_a_stranger_signed_or_that_was_moved_is_not_believed() {
    let fleet = Fleet::new();
    let stranger = fleet.key("stranger");
    std::fs::remove_file(fleet.folder.path().join("keys/stranger.pub")).expect("removed");
    fleet.reports("known", |status| status.healthy = false);
    fleet.reports_under("a", &stranger, |_| {});
    // The report of one device under the name of another.
    fleet.reports("b", |_| {});
    let store = store(&fleet.folder);
    let report = store.manifest_of_tag("status-b").expect("asked").expect("there");
    store.push_manifest("status-c", &report).expect("pushed");
    // A bundle under a report's name.
    let bundle = store.manifest_of_tag("candidate").expect("asked").expect("there");
    store.push_manifest("status-d", &bundle).expect("pushed");
    let promotion = fleet.promote(2, false);
    let unbelieved = Meaning::Unbelieved;
    assert_eq!(
        meanings(&promotion),
        [unbelieved, Meaning::Healthy, unbelieved, unbelieved, Meaning::Waiting]
    );
    assert!(!promotion.promoted);
}

#[test]
fn stock_minisign_verifies_a_report() {
    let minisign = std::process::Command::new("minisign").arg("-v").output();
    if minisign.is_err() {
        println!("skipped: minisign is not installed");
        return;
    }
    let fleet = Fleet::new();
    fleet.reports("a", |_| {});
    let store = store(&fleet.folder);
    let report = store.manifest_of_tag("status-a").expect("asked").expect("there");
    let report: serde_json::Value = serde_json::from_slice(&report.bytes).expect("JSON");
    let path = |name: &str| fleet.folder.path().join(name);
    for (layer, name) in [(0, "report"), (1, "report.minisig")] {
        let digest = report["layers"][layer]["digest"].as_str().expect("a digest");
        let blob = path("store/blobs/sha256").join(&digest["sha256:".len()..]);
        std::fs::copy(blob, path(name)).expect("copied");
    }
    let verified = std::process::Command::new("minisign")
        .args(["-V", "-m"])
        .arg(path("report"))
        .arg("-p")
        .arg(path("keys/a.pub"))
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&verified.stdout);
    assert!(verified.status.success() && said.contains("yoloslim status a sha256:"), "{said}");
}
