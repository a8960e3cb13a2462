//! Transpose: the axes go back to where they were.
use super::Gradient;
use crate::TrainError;
use crate::backward::Backward;
#[cfg(test)]
use crate::case::Case;
use ir::ValueId;
use ir::ops::Transpose;

impl Gradient for Transpose {
    fn backward(&self, node: &mut Backward<'_>) -> Result<Vec<Option<ValueId>>, TrainError> {
        let mut perm = vec![0; self.perm.len()];
        for (to, &from) in self.perm.iter().enumerate() {
            perm[from] = to;
        }
        let dy = node.output_gradient(0);
        Ok(vec![Some(node.apply(Transpose { perm }, &[dy]))])
    }

    #[cfg(test)]
    fn cases() -> Vec<Case> {
        let perm = vec![2, 0, 1];
        vec![Case::new(Transpose { perm }, &[&[2, 3, 4]])]
    }
}
