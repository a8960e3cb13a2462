//! Losses of raw head outputs: plain functions to a number and its gradient. What learns from them is no concern of this room.

mod distillation;

pub use distillation::Distillation;

/// A loss and its gradient.
#[derive(Clone, Debug, PartialEq)]
pub struct Loss {
    /// What is to become small.
    pub value: f64,
    /// Its gradient by each raw output, in the order and shape of these.
    pub gradients: Vec<Vec<f32>>,
}
