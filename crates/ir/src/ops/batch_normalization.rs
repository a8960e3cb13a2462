//! BatchNormalization in inference.
//! Spec: onnx.ai/onnx/operators/onnx__BatchNormalization.html, opset 7 to 15; training mode is not supported.
use crate::Port::{Input, Output};
use crate::{
    Attribute, Channels, KeptAxes, LoweredNode, NodeSpec, OpError, Operator, Parsed, QuantFacts,
    Shapes, Tensor, TensorType,
};

/// `(x - mean) / sqrt(var + epsilon) * scale + bias` along axis 1; inputs are x, scale, bias, mean, var.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchNormalization {
    /// Added to the variance.
    pub epsilon: f32,
}

impl BatchNormalization {
    /// What each channel is multiplied by, given its scale and the variance of its elements.
    pub fn factors(&self, scale: &[f64], variance: &[f64]) -> Vec<f64> {
        let channels = scale.iter().zip(variance);
        channels
            .map(|(scale, variance)| scale / (variance + f64::from(self.epsilon)).sqrt())
            .collect()
    }
}

impl Operator for BatchNormalization {
    const OP_TYPES: &'static [&'static str] = &["BatchNormalization"];

    fn parse(spec: &mut NodeSpec<'_>) -> Result<Parsed, OpError> {
        let epsilon = spec.attributes.float("epsilon")?.unwrap_or(1e-5);
        spec.attributes.ignore(&["momentum", "spatial"]);
        if spec.attributes.flag("training_mode")?.unwrap_or(false) || spec.outputs > 1 {
            return Err(OpError::Unsupported { feature: "BatchNormalization in training mode" });
        }
        Ok(Parsed::first(Self { epsilon }, 5))
    }

    fn op_type(&self) -> &'static str {
        "BatchNormalization"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<Vec<TensorType>, OpError> {
        super::expect_inputs(inputs, 5..=5, "5")?;
        let x = inputs[0];
        if x.rank() < 2 {
            return Err(OpError::Rank { input: 0, expected: "2 or more", found: x.shape.clone() });
        }
        let misfit = |p: &&TensorType| p.shape != [x.shape[1]];
        if let Some(input) = (1..5).find(|&i| misfit(&inputs[i])) {
            let found = inputs[input].elements();
            return Err(OpError::AxisLength { input, axis: 0, expected: x.shape[1], found });
        }
        Ok(vec![x.clone()])
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>, OpError> {
        let types: Vec<TensorType> = inputs.iter().map(|t| t.ty()).collect();
        let out = self.infer(&types.iter().collect::<Vec<_>>())?.remove(0);
        let p: Vec<Vec<f64>> = inputs.iter().map(|t| t.to_f64()).collect::<Result<_, _>>()?;
        let (channels, inner) = (out.shape[1], out.shape[2..].iter().product::<usize>());
        let y: Vec<f64> = p[0]
            .iter()
            .enumerate()
            .map(|(i, x)| {
                let c = i / inner % channels;
                (x - p[3][c]) / (p[4][c] + f64::from(self.epsilon)).sqrt() * p[1][c] + p[2][c]
            })
            .collect();
        Ok(vec![Tensor::from_f64(out.dtype, out.shape, &y)?])
    }

    fn channel_links(&self, shapes: &Shapes<'_>) -> Channels {
        let len = shapes.inputs[0].shape[1];
        (1..5).fold(super::pass_through(shapes), |c, i| {
            c.link(Input(i).axis(0), Output(0).axis(1), len)
        })
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

    fn lower(&self, _opset: i64, _inputs: usize, _outputs: usize) -> Vec<LoweredNode> {
        vec![LoweredNode::simple(
            "BatchNormalization",
            5,
            vec![("epsilon", Attribute::Float(self.epsilon))],
        )]
    }
}
