//! Softmax along one axis.
//! Spec: onnx.ai/onnx/operators/onnx__Softmax.html, opset 1 to 13.
use crate::Port::{Input, Output};
use crate::{
    Attribute, Channels, DataType, KeptAxes, LoweredInput, LoweredNode, LoweredOutput, NodeSpec,
    OpError, Operator, Parsed, QuantFacts, Shapes, Tensor, TensorType,
};

/// `exp(x) / sum(exp(x))`, the sum running over `axis`, or over `axis` and all axes after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Softmax {
    /// Axis, or first axis, of the sum.
    pub axis: usize,
    /// Lengths of `axis` and all axes after it where the sum runs over them together (the meaning before
    /// opset 13); empty where it runs over `axis` alone.
    pub coerced: Vec<usize>,
}

impl Softmax {
    /// Number of summed elements and their distance in memory.
    fn run(&self, shape: &[usize]) -> (usize, usize) {
        let inner = shape[self.axis + 1..].iter().product();
        if self.coerced.is_empty() {
            (shape[self.axis], inner)
        } else {
            (shape[self.axis] * inner, 1)
        }
    }
}

impl Operator for Softmax {
    const OP_TYPES: &'static [&'static str] = &["Softmax"];

    fn parse(spec: &mut NodeSpec<'_>) -> Result<Parsed, OpError> {
        let x = spec.ty(0)?;
        let default = if spec.opset < 13 { 1 } else { -1 };
        let axis = super::axis(spec.attributes.int("axis")?.unwrap_or(default), x.rank())?;
        let joined =
            spec.opset < 13 && x.elements() > 0 && x.shape[axis + 1..].iter().any(|&d| d != 1);
        let coerced = if joined { x.shape[axis..].to_vec() } else { vec![] };
        Ok(Parsed::first(Self { axis, coerced }, 1))
    }

    fn op_type(&self) -> &'static str {
        "Softmax"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<Vec<TensorType>, OpError> {
        super::expect_inputs(inputs, 1..=1, "1")?;
        let x = inputs[0];
        super::axis(self.axis as i64, x.rank())?;
        if !matches!(x.dtype, DataType::F32 | DataType::F64 | DataType::F16 | DataType::BF16) {
            return Err(OpError::UnsupportedDType { found: x.dtype });
        }
        if !self.coerced.is_empty() && x.rank() - self.axis != self.coerced.len() {
            return Err(OpError::Rank {
                input: 0,
                expected: "that of coerced",
                found: x.shape.clone(),
            });
        }
        for (i, (&expected, &found)) in self.coerced.iter().zip(&x.shape[self.axis..]).enumerate() {
            if expected != found {
                return Err(OpError::AxisLength { input: 0, axis: self.axis + i, expected, found });
            }
        }
        crate::elements(&x.shape)?;
        Ok(vec![x.clone()])
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>, OpError> {
        super::expect_inputs(inputs, 1..=1, "1")?;
        let out = self.infer(&[&inputs[0].ty()])?.remove(0);
        let mut y = inputs[0].to_f64()?;
        let (run, step) = self.run(&out.shape);
        let runs = if y.is_empty() { 0 } else { y.len() / run };
        for r in 0..runs {
            let first = r / step * run * step + r % step;
            let index = |k: usize| first + k * step;
            let max = (0..run).fold(f64::NEG_INFINITY, |m, k| m.max(y[index(k)]));
            (0..run).for_each(|k| y[index(k)] = (y[index(k)] - max).exp());
            let sum: f64 = (0..run).map(|k| y[index(k)]).sum();
            (0..run).for_each(|k| y[index(k)] /= sum);
        }
        Ok(vec![Tensor::from_f64(out.dtype, out.shape, &y)?])
    }

    fn channel_links(&self, shapes: &Shapes<'_>) -> Channels {
        let shape = &shapes.inputs[0].shape;
        let free = |a: usize| a < self.axis || (a > self.axis && self.coerced.is_empty());
        (0..shape.len())
            .filter(|&a| free(a))
            .fold(Channels::none(), |c, a| c.link(Input(0).axis(a), Output(0).axis(a), shape[a]))
    }

    fn keep(&self, _shapes: &Shapes<'_>, _kept: &KeptAxes) -> Self {
        self.clone()
    }

    fn quant_facts(&self) -> QuantFacts {
        QuantFacts::Float
    }

    fn macs(&self, _shapes: &Shapes<'_>) -> u64 {
        0
    }

    fn lower(&self, _opset: i64, _inputs: usize, _outputs: usize) -> Vec<LoweredNode> {
        if self.coerced.is_empty() {
            return vec![LoweredNode::simple(
                "Softmax",
                1,
                vec![("axis", Attribute::Int(self.axis as i64))],
            )];
        }
        // A 0 in the shape of a Reshape copies the input's axis.
        let shape = |tail: &mut dyn Iterator<Item = i64>| {
            Tensor::vector(std::iter::repeat_n(0, self.axis).chain(tail).collect())
        };
        let joined = LoweredInput::Constant("joined", shape(&mut [-1].into_iter()));
        let apart =
            LoweredInput::Constant("apart", shape(&mut self.coerced.iter().map(|&d| d as i64)));
        let node = |op_type, inputs, output, attributes| LoweredNode {
            op_type,
            inputs,
            outputs: vec![output],
            attributes,
        };
        vec![
            node("Reshape", vec![LoweredInput::Input(0), joined], LoweredOutput::Temp(0), vec![]),
            node(
                "Softmax",
                vec![LoweredInput::Temp(0)],
                LoweredOutput::Temp(1),
                vec![("axis", Attribute::Int(-1))],
            ),
            node("Reshape", vec![LoweredInput::Temp(1), apart], LoweredOutput::Output(0), vec![]),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Attributes, InputSpec};

    #[test]
    fn softmax_before_opset_13_sums_over_all_later_axes() {
        let ty = TensorType::new(DataType::F64, [1, 2, 2]);
        let parse = |opset| {
            let inputs = vec![Some(InputSpec { ty: Some(&ty), constant: None })];
            let attributes = Attributes::new([("axis".to_owned(), Attribute::Int(1))]);
            Softmax::parse(&mut NodeSpec {
                op_type: "Softmax",
                opset,
                inputs,
                outputs: 1,
                attributes,
            })
            .unwrap()
            .op
        };
        let x = Tensor::new([1, 2, 2], vec![1000.0f64; 4]).unwrap();
        let cases = [(11, 0.25, 3), (13, 0.5, 1)];
        for (opset, expected, nodes) in cases {
            let op = parse(opset);
            assert_eq!(
                op.forward(&[&x]).unwrap()[0].as_slice::<f64>().unwrap(),
                [expected; 4],
                "opset {opset}"
            );
            assert_eq!(op.lower(13, 1, 1).unwrap().len(), nodes, "opset {opset}");
        }
    }

    #[test]
    fn softmax_middle_axis_normalises_columns() {
        let x = Tensor::new([1, 2, 2], vec![0.0f64, 0.0, 0.0, f64::NEG_INFINITY]).unwrap();
        let y = Softmax { axis: 1, coerced: vec![] }.forward(&[&x]).unwrap().remove(0);
        assert_eq!(y.as_slice::<f64>().unwrap(), [0.5, 1.0, 0.5, 0.0]);
    }
}
