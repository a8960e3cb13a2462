//! Expand and Tile: copies along axes.
//! Spec: onnx.ai/onnx/operators (Expand opset 8 to 13, Tile 6 to 13).
use super::slice::gathered;
use crate::Port::{Input, Output};
use crate::{
    Channels, KeptAxes, LoweredInput, LoweredNode, LoweredOutput, NodeSpec, OpError, Operator,
    Parsed, QuantFacts, Shapes, Tensor, TensorType,
};

/// Repeats the whole input along each axis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expand {
    /// Number of copies along each axis of the output; axes that the input lacks come first.
    pub repeats: Vec<usize>,
}

fn lengths(name: &str, given: &[i64]) -> Result<Vec<usize>, OpError> {
    let wrong = || OpError::Attribute {
        name: name.to_owned(),
        expected: "non-negative lengths",
        found: format!("{given:?}"),
    };
    given.iter().map(|&d| usize::try_from(d).map_err(|_| wrong())).collect()
}

impl Expand {
    /// The copies that bring `from` to its broadcast with `to`.
    fn broadcast(from: &[usize], to: &[usize]) -> Result<Self, OpError> {
        let shape = super::binary::broadcast(from, to)?;
        let skip = shape.len() - from.len();
        let repeat = |(a, &len): (usize, &usize)| {
            if a >= skip && from[a - skip] == len { 1 } else { len }
        };
        Ok(Self { repeats: shape.iter().enumerate().map(repeat).collect() })
    }

    fn wide(&self, shape: &[usize]) -> Result<Vec<usize>, OpError> {
        let missing = self.repeats.len().checked_sub(shape.len());
        let missing = missing.ok_or(OpError::Rank {
            input: 0,
            expected: "at most that of the output",
            found: shape.to_vec(),
        })?;
        Ok(std::iter::repeat_n(1, missing).chain(shape.iter().copied()).collect())
    }
}

impl Operator for Expand {
    const OP_TYPES: &'static [&'static str] = &["Expand", "Tile"];

    fn parse(spec: &mut NodeSpec<'_>) -> Result<Parsed, OpError> {
        let x = spec.ty(0)?;
        let given = spec.integers(1)?.ok_or(OpError::InputCount { expected: "2", found: 1 })?;
        let op = if spec.op_type == "Expand" {
            Self::broadcast(&x.shape, &lengths("shape", &given)?)?
        } else {
            let repeats = lengths("repeats", &given)?;
            if repeats.len() != x.rank() {
                return Err(OpError::Attribute {
                    name: "repeats".into(),
                    expected: "one for each axis",
                    found: format!("{repeats:?}"),
                });
            }
            Self { repeats }
        };
        Ok(Parsed::first(op, 1))
    }

    fn op_type(&self) -> &'static str {
        "Tile"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<Vec<TensorType>, OpError> {
        super::expect_inputs(inputs, 1..=1, "1")?;
        let from = self.wide(&inputs[0].shape)?;
        let shape: Vec<usize> =
            from.iter().zip(&self.repeats).map(|(d, r)| d.saturating_mul(*r)).collect();
        crate::elements(&shape)?;
        Ok(vec![TensorType::new(inputs[0].dtype, shape)])
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>, OpError> {
        super::expect_inputs(inputs, 1..=1, "1")?;
        let x = inputs[0];
        let shape = self.infer(&[&x.ty()])?.remove(0).shape;
        let from = self.wide(x.shape())?;
        let (steps, to) = (super::strides(&from), super::strides(&shape));
        let source =
            |i: usize| (0..shape.len()).map(|a| i / to[a] % shape[a] % from[a] * steps[a]).sum();
        Ok(vec![gathered(x, shape.clone(), source)?])
    }

    /// A copied axis has more indices than channels: only axes that are not copied are linked.
    fn channel_links(&self, shapes: &Shapes<'_>) -> Channels {
        let x = &shapes.inputs[0].shape;
        let skip = self.repeats.len() - x.len();
        let once = (0..x.len()).filter(|a| self.repeats[a + skip] == 1);
        once.fold(Channels::none(), |c, a| c.link(Input(0).axis(a), Output(0).axis(a + skip), x[a]))
    }

    fn keep(&self, _shapes: &Shapes<'_>, _kept: &KeptAxes) -> Self {
        self.clone()
    }

    fn quant_facts(&self) -> QuantFacts {
        QuantFacts::SharesInput
    }

    fn macs(&self, _shapes: &Shapes<'_>) -> u64 {
        0
    }

    fn lower(&self, _opset: i64, _inputs: usize, _outputs: usize) -> Vec<LoweredNode> {
        // Tile wants as many repeats as axes: missing ones are added by broadcasting with an Expand to ones first.
        let ones = LoweredInput::Constant("ones", Tensor::vector(vec![1i64; self.repeats.len()]));
        let repeats = LoweredInput::Constant(
            "repeats",
            Tensor::vector(self.repeats.iter().map(|&r| r as i64).collect()),
        );
        if self.repeats.iter().all(|&r| r == 1) {
            return vec![LoweredNode {
                op_type: "Expand",
                inputs: vec![LoweredInput::Input(0), ones],
                outputs: vec![LoweredOutput::Output(0)],
                attributes: vec![],
            }];
        }
        vec![
            LoweredNode {
                op_type: "Expand",
                inputs: vec![LoweredInput::Input(0), ones],
                outputs: vec![LoweredOutput::Temp(0)],
                attributes: vec![],
            },
            LoweredNode {
                op_type: "Tile",
                inputs: vec![LoweredInput::Temp(0), repeats],
                outputs: vec![LoweredOutput::Output(0)],
                attributes: vec![],
            },
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expand_to_more_axes_copies_rows() {
        let x = Tensor::new([2, 1], vec![1i64, 2]).unwrap();
        let op = Expand::broadcast(&[2, 1], &[2, 1, 3]).unwrap();
        assert_eq!(op.repeats, [2, 1, 3]);
        let y = op.forward(&[&x]).unwrap().remove(0);
        assert_eq!(y, Tensor::new([2, 2, 3], vec![1i64, 1, 1, 2, 2, 2, 1, 1, 1, 2, 2, 2]).unwrap());
        assert!(Expand::broadcast(&[2], &[3]).is_err());
    }
}
