//! PRelu: where the input is positive its gradient passes, elsewhere times the slope, which receives the input.
use super::Gradient;
use crate::TrainError;
use crate::backward::Backward;
#[cfg(test)]
use crate::case::Case;
use ir::ValueId;
use ir::ops::BinaryKind::{Add, Mul, Sub};
use ir::ops::{PRelu, UnaryGradient, UnaryKind};

impl Gradient for PRelu {
    fn backward(&self, node: &mut Backward<'_>) -> Result<Vec<Option<ValueId>>, TrainError> {
        let (x, slope) = (node.input(0), node.input(1));
        let dy = node.output_gradient(0);
        let kind = UnaryKind::Relu;
        let positive = node.apply(UnaryGradient { kind }, &[x, dy]);
        let negative = node.binary(Sub, dy, positive);
        let dx = node.wants(0).then(|| {
            let scaled = node.binary(Mul, negative, slope);
            node.binary(Add, positive, scaled)
        });
        let dslope = node.wants(1).then(|| {
            let product = node.binary(Mul, negative, x);
            node.sum_to(product, node.output_shape(0), node.input_shape(1))
        });
        Ok(vec![dx, dslope])
    }

    #[cfg(test)]
    fn cases() -> Vec<Case> {
        vec![Case::new(PRelu, &[&[2, 3, 2, 2], &[3, 1, 1]])]
    }
}
