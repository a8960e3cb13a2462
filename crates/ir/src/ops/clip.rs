//! Clip of other elements than f32; [`super::Unary`] reads the operator and keeps f32 for itself.
//! Spec: onnx.ai/onnx/operators/onnx__Clip.html, opset 6 to 13.
use crate::{
    Channels, KeptAxes, LoweredInput, LoweredNode, LoweredOutput, NodeSpec, OpError, Operator,
    Parsed, QuantFacts, Shapes, Tensor, TensorType,
};

/// Elements brought between two bounds of their own type.
#[derive(Clone, Debug, PartialEq)]
pub struct Clip {
    /// The lower bound, of rank 0.
    pub min: Option<Tensor>,
    /// The upper bound, of rank 0.
    pub max: Option<Tensor>,
}

impl Operator for Clip {
    const OP_TYPES: &'static [&'static str] = &[];

    fn parse(spec: &mut NodeSpec<'_>) -> Result<Parsed, OpError> {
        let dtype = spec.ty(0)?.dtype;
        let mut bound = |name, input| -> Result<Option<Tensor>, OpError> {
            let given = spec
                .parameter(input)?
                .filter(|t| t.len() == 1)
                .map(|t| t.reshaped([]))
                .transpose()?;
            if let Some(t) = given.as_ref().filter(|t| t.dtype() != dtype) {
                return Err(OpError::DType { expected: dtype, found: t.dtype() });
            }
            let old = spec
                .attributes
                .float(name)?
                .map(|v| Tensor::from_f64(dtype, [], &[f64::from(v)]))
                .transpose()?;
            Ok(given.or(old))
        };
        let op = Self { min: bound("min", 1)?, max: bound("max", 2)? };
        Ok(Parsed::first(op, 1))
    }

    fn op_type(&self) -> &'static str {
        "Clip"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<Vec<TensorType>, OpError> {
        super::expect_inputs(inputs, 1..=1, "1")?;
        let expected = inputs[0].dtype;
        match self.min.iter().chain(&self.max).find(|t| t.dtype() != expected) {
            Some(t) => Err(OpError::DType { expected, found: t.dtype() }),
            None => Ok(vec![inputs[0].clone()]),
        }
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>, OpError> {
        super::expect_inputs(inputs, 1..=1, "1")?;
        self.infer(&[&inputs[0].ty()])?;
        let raised = match &self.min {
            Some(min) => super::Extremum { largest: true }.forward(&[inputs[0], min])?,
            None => vec![inputs[0].clone()],
        };
        match &self.max {
            Some(max) => super::Extremum { largest: false }.forward(&[&raised[0], max]),
            None => Ok(raised),
        }
    }

    fn channel_links(&self, shapes: &Shapes<'_>) -> Channels {
        super::pass_through(shapes)
    }

    fn keep(&self, _shapes: &Shapes<'_>, _kept: &KeptAxes) -> Self {
        self.clone()
    }

    fn quant_facts(&self) -> QuantFacts {
        QuantFacts::Activation
    }

    fn macs(&self, _shapes: &Shapes<'_>) -> u64 {
        0
    }

    fn lower(&self, _opset: i64, _inputs: usize, _outputs: usize) -> Vec<LoweredNode> {
        let bound = |name, t: &Option<Tensor>| {
            t.clone().map_or(LoweredInput::Absent, |t| LoweredInput::Constant(name, t))
        };
        let inputs = vec![LoweredInput::Input(0), bound("min", &self.min), bound("max", &self.max)];
        vec![LoweredNode {
            op_type: "Clip",
            inputs,
            outputs: vec![LoweredOutput::Output(0)],
            attributes: vec![],
        }]
    }
}
