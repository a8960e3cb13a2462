//! FakeQuantize: its input receives the gradient straight through, its scale the sum of what the elements add to it.
//!
//! Rounding has no slope, so finite differences are those of the function in which the rounding errors, and which elements the
//! range cuts off, stay as they are.
use super::Gradient;
use crate::TrainError;
use crate::backward::Backward;
#[cfg(test)]
use crate::case::Case;
use ir::ValueId;
use ir::ops::{FakeQuantize, FakeQuantizeGradient};
#[cfg(test)]
use ir::{DataType, Op, QuantParams, Tensor};

impl Gradient for FakeQuantize {
    fn backward(&self, node: &mut Backward<'_>) -> Result<Vec<Option<ValueId>>, TrainError> {
        if self.params.axis().is_some() {
            return Err(node.unsupported("a scale for each channel"));
        }
        let dy = node.output_gradient(0);
        let is_learnt = node.inputs() == 2;
        let scale = if is_learnt {
            node.input(1)
        } else {
            node.constant(&[], &[f64::from(self.params.scale()[0])])
        };
        let gradient = FakeQuantizeGradient { quantize: self.clone() };
        let gradients = node.apply_many(gradient, &[node.input(0), scale, dy], 2);
        let mut inputs = vec![Some(gradients[0])];
        if is_learnt {
            inputs.push(node.wants(1).then(|| sum(node, gradients[1])));
        }
        Ok(inputs)
    }

    #[cfg(test)]
    fn cases() -> Vec<Case> {
        let case = |zero_point, dtype, shapes: &[&[usize]]| {
            let params = QuantParams::per_tensor(0.25, zero_point, dtype).expect("valid params");
            Case { surrogate: Some(held), ..Case::new(FakeQuantize { params }, shapes) }
        };
        vec![
            // Cut off below, above, on both sides, nowhere.
            case(2, DataType::U8, &[&[3, 4]]),
            case(253, DataType::U8, &[&[1, 2, 3, 3]]),
            case(253, DataType::U8, &[&[2, 2, 3, 3], &[]]).positive(),
            case(3, DataType::U8, &[&[2, 12], &[]]).positive(),
            case(124, DataType::I8, &[&[5, 3], &[1]]).positive(),
        ]
    }
}

/// The sum of all elements, in the shape of the scale.
fn sum(node: &mut Backward<'_>, terms: ValueId) -> ValueId {
    let rank = node.input_shape(0).len();
    // Of an image in two steps, the first of which is fast.
    let sum = if rank == 4 {
        let channels = node.sum(terms, vec![0, 2, 3]);
        node.sum(channels, vec![1])
    } else {
        node.sum(terms, (0..rank).collect())
    };
    let shape = node.input_shape(1);
    node.reshape(sum, shape)
}

/// The result at `moved`, with what rounding adds at `at`.
#[cfg(test)]
fn held(op: &Op, at: &[Tensor], moved: &[Tensor]) -> Vec<f64> {
    let Op::FakeQuantize(FakeQuantize { params }) = op else {
        panic!("{op:?} quantizes nothing");
    };
    let numbers = |inputs: &[Tensor]| {
        let x = inputs[0].to_f64().expect("floats");
        let own = f64::from(params.scale()[0]);
        (x, inputs.get(1).map_or(own, |scale| scale.to_f64().expect("floats")[0]))
    };
    let ((at, old), (moved, new)) = (numbers(at), numbers(moved));
    let zero_point = f64::from(params.zero_point()[0]);
    let ends = [params.range().0, params.range().1].map(|end| end as f64 - zero_point);
    let result = |(&at, &moved): (&f64, &f64)| {
        let steps = f64::from((at as f32 / old as f32).round_ties_even());
        if steps < ends[0] || steps > ends[1] {
            return new * steps.clamp(ends[0], ends[1]);
        }
        moved + new * (steps - at / old)
    };
    at.iter().zip(&moved).map(result).collect()
}
