//! Stages that were finished: what they gave is used again where it was made of the same and is unchanged.
use crate::bundle::write_whole;
use crate::{DeliverError, Digest};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// How a stage of the pipeline came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StageState {
    /// It was done.
    Done,
    /// It had been done before, of the same inputs.
    Unchanged,
    /// It failed.
    Failed,
}

/// A stage of a run of the pipeline.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StageReport {
    /// Its name.
    pub stage: String,
    /// How it came out.
    pub state: StageState,
    /// What it gave, or why it failed.
    pub detail: String,
    /// How long it took.
    pub seconds: f64,
}

/// What stages gave, so far in this run.
#[derive(Debug, Default)]
pub(super) struct Log {
    pub(super) stages: Vec<StageReport>,
}

/// What a stage gives.
pub(super) struct Given<T> {
    pub(super) value: T,
    pub(super) state: StageState,
    pub(super) detail: String,
}

impl Log {
    /// Does a stage and notes how it came out.
    pub(super) fn stage<T>(
        &mut self,
        stage: &str,
        work: impl FnOnce() -> Result<Given<T>, DeliverError>,
    ) -> Result<T, DeliverError> {
        let begun = Instant::now();
        let given = work();
        let (state, detail) = match &given {
            Ok(given) => (given.state, given.detail.clone()),
            Err(error) => (StageState::Failed, error.to_string()),
        };
        let seconds = begun.elapsed().as_secs_f64();
        self.stages.push(StageReport { stage: stage.to_owned(), state, detail, seconds });
        given.map(|given| given.value)
    }
}

/// `stages/NAME.json`: a finished stage.
#[derive(Deserialize, Serialize)]
struct Finished {
    /// Digest of all that it was made of, the program's version among it.
    key: Digest,
    /// Digests of the files that it made.
    files: BTreeMap<String, Digest>,
}

/// A folder of stages with the files that they make.
pub(super) struct Stages {
    folder: PathBuf,
}

impl Stages {
    pub(super) fn new(folder: &Path) -> Self {
        Self { folder: folder.to_path_buf() }
    }

    /// Makes files, by their names below the folder, unless they were made of the same inputs and are unchanged.
    pub(super) fn make(
        &self,
        name: &str,
        inputs: &impl Serialize,
        files: &[&str],
        work: impl FnOnce() -> Result<(), DeliverError>,
    ) -> Result<StageState, DeliverError> {
        let record = self.folder.join(format!("stages/{name}.json"));
        let key = key(name, inputs);
        let known = fs::read(&record).ok().and_then(|text| serde_json::from_slice(&text).ok());
        let is_unchanged = |known: &Finished| {
            let same = |file: &&str| {
                let found = Digest::of_file(&self.folder.join(file)).ok();
                found.map(|(digest, _)| digest).as_ref() == known.files.get(*file)
            };
            known.key == key && files.iter().all(same)
        };
        if known.as_ref().is_some_and(is_unchanged) {
            return Ok(StageState::Unchanged);
        }
        let _ = fs::remove_file(&record);
        work()?;
        let digest = |file: &&str| {
            let (digest, _) = Digest::of_file(&self.folder.join(file))?;
            Ok(((*file).to_owned(), digest))
        };
        let files = files.iter().map(digest).collect::<Result<_, DeliverError>>()?;
        let text = serde_json::to_string_pretty(&Finished { key, files }).unwrap_or_default();
        let folder = self.folder.join("stages");
        fs::create_dir_all(&folder).map_err(|e| DeliverError::write(&folder, e))?;
        write_whole(&record, text.as_bytes())?;
        Ok(StageState::Done)
    }
}

/// Digest of a stage's inputs. The program's version belongs to them: another one may give something else.
pub(super) fn key(name: &str, inputs: &impl Serialize) -> Digest {
    let parts = (env!("CARGO_PKG_VERSION"), name, inputs);
    // Texts, numbers, lists and maps by texts: this cannot fail.
    Digest::of(&serde_json::to_vec(&parts).unwrap_or_default())
}
