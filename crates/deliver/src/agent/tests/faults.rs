//! What may be wrong with a package, a registry or a disk.
use super::{Bench, Outcome, Stage, make_key};
use crate::DeliverError;
use crate::agent::files::{Disk, Files};
use crate::agent::last_report;
use crate::bundle::Bundle;
use std::fs;
use std::io::{self, Write};
use std::path::Path;

/// Refuses what the alias names, and goes on with version 2.
fn refused(bench: &Bench, why: &str) {
    let outcome = bench.agent().converge().expect("converged");
    let Outcome::Failed(failed) = outcome else { panic!("it was taken: {outcome:?}") };
    assert_eq!(failed.stage, Stage::Refused);
    assert!(failed.why.contains(why), "{}", failed.why);
    assert_eq!(bench.version(), 2);
    assert!(last_report(&bench.settings.state).expect("reported").status.healthy);
}

fn with_version_two() -> Bench {
    let bench = Bench::new();
    bench.publish(b"one", 2);
    bench.agent().converge().expect("converged");
    bench
}

#[test]
fn package_of_a_stranger_is_refused_until_its_key_is_trusted() {
    let mut bench = with_version_two();
    let folder = bench.path("others");
    fs::create_dir(&folder).expect("a folder");
    let stranger = make_key(&folder, "stranger");
    bench.publish_with(b"three", 3, &stranger);
    refused(&bench, "none of the trusted ones");
    fs::copy(&bench.settings.keys, folder.join("maker.pub")).expect("copied");
    bench.settings.keys = folder;
    assert_eq!(bench.agent().converge().expect("converged"), Outcome::Installed);
}

#[test]
fn older_version_and_another_bundle_of_the_same_version_are_refused() {
    let bench = with_version_two();
    bench.publish(b"older", 1);
    refused(&bench, "lower than 2");
    bench.publish(b"other", 2);
    refused(&bench, "version 2 is");
    // To go back is to sign the older one as a new version.
    bench.publish(b"one", 3);
    assert_eq!(bench.agent().converge().expect("converged"), Outcome::Installed);
    assert_eq!(bench.version(), 3);
}

#[test]
fn version_that_was_taken_back_is_not_followed_by_a_lower_one() {
    let mut bench = with_version_two();
    bench.settings.warm_up = super::refuses_in_use(&bench.settings.state);
    bench.publish(b"bad", 9);
    assert!(matches!(bench.agent().converge(), Ok(Outcome::Failed(_))));
    bench.publish(b"replayed", 5);
    refused(&bench, "lower than 9");
}

#[test]
fn package_without_a_model_for_this_device_is_refused() {
    let mut bench = with_version_two();
    bench.publish(b"three", 3);
    bench.settings.target = "npu".to_owned();
    let outcome = bench.agent().converge().expect("converged");
    let Outcome::Failed(failed) = outcome else { panic!("it was taken: {outcome:?}") };
    assert!(failed.why.contains("npu") && failed.why.contains("builtin"), "{}", failed.why);
}

#[test]
fn registry_that_gives_other_bytes_is_not_believed() {
    let bench = with_version_two();
    let three = bench.path("three");
    crate::package::tests::seal(&three, b"three");
    bench.publish(b"three", 3);
    let entry = Bundle::open(&three).expect("whole").manifest.files["models/builtin.onnx"];
    let blob = bench.path("store/blobs/sha256").join(entry.digest.hex());
    for bytes in [&b"THREE"[..], b"thr", b"three and more"] {
        fs::write(&blob, bytes).expect("written");
        let error = bench.agent().converge().expect_err("refused");
        assert!(!matches!(error, DeliverError::Write { .. }), "{error}");
        assert_eq!(bench.version(), 2);
    }
    fs::write(&blob, b"three").expect("written");
    assert_eq!(bench.agent().converge().expect("converged"), Outcome::Installed);
}

#[test]
fn download_that_was_torn_is_begun_again() {
    let bench = with_version_two();
    let three = bench.path("three");
    crate::package::tests::seal(&three, b"three");
    bench.publish(b"three", 3);
    let entry = Bundle::open(&three).expect("whole").manifest.files["models/builtin.onnx"];
    for torn in [&b"xx"[..], b"thr", b"xxxxx", b"much longer than it is"] {
        let partial = format!("state/downloads/sha256/{}.partial", entry.digest.hex());
        fs::write(bench.path(&partial), torn).expect("written");
        // The slot is whole already on the second turn, and would be used again.
        let _ = fs::remove_dir_all(bench.path("state/b"));
        bench.agent().converge().expect("converged");
        assert_eq!(bench.version(), 3);
        fs::remove_file(bench.path("state/current")).expect("removed");
        std::os::unix::fs::symlink("a", bench.path("state/current")).expect("a link");
        fs::remove_file(bench.path("state/state.json")).expect("removed");
    }
}

