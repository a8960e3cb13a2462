//! Pad with a constant: what was added goes, what was cut off gets zeros.
use super::Gradient;
use crate::TrainError;
use crate::backward::Backward;
#[cfg(test)]
use crate::case::Case;
use ir::ValueId;
use ir::ops::{Pad, PadMode};

impl Gradient for Pad {
    fn backward(&self, node: &mut Backward<'_>) -> Result<Vec<Option<ValueId>>, TrainError> {
        if self.mode != PadMode::Constant {
            return Err(node.unsupported("padding with copies"));
        }
        let opposite = Pad {
            mode: PadMode::Constant,
            pads: self.pads.iter().map(|[a, b]| [-a, -b]).collect(),
            value: None,
        };
        let dy = node.output_gradient(0);
        Ok(vec![Some(node.apply(opposite, &[dy]))])
    }

    #[cfg(test)]
    fn cases() -> Vec<Case> {
        let pads = vec![[0, 0], [1, 2], [2, -1]];
        let mode = PadMode::Constant;
        let value = None;
        vec![Case::new(Pad { mode, pads, value }, &[&[1, 2, 3]])]
    }
}
