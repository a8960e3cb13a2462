//! BatchNormalization with frozen statistics: a scale and a shift of each channel. Mean and variance receive nothing.
use super::Gradient;
use crate::TrainError;
use crate::backward::Backward;
#[cfg(test)]
use crate::case::Case;
use ir::ValueId;
use ir::ops::{BatchNormalization, BinaryKind};

impl Gradient for BatchNormalization {
    fn backward(&self, node: &mut Backward<'_>) -> Result<Vec<Option<ValueId>>, TrainError> {
        let (mean, variance) = (node.constant_input(3)?, node.constant_input(4)?);
        let epsilon = f64::from(self.epsilon);
        let inv_std: Vec<f64> = variance.iter().map(|v| (v + epsilon).sqrt().recip()).collect();
        let shape = node.input_shape(0);
        let mut by_channel = vec![1; shape.len()];
        by_channel[1] = shape[1];
        let inv_std = node.constant(&by_channel, &inv_std);
        let dy = node.output_gradient(0);
        let dx = node.wants(0).then(|| {
            let scale = node.reshape(node.input(1), &by_channel);
            let slope = node.binary(BinaryKind::Mul, scale, inv_std);
            node.binary(BinaryKind::Mul, dy, slope)
        });
        let parameter = node.input_shape(1);
        let total = |node: &mut Backward<'_>, value: ValueId| {
            let sum = node.sum_to(value, shape, &by_channel);
            node.reshape(sum, parameter)
        };
        let dscale = node.wants(1).then(|| {
            let mean = node.constant(&by_channel, &mean);
            let centred = node.binary(BinaryKind::Sub, node.input(0), mean);
            let normal = node.binary(BinaryKind::Mul, centred, inv_std);
            let product = node.binary(BinaryKind::Mul, dy, normal);
            total(node, product)
        });
        let dbias = node.wants(2).then(|| total(node, dy));
        Ok(vec![dx, dscale, dbias, None, None])
    }

    #[cfg(test)]
    fn cases() -> Vec<Case> {
        let op = BatchNormalization { epsilon: 1e-3 };
        let shapes: [&[usize]; 5] = [&[2, 3, 2, 2], &[3], &[3], &[3], &[3]];
        vec![Case::new(op, &shapes).positive().differentiated(&[0, 1, 2])]
    }
}
