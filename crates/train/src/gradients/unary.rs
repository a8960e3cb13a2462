//! Element-wise functions of one tensor: the gradient times the derivative.
use super::Gradient;
use crate::TrainError;
use crate::backward::Backward;
#[cfg(test)]
use crate::case::Case;
use ir::ValueId;
use ir::ops::{Function, Unary, UnaryGradient};

impl Gradient for Unary {
    fn backward(&self, node: &mut Backward<'_>) -> Result<Vec<Option<ValueId>>, TrainError> {
        Ok(vec![Some(gradient(node, Function::Unary(self.kind)))])
    }

    #[cfg(test)]
    fn cases() -> Vec<Case> {
        use ir::ops::UnaryKind as Kind;
        let kinds = [
            Kind::Sigmoid,
            Kind::Silu,
            Kind::Relu,
            Kind::LeakyRelu { alpha: 0.1 },
            Kind::HardSigmoid {
                alpha: 0.9,
                beta: 0.5,
            },
            Kind::HardSwish,
            Kind::Tanh,
            Kind::Exp,
            Kind::Neg,
            Kind::Abs,
            Kind::Floor,
            Kind::Ceil,
            Kind::Round,
            Kind::Clip {
                min: -0.5,
                max: 0.25,
            },
        ];
        let of_positive = [Kind::Log, Kind::Sqrt, Kind::Reciprocal];
        let case = |kind| Case::new(Unary { kind }, &[&[4, 5]]);
        let all = kinds.map(case).into_iter();
        all.chain(of_positive.map(|kind| case(kind).positive()))
            .collect()
    }
}

/// The gradient of an element-wise function by its only input.
pub(super) fn gradient(node: &mut Backward<'_>, function: Function) -> ValueId {
    let dy = node.output_gradient(0);
    node.apply(UnaryGradient { function }, &[node.input(0), dy])
}