#[test]
fn registry_that_is_away_leaves_the_device_as_it_is() {
    let bench = with_version_two();
    fs::rename(bench.path("store"), bench.path("away")).expect("moved");
    let mut agent = bench.agent();
    for _ in 0..3 {
        agent.converge().expect_err("nobody answers");
        assert_eq!(bench.version(), 2);
    }
    let status = last_report(&bench.settings.state).expect("reported").status;
    assert!(status.healthy && status.error.is_some());
    fs::rename(bench.path("away"), bench.path("store")).expect("moved");
    bench.publish(b"three", 3);
    assert_eq!(agent.converge().expect("converged"), Outcome::Installed);
}

#[test]
fn state_that_is_damaged_or_gone_is_made_of_what_the_slots_hold() {
    let bench = with_version_two();
    bench.publish(b"three", 3);
    bench.agent().converge().expect("converged");
    let state = bench.path("state/state.json");
    for damage in [Some(&b"{\"yolo"[..]), Some(b""), Some(b"{\"yoloslim_agent\": 9}"), None] {
        match damage {
            Some(bytes) => fs::write(&state, bytes).expect("written"),
            None => fs::remove_file(&state).expect("removed"),
        }
        bench.told.lock().expect("not poisoned").clear();
        let mut agent = bench.agent();
        assert!(bench.all_told().contains("made anew"), "{}", bench.all_told());
        agent.converge().expect("converged");
        assert_eq!(bench.version(), 3);
        assert!(last_report(&bench.settings.state).expect("reported").status.healthy);
    }
    // The highest version is known again too.
    bench.publish(b"older", 1);
    let outcome = bench.agent().converge().expect("converged");
    assert!(matches!(outcome, Outcome::Failed(failed) if failed.why.contains("lower than 3")));
}

#[test]
fn bundle_in_use_that_a_disk_has_damaged_is_left_for_the_other_one() {
    let bench = with_version_two();
    bench.publish(b"three", 3);
    bench.agent().converge().expect("converged");
    // Not written over: other names of the same file would change with it.
    let model = bench.path("state/b/models/builtin.onnx");
    fs::remove_file(&model).expect("removed");
    fs::write(&model, b"thre3").expect("written");
    let mut agent = bench.agent();
    assert_eq!(bench.version(), 2, "{}", bench.all_told());
    assert_eq!(agent.converge().expect("converged"), Outcome::Installed);
    assert_eq!(bench.version(), 3);
}

#[test]
fn folder_is_of_one_agent_at_a_time() {
    let bench = with_version_two();
    let first = bench.agent();
    let second = bench.agent_with(Box::new(Disk));
    assert!(matches!(second.err(), Some(DeliverError::Locked { .. })));
    drop(first);
    bench.agent();
}

/// A disk that has no room, or none after some bytes.
#[derive(Debug)]
struct Full {
    free_bytes: u64,
    room_bytes: usize,
}

impl Files for Full {
    fn create_folder(&self, path: &Path) -> io::Result<()> {
        Disk.create_folder(path)
    }
    fn write<'a>(&'a self, path: &Path, from_end: bool) -> io::Result<Box<dyn Write + 'a>> {
        let file = Disk.write(path, from_end)?;
        Ok(Box::new(FullWriter { file, room: self.room_bytes }))
    }
    fn sync(&self, path: &Path) -> io::Result<()> {
        Disk.sync(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        Disk.rename(from, to)
    }
    fn hard_link(&self, _from: &Path, _to: &Path) -> io::Result<()> {
        // As on a card with FAT.
        Err(io::ErrorKind::PermissionDenied.into())
    }
    fn symlink(&self, target: &Path, path: &Path) -> io::Result<()> {
        Disk.symlink(target, path)
    }
    fn remove_file(&self, path: &Path) -> io::Result<()> {
        Disk.remove_file(path)
    }
    fn remove_folder(&self, path: &Path) -> io::Result<()> {
        Disk.remove_folder(path)
    }
    fn free_bytes(&self, _path: &Path) -> io::Result<u64> {
        Ok(self.free_bytes)
    }
}

struct FullWriter<'a> {
    file: Box<dyn Write + 'a>,
    room: usize,
}

impl Write for FullWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() > self.room {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.room -= bytes.len();
        self.file.write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn disk_without_room_leaves_the_device_as_it_is() {
    let bench = with_version_two();
    bench.publish(b"three", 3);
    for (free_bytes, room_bytes) in [(1000, usize::MAX), (u64::MAX, 3), (u64::MAX, 0)] {
        let full = Full { free_bytes, room_bytes };
        let error = bench.agent_with(Box::new(full)).expect("it starts").converge();
        let error = error.expect_err("there is no room");
        let told = matches!(error, DeliverError::Space { .. } | DeliverError::Write { .. });
        assert!(told, "{error}");
        assert_eq!(bench.version(), 2);
    }
    // With room, but without second names of files, they are copied.
    let roomy = Full { free_bytes: u64::MAX, room_bytes: usize::MAX };
    bench.agent_with(Box::new(roomy)).expect("it starts").converge().expect("converged");
    assert_eq!(bench.version(), 3);
}
