//! What can be wrong with a checkpoint.
use ir::{IrError, OpError};
use std::path::PathBuf;
use thiserror::Error;

/// The way on where a checkpoint cannot be rebuilt: every framework knows its own.
pub(crate) const EXPORT: &str =
    "export the model to ONNX with the framework it comes from, and give that file";

/// What is wrong with a checkpoint, or why no graph could be rebuilt from it.
#[derive(Debug, Error)]
#[non_exhaustive]
#[allow(missing_docs)]
pub enum CheckpointError {
    #[error("{}: {cause}", path.display())]
    File { path: PathBuf, cause: Box<CheckpointError> },
    #[error("cannot read {}: {cause}", path.display())]
    Read { path: PathBuf, cause: std::io::Error },
    #[error("{}", ir::git_lfs::POINTER)]
    GitLfsPointer,
    #[error("not a checkpoint of PyTorch but {found}: {way}")]
    NotACheckpoint { found: String, way: &'static str },
    #[error("not a readable zip archive, or a truncated one: {0}")]
    Zip(zip::result::ZipError),
    #[error("the archive holds {found} entries, at most {allowed} are read")]
    TooManyEntries { allowed: usize, found: usize },
    #[error("the archive has no `{entry}`")]
    NoEntry { entry: String },
    #[error("entry `{entry}` is damaged or truncated: {cause}")]
    Entry { entry: String, cause: std::io::Error },
    #[error("byte order: expected little, found {found}")]
    ByteOrder { found: String },
    #[error("pickle, byte {offset}: expected {expected}, found {found}")]
    Pickle { offset: usize, expected: &'static str, found: String },
    #[error("the checkpoint unfolds to more than {budget_bytes} bytes at {at}")]
    TooLarge { budget_bytes: usize, at: String },
    #[error("{at}: modules nest more than {allowed} deep")]
    TooDeep { at: String, allowed: usize },
    #[error("{at}: expected {expected}, found {found}")]
    Expected { at: String, expected: &'static str, found: String },
    #[error(
        "{at}: weights alone ({tensors} tensors, a state dict), without the network they belong to: load them into their model, \
         save the whole model under `model` as Ultralytics does, or {EXPORT}"
    )]
    WeightsAlone { at: String, tensors: usize },
    #[error(
        "`{class}` is not a network in the layout of Ultralytics (a list of layers under `model`): {EXPORT}"
    )]
    OtherLayout { class: String },
    #[error("{at}: class `{class}` is not known to yoloslim: {EXPORT}")]
    UnknownClass { at: String, class: String },
    #[error("{at} (`{class}`): {feature} is not supported; {EXPORT}")]
    Unsupported { at: String, class: String, feature: &'static str },
    #[error("{at}: storage `{key}` must hold {expected} bytes, found {found}")]
    StorageBytes { at: String, key: String, expected: u128, found: u128 },
    #[error("{at}: the head has {expected} classes, `names` has {found}")]
    ClassCount { at: String, expected: usize, found: usize },
    #[error("imgsz: expected sides from 1 to {limit} px, found {found}")]
    Imgsz { limit: usize, found: String },
    #[error("{at}: {cause}")]
    Operator { at: String, cause: OpError },
    #[error(transparent)]
    Graph(#[from] IrError),
}

impl From<zip::result::ZipError> for CheckpointError {
    fn from(error: zip::result::ZipError) -> Self {
        Self::Zip(error)
    }
}
