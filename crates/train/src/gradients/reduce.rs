//! Mean and sum over axes, GlobalAveragePool among them: every element that was summed receives the same.
use super::Gradient;
use crate::TrainError;
use crate::backward::Backward;
#[cfg(test)]
use crate::case::Case;
use ir::ValueId;
use ir::ops::{Expand, Reduce, ReduceKind};

impl Gradient for Reduce {
    fn backward(&self, node: &mut Backward<'_>) -> Result<Vec<Option<ValueId>>, TrainError> {
        let shape = node.input_shape(0);
        let summed: usize = self.axes.iter().map(|&a| shape[a]).product();
        let factor = match self.kind {
            ReduceKind::Sum => 1.0,
            ReduceKind::Mean => 1.0 / summed.max(1) as f64,
            _ => return Err(node.unsupported("a reduction other than mean and sum")),
        };
        let is_summed = |axis: usize| self.axes.contains(&axis);
        let lengths = shape.iter().enumerate();
        let kept: Vec<usize> =
            lengths.clone().map(|(a, &len)| if is_summed(a) { 1 } else { len }).collect();
        let repeats = lengths.map(|(a, &len)| if is_summed(a) { len } else { 1 }).collect();
        let dy = node.output_gradient(0);
        let scaled = node.scale(dy, factor);
        let wide = node.reshape(scaled, &kept);
        Ok(vec![Some(node.apply(Expand { repeats }, &[wide]))])
    }

    #[cfg(test)]
    fn cases() -> Vec<Case> {
        let case = |kind, axes: &[usize], keepdims| {
            let axes = axes.to_vec();
            let op = Reduce { kind, axes, keepdims };
            Case::new(op, &[&[2, 3, 2, 4]])
        };
        vec![
            case(ReduceKind::Mean, &[2, 3], true),
            case(ReduceKind::Sum, &[1], false),
            case(ReduceKind::Mean, &[0, 2], false),
        ]
    }
}
