//! What can go wrong.

use std::path::{Path, PathBuf};

/// An error of the library: what a layer below says, which names the file, the node or the setting.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file that is read to its end would perhaps have none.
    #[error("{}: not a regular file: pipes and devices are not read", .0.display())]
    NotAFile(PathBuf),
    /// A file could not be read.
    #[error("cannot read {}: {cause}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
    /// What is wrong with the content of a file.
    #[error("{}: {cause}", path.display())]
    InFile {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        cause: Box<Error>,
    },
    /// ONNX.
    #[error(transparent)]
    Onnx(#[from] onnx::OnnxError),
    /// A training checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] checkpoint::CheckpointError),
    /// A graph that is not valid.
    #[error(transparent)]
    Graph(#[from] ir::IrError),
    /// Head, images, labels or detections.
    #[error(transparent)]
    Yolo(#[from] yolo::YoloError),
    /// A model that could not be observed, or data that cannot be split.
    #[error(transparent)]
    Observe(#[from] observe::ObserveError),
    /// A bundle that is not whole, or not signed as it must be.
    #[error(transparent)]
    Bundle(Box<deliver::DeliverError>),
    /// Pruning, quantization, recipe or run directory.
    #[error(transparent)]
    Compress(Box<compress::CompressError>),
}

impl Error {
    /// The error with the file that it is about.
    pub(crate) fn in_file(path: &Path, error: impl Into<Self>) -> Self {
        Self::InFile { path: path.to_owned(), cause: Box::new(error.into()) }
    }
}

impl From<deliver::DeliverError> for Error {
    fn from(error: deliver::DeliverError) -> Self {
        Self::Bundle(Box::new(error))
    }
}

impl From<compress::CompressError> for Error {
    fn from(error: compress::CompressError) -> Self {
        Self::Compress(Box::new(error))
    }
}
