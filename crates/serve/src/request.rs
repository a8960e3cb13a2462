//! An image, or a network's inputs, that somebody posted.
use crate::model::ServedModel;
use image::RgbImage;
use std::sync::Arc;
use tokio::sync::oneshot;
use yolo::{Detection, Thresholds};

/// What is to be done, and who waits for it.
#[derive(Debug)]
pub(crate) struct Request {
    /// What is to be done.
    pub(crate) task: Task,
    /// Who waits for it.
    pub(crate) reply: oneshot::Sender<Result<Answer, String>>,
}

/// What a session can be asked for.
#[derive(Debug)]
pub(crate) enum Task {
    /// Objects in an image.
    Detect {
        /// The image.
        image: RgbImage,
        /// What counts as an object; the family's thresholds where none are given.
        thresholds: Option<Thresholds>,
    },
    /// The network's outputs for its inputs, row-major each.
    Infer(Vec<Vec<f32>>),
}

/// What a session answers.
#[derive(Clone, Debug)]
pub struct Answer {
    /// What was found, or what came out.
    pub result: Answered,
    /// The model that answered.
    pub model: Arc<ServedModel>,
    /// How long it took, without the wait for a session, in milliseconds.
    pub took_ms: f64,
}

/// What was found, or what came out.
#[derive(Clone, Debug)]
pub enum Answered {
    /// Objects, the most confident first, in pixels of the image, with the names of their classes.
    Objects(Vec<(String, Detection)>),
    /// Outputs of the network.
    Outputs(Vec<ir::Tensor>),
}
