//! The run directory: whose it is, what every stage left there, and whether that can be used again.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use yolo::{is_partial, write_file};

use crate::CompressError;
use crate::digest::{file_digest, stage_key};

/// The file by which a run directory is known, and which a running command holds locked. The lock ends with its process.
const MARKER: &str = "yoloslim.run";
const MARKER_TEXT: &str = "A run of yoloslim: `compress --resume` goes on with it, `compress` removes its files and starts anew.\n";

/// The pruned model.
pub(crate) const PRUNED: &str = "pruned.onnx";
/// What pruning removed, where and why.
pub(crate) const PRUNE_PLAN: &str = "prune.plan.json";
/// The result.
pub(crate) const MODEL: &str = "model.onnx";
/// The parameters of every quantized tensor.
pub(crate) const QUANT_PLAN: &str = "quant.plan.json";
/// How the quantized model came about.
pub(crate) const QUANT_ACCOUNT: &str = "quant.account.json";
/// What TensorRT up to version 10 quantizes the pruned model by, at the top.
pub(crate) const CALIBRATION_CACHE: &str = "pruned.calibration.cache";
/// How a recovery stands, of an attempt.
pub(crate) const RECOVERY_STATE: &str = "recover.safetensors";
/// Models and plans, of an attempt and, of the last one, at the top.
pub(crate) const MODEL_FILES: [&str; 5] = [PRUNED, PRUNE_PLAN, MODEL, QUANT_PLAN, QUANT_ACCOUNT];
/// What lies at the top besides.
const TOP_FILES: [&str; 5] =
    ["recipe.toml", "metrics.json", "latency.json", "report.html", CALIBRATION_CACHE];

/// A folder in which a run keeps its stages, so that it can go on after an interruption.
#[derive(Debug)]
pub struct RunDir {
    path: PathBuf,
    /// Holds the lock.
    _marker: File,
    /// What this run wrote or used again, by name.
    used: Mutex<BTreeSet<String>>,
    /// What the stage at work has written.
    written: Mutex<Vec<String>>,
}

/// `stages/NAME.json`: a stage that is finished.
#[derive(Deserialize, Serialize)]
struct Finished<T> {
    /// Digest of all that the result depends on.
    key: String,
    /// Digests of the files that the stage wrote.
    files: BTreeMap<String, String>,
    result: T,
}

impl RunDir {
    /// Makes the folder a run's own, or takes one that is. With `resume` finished stages are used again; otherwise files
    /// of an earlier run are removed, and nothing else. Either way no verdict of before is left.
    ///
    /// # Errors
    /// `NotARun` for a folder that holds something else, `RunInUse` while another command works in it, `Write` when the
    /// folder cannot be made, locked or changed.
    pub fn create(path: &Path, resume: bool) -> Result<Self, CompressError> {
        fs::create_dir_all(path).map_err(|source| write_error(path, source))?;
        let run = Self::lock(path)?;
        let stale = |own: &Path| {
            let at_top = own.parent() == Some(path);
            let name = own.file_name().unwrap_or_default().to_string_lossy();
            !resume || at_top || is_partial(&name)
        };
        run.remove(stale)?;
        Ok(run)
    }

    /// A run that is there.
    ///
    /// # Errors
    /// As [`RunDir::create`]; `NotARun` for an empty folder too.
    pub fn open(path: &Path) -> Result<Self, CompressError> {
        if !Self::is_run(path) {
            return Err(CompressError::NotARun { path: path.to_owned() });
        }
        Self::lock(path)
    }

    /// Whether a run has a folder as its own.
    pub fn is_run(path: &Path) -> bool {
        path.join(MARKER).is_file()
    }

