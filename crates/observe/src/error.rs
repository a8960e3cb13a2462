//! What can go wrong while a detector is observed.

/// An error of the `observe` room.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ObserveError {
    /// The graph is not valid.
    #[error(transparent)]
    Graph(#[from] ir::IrError),
    /// A tensor does not have the form that its type says.
    #[error(transparent)]
    Tensor(#[from] ir::OpError),
    /// Images, labels or head.
    #[error(transparent)]
    Yolo(#[from] yolo::YoloError),
    /// The engine.
    #[error(transparent)]
    Runtime(#[from] runtime::RuntimeError),
    /// More images than max(3, 1 %) could not be read.
    #[error("{bad} of {images} images could not be read: at most {limit} may be bad")]
    TooManyBadImages {
        /// Images that failed.
        bad: usize,
        /// Images tried.
        images: usize,
        /// How many may fail.
        limit: usize,
    },
    /// No image could be read.
    #[error("none of the {images} images could be read, the first because: {reason}")]
    NoImages {
        /// Images tried.
        images: usize,
        /// Why the first failed.
        reason: String,
    },
    /// No image is left to calibrate on.
    #[error("every image of `{split}` is in `val` too: nothing is left to calibrate on")]
    NothingLeft {
        /// The split that images are taken from.
        split: String,
    },
}
