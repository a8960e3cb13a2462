//! Reshape: the same elements under the old shape.
use super::Gradient;
#[cfg(test)]
use super::finite_differences::Case;
use crate::TrainError;
use crate::backward::Backward;
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
