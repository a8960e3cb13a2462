//! What can go wrong while a report is made.

/// An error of the `report` room.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReportError {
    /// The run is not finished, or its folder refuses.
    #[error(transparent)]
    Compress(Box<compress::CompressError>),
    /// The models of the run could not be observed.
    #[error(transparent)]
    Observe(#[from] observe::ObserveError),
    /// A model of the run could not be read.
    #[error(transparent)]
    Onnx(#[from] onnx::OnnxError),
    /// A model of the run is not valid.
    #[error(transparent)]
    Graph(#[from] ir::IrError),
    /// Images, detections or head.
    #[error(transparent)]
    Yolo(#[from] yolo::YoloError),
    /// A picture could not be encoded.
    #[error("a picture could not be encoded")]
    Picture(#[from] image::ImageError),
}

impl From<compress::CompressError> for ReportError {
    fn from(error: compress::CompressError) -> Self {
        Self::Compress(Box::new(error))
    }
}