    fn lock(path: &Path) -> Result<Self, CompressError> {
        let failed = |source| write_error(path, source);
        if !Self::is_run(path) && fs::read_dir(path).map_err(failed)?.next().is_some() {
            return Err(CompressError::Occupied { path: path.to_owned() });
        }
        let mut options = OpenOptions::new();
        let options = options.read(true).append(true).create(true);
        let mut marker = options.open(path.join(MARKER)).map_err(failed)?;
        marker.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => CompressError::RunInUse { path: path.to_owned() },
            TryLockError::Error(source) => failed(source),
        })?;
        if marker.metadata().map_err(failed)?.len() == 0 {
            marker.write_all(MARKER_TEXT.as_bytes()).map_err(failed)?;
        }
        Ok(Self {
            path: path.to_owned(),
            _marker: marker,
            used: Mutex::default(),
            written: Mutex::default(),
        })
    }

    /// Files in a folder that belong to the run there; none where there is no run.
    pub fn own_files(path: &Path) -> Vec<PathBuf> {
        if !Self::is_run(path) {
            return vec![];
        }
        let listed = |folder: &Path| -> Vec<PathBuf> {
            let entries = fs::read_dir(folder).into_iter().flatten().flatten();
            let mut paths: Vec<PathBuf> = entries.map(|e| e.path()).collect();
            paths.sort();
            paths
        };
        // A link to a folder is not followed: what lies there is not the run's.
        let is_folder = |p: &Path| fs::symlink_metadata(p).is_ok_and(|m| m.is_dir());
        let mut files = Vec::new();
        for entry in listed(path) {
            if is_folder(&entry) {
                files.extend(listed(&entry).into_iter().filter(|p| !is_folder(p)));
            } else {
                files.push(entry);
            }
        }
        files.retain(|file| file.strip_prefix(path).is_ok_and(is_own));
        files
    }

    /// Whether a file in that folder, there or not, has a name of the run's own.
    pub fn owns(run: &Path, file: &Path) -> bool {
        let real = |path: &Path| fs::canonicalize(path).ok();
        let folder = file
            .parent()
            .map(|folder| if folder.as_os_str().is_empty() { Path::new(".") } else { folder });
        let inside = folder.and_then(real).zip(file.file_name());
        let relative = inside.zip(real(run)).and_then(|((folder, name), run)| {
            let relative = folder.join(name).strip_prefix(run).ok()?.to_owned();
            Some(relative)
        });
        relative.is_some_and(|relative| is_own(&relative) || relative == Path::new(MARKER))
    }

    /// Removes own files, and own folders that are empty then.
    fn remove(&self, which: impl Fn(&Path) -> bool) -> Result<(), CompressError> {
        for file in Self::own_files(&self.path) {
            if which(&file) {
                fs::remove_file(&file).map_err(|source| write_error(&file, source))?;
            }
        }
        let entries = fs::read_dir(&self.path).into_iter().flatten().flatten();
        for folder in entries.filter(|e| is_own_folder(&e.file_name().to_string_lossy())) {
            // A folder that holds something of somebody else stays.
            let _ = fs::remove_dir(folder.path());
        }
        Ok(())
    }

    /// Removes what an earlier run left that this one neither wrote nor used.
    ///
    /// # Errors
    /// `Write` when the system refuses.
    pub(crate) fn sweep(&self) -> Result<(), CompressError> {
        let used = guard(&self.used).clone();
        self.remove(|own| {
            let name = own.strip_prefix(&self.path).unwrap_or(own);
            !used.contains(&name.to_string_lossy().replace('\\', "/"))
        })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A file of the folder.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Writes a file of the folder; folders on the way are made.
    ///
    /// # Errors
    /// `Write` when the system refuses; nothing is left under that name.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<(), CompressError> {
        let path = self.file(name);
        let folder = path.parent().map_or(Ok(()), fs::create_dir_all);
        folder
            .and_then(|()| write_file(&path, bytes))
            .map_err(|source| write_error(&path, source))?;
        guard(&self.written).push(name.to_owned());
        guard(&self.used).insert(name.to_owned());
        Ok(())
    }

    /// Writes a record as JSON.
    ///
    /// # Errors
    /// As [`RunDir::write`].
    pub fn write_json(&self, name: &str, record: &impl Serialize) -> Result<(), CompressError> {
        let text = serde_json::to_string_pretty(record);
        let text = text.map_err(|error| write_error(&self.file(name), error.into()))?;
        self.write(name, text.as_bytes())
    }

    /// Reads a record.
    ///
    /// # Errors
    /// `Read` when it is not there, `Record` when it is none.
    pub fn read_json<T: DeserializeOwned>(&self, name: &str) -> Result<T, CompressError> {
        let path = self.file(name);
        let text = fs::read_to_string(&path);
        let text = text.map_err(|cause| CompressError::Read { path: path.clone(), cause })?;
        serde_json::from_str(&text)
            .map_err(|error| CompressError::Record { path, reason: error.to_string() })
    }

    /// Copies a file of the folder.
    ///
    /// # Errors
    /// `Read` and `Write` when the system refuses.
    pub(crate) fn copy(&self, from: &str, to: &str) -> Result<(), CompressError> {
        let path = self.file(from);
        let bytes = fs::read(&path).map_err(|cause| CompressError::Read { path, cause })?;
        self.write(to, &bytes)
    }

    /// The result of a stage: the one that is there, where it was made from the same inputs and its files are unchanged,
    /// else that of `work`. Files that `work` writes belong to the stage. `inputs` is all that the result depends on, large
    /// things by their digests.
    pub(crate) fn stage<T: Serialize + DeserializeOwned>(
        &self,
        name: &str,
        inputs: &impl Serialize,
        work: impl FnOnce() -> Result<T, CompressError>,
    ) -> Result<T, CompressError> {
        let key = stage_key(name, inputs)?;
        let record = format!("stages/{name}.json");
        let unchanged = |finished: &Finished<T>| {
            let same = |(file, digest): (&String, &String)| {
                file_digest(&self.file(file)).is_ok_and(|found| found == *digest)
            };
            finished.key == key && finished.files.iter().all(same)
        };
        // A record that does not parse is one that was not finished.
        let known = self.read_json::<Finished<T>>(&record).ok();
        if let Some(finished) = known.filter(unchanged) {
            let mut used = guard(&self.used);
            used.extend(finished.files.into_keys().chain([record]));
            return Ok(finished.result);
        }
        match fs::remove_file(self.file(&record)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(write_error(&self.file(&record), error));
            }
            _ => guard(&self.written).clear(),
        }
        let result = work()?;
        let written = std::mem::take(&mut *guard(&self.written));
        let digest = |name: String| file_digest(&self.file(&name)).map(|digest| (name, digest));
        let files = written.into_iter().map(digest);
        let finished =
            Finished { key, files: files.collect::<Result<_, CompressError>>()?, result };
        self.write_json(&record, &finished)?;
        Ok(finished.result)
    }
}

