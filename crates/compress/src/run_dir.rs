//! The run directory: what every stage left there, and whether that can be used again.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::files::is_partial;
use crate::{CompressError, file_digest, write_file};

/// A folder in which a run keeps its stages, so that it can go on after an interruption.
#[derive(Debug)]
pub struct RunDir {
    path: PathBuf,
    resume: bool,
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

/// One stage: its name, what it depends on, and what it writes.
pub(crate) struct Stage<'a> {
    pub(crate) name: String,
    pub(crate) key: String,
    pub(crate) files: &'a [&'a str],
}

impl RunDir {
    /// Makes the folder; with `resume` finished stages are used again, otherwise all that an earlier run says is finished is forgotten.
    ///
    /// # Errors
    /// `Write` when the folder cannot be made or changed.
    pub fn open(path: &Path, resume: bool) -> Result<Self, CompressError> {
        let failed = |source| CompressError::Write {
            path: path.to_owned(),
            source,
        };
        fs::create_dir_all(path).map_err(failed)?;
        let run = Self {
            path: path.to_owned(),
            resume,
        };
        if !resume {
            // An old verdict beside new models would be a lie.
            for old in ["stages", "metrics.json", "model.onnx", "report.html"] {
                run.forget(old)?;
            }
        }
        for folder in ["stages", "dets"] {
            fs::create_dir_all(path.join(folder)).map_err(failed)?;
        }
        run.forget_partial_files().map_err(failed)?;
        Ok(run)
    }

    /// Removes what a run that was killed while it wrote left under a temporary name, here and one folder below.
    fn forget_partial_files(&self) -> io::Result<()> {
        let mut folders = vec![self.path.clone()];
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            }
        }
        for folder in folders {
            for entry in fs::read_dir(folder)? {
                let entry = entry?;
                if is_partial(&entry.file_name().to_string_lossy()) {
                    fs::remove_file(entry.path())?;
                }
            }
        }
        Ok(())
    }

    fn forget(&self, name: &str) -> Result<(), CompressError> {
        let path = self.file(name);
        let removed = if path.is_dir() {
            fs::remove_dir_all(&path)
        } else {
            fs::remove_file(&path)
        };
        match removed {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(CompressError::Write { path, source })
            }
            _ => Ok(()),
        }
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
            .map_err(|source| CompressError::Write { path, source })
    }

    /// Writes a record as JSON.
    ///
    /// # Errors
    /// As [`RunDir::write`].
    pub fn write_json(&self, name: &str, record: &impl Serialize) -> Result<(), CompressError> {
        let text = serde_json::to_string_pretty(record);
        let text = text.map_err(|error| CompressError::Write {
            path: self.file(name),
            source: error.into(),
        })?;
        self.write(name, text.as_bytes())
    }

    /// Reads a record.
    ///
    /// # Errors
    /// `Read` when it is not there, `Record` when it is none.
    pub fn read_json<T: DeserializeOwned>(&self, name: &str) -> Result<T, CompressError> {
        let path = self.file(name);
        let text = fs::read_to_string(&path);
        let text = text.map_err(|source| CompressError::Read {
            path: path.clone(),
            source,
        })?;
        serde_json::from_str(&text).map_err(|error| CompressError::Record {
            path,
            reason: error.to_string(),
        })
    }

    /// The result of a stage that is finished.
    pub(crate) fn stage_result<T: DeserializeOwned>(&self, name: &str) -> Result<T, CompressError> {
        let finished: Finished<T> = self.read_json(&format!("stages/{name}.json"))?;
        Ok(finished.result)
    }

    /// The result of a stage: the one that is there, where it was made from the same and its files are unchanged, else that of `work`.
    pub(crate) fn stage<T: Serialize + DeserializeOwned>(
        &self,
        stage: &Stage<'_>,
        work: impl FnOnce() -> Result<T, CompressError>,
    ) -> Result<T, CompressError> {
        let record = format!("stages/{}.json", stage.name);
        let unchanged = |finished: &Finished<T>| {
            let same = |f: &&str| {
                let found = file_digest(&self.file(f)).ok();
                found.is_some() && found.as_ref() == finished.files.get(*f)
            };
            finished.key == stage.key && stage.files.iter().all(same)
        };
        // A record that does not parse is one that was not finished.
        let known = self.read_json::<Finished<T>>(&record).ok();
        if let Some(finished) = known.filter(|f| self.resume && unchanged(f)) {
            return Ok(finished.result);
        }
        self.forget(&record)?;
        let result = work()?;
        let digest = |f: &&str| Ok(((*f).to_owned(), file_digest(&self.file(f))?));
        let files = stage.files.iter().map(digest);
        let finished = Finished {
            key: stage.key.clone(),
            files: files.collect::<Result<_, CompressError>>()?,
            result,
        };
        self.write_json(&record, &finished)?;
        Ok(finished.result)
    }
}
