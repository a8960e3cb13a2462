//! Element-wise functions that only rarer models use: the gradient times the derivative.
use super::Gradient;
use super::unary::gradient;
use crate::TrainError;
use crate::backward::Backward;
#[cfg(test)]
use crate::case::Case;
use ir::ValueId;
use ir::ops::{Function, Transcendental};

impl Gradient for Transcendental {
    fn backward(&self, node: &mut Backward<'_>) -> Result<Vec<Option<ValueId>>, TrainError> {
        Ok(vec![Some(gradient(
            node,
            Function::Transcendental(self.kind),
        ))])
    }

    #[cfg(test)]
    fn cases() -> Vec<Case> {
        use ir::ops::TranscendentalKind as Kind;
        let kinds = [
            Kind::Erf,
            Kind::Softplus,
            Kind::Mish,
            Kind::Gelu { tanh: false },
            Kind::Gelu { tanh: true },
            Kind::Elu { alpha: 0.7 },
            Kind::Selu {
                alpha: 1.6,
                gamma: 1.1,
            },
            Kind::Softsign,
            Kind::Sign,
            Kind::Sin,
            Kind::Cos,
        ];
        let case = |kind| Case::new(Transcendental { kind }, &[&[4, 5]]);
        kinds.map(case).into()
    }
}
