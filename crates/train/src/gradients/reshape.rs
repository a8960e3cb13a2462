//! Reshape: the same elements under the old shape.
use super::Gradient;
use crate::TrainError;
use crate::backward::Backward;
#[cfg(test)]
use crate::case::Case;
use ir::ValueId;
use ir::ops::Reshape;

impl Gradient for Reshape {
    fn backward(&self, node: &mut Backward<'_>) -> Result<Vec<Option<ValueId>>, TrainError> {
        let dy = node.output_gradient(0);
        let shape = node.input_shape(0);
        Ok(vec![Some(node.reshape(dy, shape))])
    }

    #[cfg(test)]
    fn cases() -> Vec<Case> {
        let shape = vec![4, 3];
        vec![Case::new(Reshape { shape }, &[&[2, 6]])]
    }
}
