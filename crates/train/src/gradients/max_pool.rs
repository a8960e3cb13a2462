//! MaxPool: the largest element of each window receives the window's gradient.
use super::Gradient;
use crate::TrainError;
use crate::backward::Backward;
#[cfg(test)]
use crate::case::Case;
use ir::ValueId;
use ir::ops::{MaxPool, MaxPoolGradient};

impl Gradient for MaxPool {
    fn backward(&self, node: &mut Backward<'_>) -> Result<Vec<Option<ValueId>>, TrainError> {
        let dy = node.output_gradient(0);
        let pool = self.clone();
        let dx = node.apply(MaxPoolGradient { pool }, &[node.input(0), dy]);
        Ok(vec![Some(dx)])
    }

    #[cfg(test)]
    fn cases() -> Vec<Case> {
        let same = MaxPool {
            kernel_shape: [5, 5],
            strides: [1, 1],
            dilations: [1, 1],
            pads: [2; 4],
            ceil_mode: false,
        };
        let halving = MaxPool {
            kernel_shape: [3, 2],
            strides: [2, 2],
            pads: [1, 0, 0, 1],
            ceil_mode: true,
            ..same.clone()
        };
        vec![Case::new(same, &[&[1, 2, 4, 5]]), Case::new(halving, &[&[2, 1, 6, 5]])]
    }
}
