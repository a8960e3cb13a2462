//! Expand and Tile: what was copied receives the sum over its copies.
use super::Gradient;
use crate::TrainError;
use crate::backward::Backward;
#[cfg(test)]
use crate::case::Case;
use ir::ValueId;
use ir::ops::Expand;

impl Gradient for Expand {
    fn backward(&self, node: &mut Backward<'_>) -> Result<Vec<Option<ValueId>>, TrainError> {
        // Each axis falls apart into one of copies and one of elements.
        let lengths = node.output_shape(0).iter().zip(&self.repeats);
        let apart: Vec<usize> =
            lengths.flat_map(|(&len, &copies)| [copies, len / copies.max(1)]).collect();
        let copies = (0..apart.len()).step_by(2).collect();
        let dy = node.output_gradient(0);
        let spread = node.reshape(dy, &apart);
        let sum = node.sum(spread, copies);
        let shape = node.input_shape(0);
        Ok(vec![Some(node.reshape(sum, shape))])
    }

    #[cfg(test)]
    fn cases() -> Vec<Case> {
        let case = |repeats: &[usize], shape: &[usize]| {
            let repeats = repeats.to_vec();
            Case::new(Expand { repeats }, &[shape])
        };
        vec![case(&[1, 3], &[2, 1]), case(&[2, 2, 3], &[3, 2])]
    }
}
