//! What can be wrong with a checkpoint.
use ir::{IrError, OpError};
use std::path::PathBuf;
use thiserror::Error;

/// What is wrong with a checkpoint, or why no graph could be rebuilt from it.
#[derive(Debug, Error)]
#[non_exhaustive]
#[allow(missing_docs)]
pub enum CheckpointError {
    #[error("{}: {source}", path.display())]
    File {
        path: PathBuf,
        source: Box<CheckpointError>,
    },
    #[error("cannot read {}: {source}", path.display())]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{}", ir::git_lfs::POINTER)]
    GitLfsPointer,
    #[error("not a PyTorch checkpoint: expected a zip archive or a legacy pickle, found {found}")]
    NotACheckpoint { found: String },
    #[error("not a readable zip archive, or a truncated one: {0}")]
    Zip(#[from] zip::result::ZipError),
    #[error("the archive holds {found} entries, at most {allowed} are read")]
    TooManyEntries { allowed: usize, found: usize },
    #[error("the archive has no `{entry}`")]
    NoEntry { entry: String },
    #[error("entry `{entry}` is damaged or truncated: {source}")]
    Entry {
        entry: String,
        source: std::io::Error,
    },
    #[error("byte order: expected little, found {found}")]
    ByteOrder { found: String },
    #[error("pickle, byte {offset}: expected {expected}, found {found}")]
    Pickle {
        offset: usize,
        expected: &'static str,
        found: String,
    },
    #[error("the checkpoint unfolds to more than {budget_bytes} bytes at {at}")]
    TooLarge { budget_bytes: usize, at: String },
    #[error("{at}: modules nest more than {allowed} deep")]
    TooDeep { at: String, allowed: usize },
    #[error("{at}: expected {expected}, found {found}")]
    Expected {
        at: String,
        expected: &'static str,
        found: String,
    },
    #[error("{at}: class `{class}` is not known to yoloslim")]
    UnknownClass { at: String, class: String },
    #[error("{at} (`{class}`): {feature} is not supported")]
    Unsupported {
        at: String,
        class: String,
        feature: &'static str,
    },
    #[error("{at}: storage `{key}` must hold {expected} bytes, found {found}")]
    StorageBytes {
        at: String,
        key: String,
        expected: u128,
        found: u128,
    },
    #[error("{at}: the head has {expected} classes, `names` has {found}")]
    ClassCount {
        at: String,
        expected: usize,
        found: usize,
    },
    #[error("imgsz: expected a multiple of {stride} up to {limit}, found {found}")]
    Imgsz {
        stride: usize,
        limit: usize,
        found: String,
    },
    #[error("{at}: {source}")]
    Operator { at: String, source: OpError },
    #[error(transparent)]
    Graph(#[from] IrError),
}
