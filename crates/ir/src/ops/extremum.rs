//! Max and Min of any number of tensors, element by element.
//! Spec: onnx.ai/onnx/operators (Max, Min), opset 8 to 13.
use super::binary::{broadcast, broadcast_indices};
use crate::{
    Channels, KeptAxes, LoweredNode, NodeSpec, OpError, Operator, Parsed, QuantFacts, Shapes,
    Tensor, TensorType,
};

/// The largest or smallest of the inputs' elements, with broadcasting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extremum {
    /// Whether the largest is taken.
    pub largest: bool,
}

impl Extremum {
    /// NaN wins over everything.
    fn pick<T: PartialOrd>(&self, a: T, b: T) -> T {
        let a_is_nan = a.partial_cmp(&a).is_none();
        let a_wins = if self.largest { a >= b } else { a <= b };
        if a_is_nan || a_wins { a } else { b }
    }

    fn fold<T: PartialOrd + Copy>(&self, shape: &[usize], inputs: &[(&[usize], Vec<T>)]) -> Vec<T> {
        let spread = |(from, v): &(&[usize], Vec<T>)| {
            broadcast_indices(from, shape).into_iter().map(|i| v[i]).collect::<Vec<T>>()
        };
        let mut all = inputs.iter().map(spread);
        let first = all.next().unwrap_or_default();
        all.fold(first, |y, x| y.into_iter().zip(x).map(|(a, b)| self.pick(a, b)).collect())
    }
}

impl Operator for Extremum {
    const OP_TYPES: &'static [&'static str] = &["Max", "Min"];

    fn parse(spec: &mut NodeSpec<'_>) -> Result<Parsed, OpError> {
        Ok(Parsed::first(Self { largest: spec.op_type == "Max" }, spec.inputs.len()))
    }

    fn op_type(&self) -> &'static str {
        if self.largest { "Max" } else { "Min" }
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<Vec<TensorType>, OpError> {
        super::expect_inputs(inputs, 1..=usize::MAX, "1 or more")?;
        let expected = inputs[0].dtype;
        if let Some(t) = inputs.iter().find(|t| t.dtype != expected) {
            return Err(OpError::DType { expected, found: t.dtype });
        }
        let shape = inputs.iter().try_fold(vec![], |s, t| broadcast(&s, &t.shape))?;
        crate::elements(&shape)?;
        Ok(vec![TensorType::new(expected, shape)])
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>, OpError> {
        let types: Vec<TensorType> = inputs.iter().map(|t| t.ty()).collect();
        let out = self.infer(&types.iter().collect::<Vec<_>>())?.remove(0);
        let y = if out.dtype.is_float() {
            let v = inputs
                .iter()
                .map(|t| Ok((t.shape(), t.to_f64()?)))
                .collect::<Result<Vec<_>, OpError>>()?;
            Tensor::from_f64(out.dtype, out.shape.clone(), &self.fold(&out.shape, &v))?
        } else {
            let v = inputs
                .iter()
                .map(|t| Ok((t.shape(), super::integers(t)?)))
                .collect::<Result<Vec<_>, OpError>>()?;
            super::from_integers(out.dtype, out.shape.clone(), &self.fold(&out.shape, &v))?
        };
        Ok(vec![y])
    }

    fn channel_links(&self, shapes: &Shapes<'_>) -> Channels {
        super::link_broadcast(shapes)
    }

    fn keep(&self, _shapes: &Shapes<'_>, _kept: &KeptAxes) -> Self {
        *self
    }

    fn quant_facts(&self) -> QuantFacts {
        QuantFacts::Float
    }

    fn macs(&self, _shapes: &Shapes<'_>) -> u64 {
        0
    }

    fn lower(&self, _opset: i64, inputs: usize, _outputs: usize) -> Vec<LoweredNode> {
        vec![LoweredNode::simple(self.op_type(), inputs, vec![])]
    }
}
