//! Images and labels that are skipped, and how many may be.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize, Serializer};

use crate::printable;

/// An image or a label that was skipped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BadInput {
    /// The file it is in.
    #[serde(serialize_with = "as_text")]
    pub file: PathBuf,
    /// The line, counted from 1, where the file has lines.
    pub line: Option<usize>,
    /// What is wrong with it.
    pub reason: String,
}

/// A path that is no text is written as what can be read of it: no record fails for its name.
fn as_text<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&path.display())
}

impl BadInput {
    /// A whole file that is skipped.
    pub fn file(file: impl Into<PathBuf>, reason: impl fmt::Display) -> Self {
        Self { file: file.into(), line: None, reason: reason.to_string() }
    }
}

impl fmt::Display for BadInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", printable(&self.file.display().to_string()))?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        write!(f, ": {}", printable(&self.reason))
    }
}

/// How many of so many inputs may be bad: 1 %, and always 3. With more missing, the others may not stand for the data.
pub fn most_bad(total: usize) -> usize {
    (total / 100).max(3)
}
