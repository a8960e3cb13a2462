//! Losses of raw head outputs: plain functions to a number and its gradient. What learns from them is no concern of this room.

mod distillation;
mod labels;
mod logits;
mod overlap;
mod predictions;

pub use distillation::Distillation;
pub use labels::{LabelledBox, LabelledLoss, Targets};

/// A loss and its gradient.
#[derive(Clone, Debug, PartialEq)]
pub struct Loss {
    /// What is to become small.
    pub value: f64,
    /// Its gradient by each raw output, in the order and shape of these.
    pub gradients: Vec<Vec<f32>>,
}

impl Loss {
    /// Adds another loss of the same outputs.
    pub fn add(&mut self, other: &Self) {
        self.value += other.value;
        for (sum, other) in self.gradients.iter_mut().zip(&other.gradients) {
            sum.iter_mut().zip(other).for_each(|(sum, gradient)| *sum += gradient);
        }
    }

    /// No loss of outputs of so many elements each.
    fn zero(elements: &[usize]) -> Self {
        Self { value: 0.0, gradients: elements.iter().map(|&n| vec![0.0; n]).collect() }
    }
}
