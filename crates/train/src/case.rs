//! What a gradient is tested on.
use ir::{Op, Tensor};

/// The first output of an operator at inputs that moved, as it would be if what has no slope stayed as it is at others:
/// operator, inputs at which it is differentiated, inputs that moved.
pub(crate) type Surrogate = fn(&Op, &[Tensor], &[Tensor]) -> Vec<f64>;

/// One application of an operator to random tensors.
#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) op: Op,
    pub(crate) shapes: Vec<Vec<usize>>,
    /// Values are drawn from `[low, low + 2)`.
    pub(crate) low: f64,
    /// Inputs by which it is differentiated.
    pub(crate) differentiated: Vec<usize>,
    /// What differences are taken of, where it is not the operator itself.
    pub(crate) surrogate: Option<Surrogate>,
}

impl Case {
    /// An operator on tensors of these shapes with elements from -1 to 1, differentiated by all of them.
    pub(crate) fn new(op: impl Into<Op>, shapes: &[&[usize]]) -> Self {
        Self {
            op: op.into(),
            shapes: shapes.iter().map(|s| s.to_vec()).collect(),
            low: -1.0,
            differentiated: (0..shapes.len()).collect(),
            surrogate: None,
        }
    }

    /// The same on elements from 0.5 to 2.5.
    pub(crate) fn positive(self) -> Self {
        Self { low: 0.5, ..self }
    }

    /// The same, differentiated by these inputs only.
    pub(crate) fn differentiated(self, inputs: &[usize]) -> Self {
        let differentiated = inputs.to_vec();
        Self { differentiated, ..self }
    }
}
