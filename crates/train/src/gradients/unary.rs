//! Element-wise functions of one tensor: the gradient times the derivative.
use super::Gradient;
use crate::TrainError;
use crate::backward::Backward;
#[cfg(test)]
use crate::case::Case;
use ir::ValueId;
use ir::ops::{Unary, UnaryGradient, UnaryKind};

impl Gradient for Unary {
    fn backward(&self, node: &mut Backward<'_>) -> Result<Vec<Option<ValueId>>, TrainError> {
        Ok(vec![Some(gradient(node, self.kind))])
    }

    #[cfg(test)]
    fn cases() -> Vec<Case> {
        let with_parameters = [
            UnaryKind::LeakyRelu { alpha: 0.1 },
            UnaryKind::HardSigmoid { alpha: 0.9, beta: 0.5 },
            UnaryKind::Clip { min: -0.5, max: 0.25 },
            UnaryKind::Elu { alpha: 0.7 },
            UnaryKind::Selu { alpha: 1.6, gamma: 1.1 },
        ];
        let case = |kind: UnaryKind| {
            let case = Case::new(Unary { kind }, &[&[4, 5]]);
            let is_of_positive =
                matches!(kind, UnaryKind::Log | UnaryKind::Sqrt | UnaryKind::Reciprocal);
            if is_of_positive { case.positive() } else { case }
        };
        let all = UnaryKind::all().into_iter();
        all.chain(with_parameters).map(case).collect()
    }
}

/// The gradient of an element-wise function by its only input.
pub(super) fn gradient(node: &mut Backward<'_>, kind: UnaryKind) -> ValueId {
    let dy = node.output_gradient(0);
    node.apply(UnaryGradient { kind }, &[node.input(0), dy])
}
