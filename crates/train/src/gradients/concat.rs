//! Concat: each input receives its part.
use super::Gradient;
use crate::TrainError;
use crate::backward::Backward;
#[cfg(test)]
use crate::case::Case;
use ir::ValueId;
use ir::ops::{Concat, Split};

impl Gradient for Concat {
    fn backward(&self, node: &mut Backward<'_>) -> Result<Vec<Option<ValueId>>, TrainError> {
        let axis = self.axis;
        let sizes: Vec<usize> = (0..node.inputs()).map(|i| node.input_shape(i)[axis]).collect();
        let parts = sizes.len();
        let dy = node.output_gradient(0);
        let gradients = node.apply_many(Split { axis, sizes }, &[dy], parts);
        Ok(gradients.into_iter().map(Some).collect())
    }

    #[cfg(test)]
    fn cases() -> Vec<Case> {
        vec![
            Case::new(Concat { axis: 1 }, &[&[2, 1, 2], &[2, 3, 2], &[2, 2, 2]]),
            Case::new(Concat { axis: 0 }, &[&[1, 2]]),
        ]
    }
}