/// Whether a file of a run is called so, below its folder.
fn is_own(relative: &Path) -> bool {
    let parts: Vec<_> = relative.iter().map(|p| p.to_string_lossy()).collect();
    match &parts[..] {
        [file] => TOP_FILES.iter().chain(&MODEL_FILES).any(|f| f == file) || is_partial(file),
        [folder, file] if is_own_folder(folder) => {
            let state = *folder == "stages" && file.ends_with(RECOVERY_STATE);
            let record = state || (!folder.starts_with("attempt-") && file.ends_with(".json"));
            let of_attempt = folder.starts_with("attempt-") && MODEL_FILES.contains(&&**file);
            record || of_attempt || is_partial(file)
        }
        _ => false,
    }
}

/// What the folder of an attempt's second quantization ends with.
pub(crate) const THOROUGH: &str = "-thorough";

fn is_own_folder(name: &str) -> bool {
    let attempt = name.strip_prefix("attempt-").map(|n| n.strip_suffix(THOROUGH).unwrap_or(n));
    let numbered = |n: &str| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit());
    ["stages", "dets"].contains(&name) || attempt.is_some_and(numbered)
}

fn guard<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn write_error(path: &Path, cause: io::Error) -> CompressError {
    CompressError::Write { path: path.to_owned(), cause }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_names_are_those_that_a_run_writes() {
        for own in [
            "model.onnx",
            "report.html",
            "stages/prune-1.json",
            "dets/val.baseline.json",
            "attempt-12/quant.plan.json",
            "attempt-1/.model.onnx.7.partial",
            "attempt-2-thorough/model.onnx",
        ] {
            assert!(is_own(Path::new(own)), "{own}");
        }
        for other in [
            "best.onnx",
            "data.yaml",
            "stages/notes.txt",
            "attempt-1/notes.json",
            "attempt-x/model.onnx",
            "attempt-thorough/model.onnx",
            "images/model.onnx",
            "stages/a/b.json",
        ] {
            assert!(!is_own(Path::new(other)), "{other}");
        }
    }

    #[test]
    fn create_of_two_at_once_refuses_the_second_until_the_first_ends() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let run = folder.path().join("run");
        let first = RunDir::create(&run, false).expect("a new folder");
        let second = RunDir::create(&run, true).expect_err("in use");
        assert!(matches!(second, CompressError::RunInUse { .. }), "{second}");
        drop(first);
        RunDir::open(&run).expect("free again");
    }

    #[test]
    fn create_over_an_earlier_run_removes_its_files_and_nothing_else() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let run = RunDir::create(folder.path(), false).expect("an empty folder");
        for name in ["metrics.json", "attempt-2/model.onnx", "stages/a.json"] {
            run.write(name, b"{}").expect("writable");
        }
        drop(run);
        for name in ["notes.md", "attempt-2/notes.md"] {
            fs::write(folder.path().join(name), "mine").expect("writable");
        }
        drop(RunDir::create(folder.path(), false).expect("its own"));
        let left = |name: &str| folder.path().join(name).exists();
        assert!(left("notes.md") && left("attempt-2/notes.md") && left(MARKER));
        assert!(!left("metrics.json") && !left("attempt-2/model.onnx") && !left("stages"));
    }

    #[test]
    fn create_in_a_folder_that_holds_something_else_changes_nothing() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        fs::write(folder.path().join("model.onnx"), "mine").expect("writable");
        let refused = RunDir::create(folder.path(), false).expect_err("occupied");
        assert!(matches!(refused, CompressError::Occupied { .. }), "{refused}");
        assert_eq!(fs::read_dir(folder.path()).expect("listable").count(), 1);
    }
}
