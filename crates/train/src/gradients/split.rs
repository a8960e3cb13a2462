//! Split: the input receives the parts, joined.
use super::Gradient;
use crate::TrainError;
use crate::backward::Backward;
#[cfg(test)]
use crate::case::Case;
use ir::ValueId;
use ir::ops::{Concat, Split};

impl Gradient for Split {
    fn backward(&self, node: &mut Backward<'_>) -> Result<Vec<Option<ValueId>>, TrainError> {
        let parts: Vec<ValueId> = (0..self.sizes.len()).map(|i| node.output_gradient(i)).collect();
        let axis = self.axis;
        Ok(vec![Some(node.apply(Concat { axis }, &parts))])
    }

    #[cfg(test)]
    fn cases() -> Vec<Case> {
        let sizes = vec![1, 3];
        vec![Case::new(Split { axis: 1, sizes }, &[&[2, 4, 2]])]
    }
}
