//! Concat: tensors joined along one axis.
//! Spec: onnx.ai/onnx/operators/onnx__Concat.html, opset 4 to 13.
use crate::Port::{Input, Output};
use crate::{
    Attribute, Channels, DataType, Element, KeptAxes, LoweredNode, NodeSpec, OpError, Operator,
    Parsed, QuantFacts, Shapes, Tensor, TensorType,
};
use half::{bf16, f16};

/// Joins one or more tensors that agree on every axis but `axis`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Concat {
    /// Axis along which the inputs follow each other.
    pub axis: usize,
}

fn join<T: Element>(inputs: &[&Tensor], axis: usize, shape: Vec<usize>) -> Result<Tensor, OpError> {
    let total = crate::elements(&shape)?;
    let mut data = Vec::with_capacity(total);
    if total > 0 {
        let outer: usize = shape[..axis].iter().product();
        let runs = inputs
            .iter()
            .map(|t| Ok((t.as_slice::<T>()?, t.len() / outer)))
            .collect::<Result<Vec<_>, OpError>>()?;
        for o in 0..outer {
            runs.iter()
                .for_each(|(from, run)| data.extend_from_slice(&from[o * run..(o + 1) * run]));
        }
    }
    Tensor::new(shape, data)
}

impl Operator for Concat {
    const OP_TYPES: &'static [&'static str] = &["Concat"];

    fn parse(spec: &mut NodeSpec<'_>) -> Result<Parsed, OpError> {
        let axis =
            spec.attributes.int("axis")?.ok_or(OpError::MissingAttribute { name: "axis" })?;
        let axis = super::axis(axis, spec.ty(0)?.rank())?;
        if let Some(found) = spec.inputs.iter().position(Option::is_none) {
            return Err(OpError::InputCount { expected: "no left-out", found });
        }
        Ok(Parsed::first(Self { axis }, spec.inputs.len()))
    }

    fn op_type(&self) -> &'static str {
        "Concat"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<Vec<TensorType>, OpError> {
        super::expect_inputs(inputs, 1..=usize::MAX, "1 or more")?;
        let mut out = inputs[0].clone();
        super::axis(self.axis as i64, out.rank())?;
        for (input, t) in inputs.iter().enumerate().skip(1) {
            if t.dtype != out.dtype {
                return Err(OpError::DType { expected: out.dtype, found: t.dtype });
            }
            if t.rank() != out.rank() {
                return Err(OpError::Rank {
                    input,
                    expected: "that of input 0",
                    found: t.shape.clone(),
                });
            }
            for (axis, (&expected, &found)) in out.shape.iter().zip(&t.shape).enumerate() {
                if axis != self.axis && expected != found {
                    return Err(OpError::AxisLength { input, axis, expected, found });
                }
            }
            out.shape[self.axis] = out.shape[self.axis].saturating_add(t.shape[self.axis]);
        }
        crate::elements(&out.shape)?;
        Ok(vec![out])
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>, OpError> {
        let types: Vec<TensorType> = inputs.iter().map(|t| t.ty()).collect();
        let TensorType { dtype, shape } = self.infer(&types.iter().collect::<Vec<_>>())?.remove(0);
        let joined = match dtype {
            DataType::F32 => join::<f32>(inputs, self.axis, shape),
            DataType::F64 => join::<f64>(inputs, self.axis, shape),
            DataType::F16 => join::<f16>(inputs, self.axis, shape),
            DataType::BF16 => join::<bf16>(inputs, self.axis, shape),
            DataType::I8 => join::<i8>(inputs, self.axis, shape),
            DataType::I16 => join::<i16>(inputs, self.axis, shape),
            DataType::I32 => join::<i32>(inputs, self.axis, shape),
            DataType::I64 => join::<i64>(inputs, self.axis, shape),
            DataType::U8 => join::<u8>(inputs, self.axis, shape),
            DataType::U16 => join::<u16>(inputs, self.axis, shape),
            DataType::U32 => join::<u32>(inputs, self.axis, shape),
            DataType::U64 => join::<u64>(inputs, self.axis, shape),
            DataType::Bool => join::<bool>(inputs, self.axis, shape),
            DataType::Other(_) => Err(OpError::UnsupportedDType { found: dtype }),
        };
        Ok(vec![joined?])
    }

    fn channel_links(&self, shapes: &Shapes<'_>) -> Channels {
        let mut channels = Channels::none();
        let mut offset = 0;
        for (i, t) in shapes.inputs.iter().enumerate() {
            for (a, &len) in t.shape.iter().enumerate() {
                let start = if a == self.axis { offset } else { 0 };
                channels = channels.link(Input(i).axis(a), Output(0).axis(a).from(start), len);
            }
            offset += t.shape[self.axis];
        }
        channels
    }

    fn keep(&self, _shapes: &Shapes<'_>, _kept: &KeptAxes) -> Self {
        self.clone()
    }

    fn quant_facts(&self) -> QuantFacts {
        QuantFacts::JoinsInputs
    }

    fn macs(&self, _shapes: &Shapes<'_>) -> u64 {
        0
    }

    fn lower(&self, _opset: i64, inputs: usize, _outputs: usize) -> Vec<LoweredNode> {
        vec![LoweredNode::simple(
            "Concat",
            inputs,
            vec![("axis", Attribute::Int(self.axis as i64))],
        )]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn concat_inner_axis_interleaves_rows() {
        let a = Tensor::new([2, 1], vec![1i8, 2]).unwrap();
        let b = Tensor::new([2, 2], vec![3i8, 4, 5, 6]).unwrap();
        let y = Concat { axis: 1 }.forward(&[&a, &b]).unwrap().remove(0);
        assert_eq!(y, Tensor::new([2, 3], vec![1i8, 3, 4, 2, 5, 6]).unwrap());
    }

    #[test]
    fn concat_links_second_input_after_the_first() {
        let (a, b, y) = (
            TensorType::new(DataType::F32, [1, 3]),
            TensorType::new(DataType::F32, [1, 2]),
            TensorType::new(DataType::F32, [1, 5]),
        );
        let links = Concat { axis: 1 }
            .channel_links(&Shapes { inputs: vec![&a, &b], outputs: vec![&y] })
            .links;
        assert_eq!((links[3].a.port, links[3].b.start, links[3].b.len), (Input(1), 3, 2));
        assert!(matches!(
            Concat { axis: 0 }.infer(&[&a, &b]),
            Err(OpError::AxisLength { input: 1, axis: 1, .. })
        ));
    }
}
