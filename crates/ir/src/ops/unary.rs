//! Element-wise functions of one tensor.
//! Spec: onnx.ai/onnx/operators (Sigmoid, Relu, LeakyRelu, HardSigmoid, HardSwish, Tanh, Exp, Log, Sqrt, Neg, Abs, Floor, Ceil,
//! Round, Reciprocal, Clip), opset 9 to 21; SiLU is written as Sigmoid and Mul.
use crate::{
    Attribute, Channels, DataType, KeptAxes, LoweredInput, LoweredNode, LoweredOutput, NodeSpec,
    OpError, Operator, Parsed, QuantFacts, Shapes, Tensor, TensorType,
};

/// Which function.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(missing_docs)]
pub enum UnaryKind {
    Sigmoid,
    /// `x * sigmoid(x)` (arXiv:1702.03118).
    Silu,
    Relu,
    LeakyRelu {
        alpha: f32,
    },
    HardSigmoid {
        alpha: f32,
        beta: f32,
    },
    HardSwish,
    Tanh,
    Exp,
    Log,
    Sqrt,
    Neg,
    Abs,
    Floor,
    Ceil,
    Round,
    Reciprocal,
    Clip {
        min: f32,
        max: f32,
    },
}

/// One function applied to every element.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Unary {
    /// Which function.
    pub kind: UnaryKind,
}

impl From<UnaryKind> for crate::Op {
    fn from(kind: UnaryKind) -> Self {
        Unary { kind }.into()
    }
}

impl UnaryKind {
    /// The function of one number.
    pub fn eval(self, x: f64) -> f64 {
        let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
        match self {
            UnaryKind::Sigmoid => sigmoid(x),
            UnaryKind::Silu => x * sigmoid(x),
            UnaryKind::Relu => x.max(0.0),
            UnaryKind::LeakyRelu { alpha } => {
                if x < 0.0 {
                    f64::from(alpha) * x
                } else {
                    x
                }
            }
            UnaryKind::HardSigmoid { alpha, beta } => {
                (f64::from(alpha) * x + f64::from(beta)).clamp(0.0, 1.0)
            }
            UnaryKind::HardSwish => x * (x / 6.0 + 0.5).clamp(0.0, 1.0),
            UnaryKind::Tanh => x.tanh(),
            UnaryKind::Exp => x.exp(),
            UnaryKind::Log => x.ln(),
            UnaryKind::Sqrt => x.sqrt(),
            UnaryKind::Neg => -x,
            UnaryKind::Abs => x.abs(),
            UnaryKind::Floor => x.floor(),
            UnaryKind::Ceil => x.ceil(),
            UnaryKind::Round => x.round_ties_even(),
            UnaryKind::Reciprocal => 1.0 / x,
            UnaryKind::Clip { min, max } => x.max(f64::from(min)).min(f64::from(max)),
        }
    }
}

impl UnaryKind {
    /// The derivative at one number; at a kink, what PyTorch takes.
    pub fn derivative(self, x: f64) -> f64 {
        let sigmoid = 1.0 / (1.0 + (-x).exp());
        let if_true = |condition: bool| f64::from(u8::from(condition));
        match self {
            UnaryKind::Sigmoid => sigmoid * (1.0 - sigmoid),
            UnaryKind::Silu => sigmoid * (1.0 + x * (1.0 - sigmoid)),
            UnaryKind::Relu => if_true(x > 0.0),
            UnaryKind::LeakyRelu { alpha } => {
                if x > 0.0 {
                    1.0
                } else {
                    f64::from(alpha)
                }
            }
            UnaryKind::HardSigmoid { alpha, beta } => {
                let line = f64::from(alpha) * x + f64::from(beta);
                f64::from(alpha) * if_true(line > 0.0 && line < 1.0)
            }
            UnaryKind::HardSwish if x.abs() >= 3.0 => if_true(x > 0.0),
            UnaryKind::HardSwish => x / 3.0 + 0.5,
            UnaryKind::Tanh => 1.0 - x.tanh().powi(2),
            UnaryKind::Exp => x.exp(),
            UnaryKind::Log => 1.0 / x,
            UnaryKind::Sqrt => 0.5 / x.sqrt(),
            UnaryKind::Neg => -1.0,
            UnaryKind::Abs => if_true(x > 0.0) - if_true(x < 0.0),
            UnaryKind::Floor | UnaryKind::Ceil | UnaryKind::Round => 0.0,
            UnaryKind::Reciprocal => -1.0 / (x * x),
            UnaryKind::Clip { min, max } => if_true(x >= f64::from(min) && x <= f64::from(max)),
        }
    }
}

/// What f64 would round: 64-bit integers, where the function of one is another.
fn exact(kind: UnaryKind, x: &Tensor) -> Result<Option<Tensor>, OpError> {
    let function = match (kind, x.dtype()) {
        (UnaryKind::Abs, DataType::U64) => return Ok(Some(x.clone())),
        (UnaryKind::Abs, DataType::I64) => i64::wrapping_abs,
        (UnaryKind::Neg, DataType::I64) => i64::wrapping_neg,
        (UnaryKind::Relu, DataType::I64) => |v: i64| v.max(0),
        _ => return Ok(None),
    };
    let y: Vec<i64> = x.as_slice::<i64>()?.iter().map(|&v| function(v)).collect();
    Tensor::new(x.shape(), y).map(Some)
}

fn clip_bound(
    spec: &mut NodeSpec<'_>,
    name: &'static str,
    input: usize,
    default: f32,
) -> Result<f32, OpError> {
    let bound = spec
        .parameter(input)?
        .map(Tensor::to_f64)
        .transpose()?
        .and_then(|v| v.first().copied());
    Ok(match bound {
        Some(v) => v as f32,
        None => spec.attributes.float(name)?.unwrap_or(default),
    })
}

impl Operator for Unary {
    const OP_TYPES: &'static [&'static str] = &[
        "Sigmoid",
        "Relu",
        "LeakyRelu",
        "HardSigmoid",
        "HardSwish",
        "Tanh",
        "Exp",
        "Log",
        "Sqrt",
        "Neg",
        "Abs",
        "Floor",
        "Ceil",
        "Round",
        "Reciprocal",
        "Clip",
    ];

    fn parse(spec: &mut NodeSpec<'_>) -> Result<Parsed, OpError> {
        let kind = match spec.op_type {
            "Sigmoid" => UnaryKind::Sigmoid,
            "Relu" => UnaryKind::Relu,
            "LeakyRelu" => UnaryKind::LeakyRelu {
                alpha: spec.attributes.float("alpha")?.unwrap_or(0.01),
            },
            "HardSigmoid" => UnaryKind::HardSigmoid {
                alpha: spec.attributes.float("alpha")?.unwrap_or(0.2),
                beta: spec.attributes.float("beta")?.unwrap_or(0.5),
            },
            "HardSwish" => UnaryKind::HardSwish,
            "Tanh" => UnaryKind::Tanh,
            "Exp" => UnaryKind::Exp,
            "Log" => UnaryKind::Log,
            "Sqrt" => UnaryKind::Sqrt,
            "Neg" => UnaryKind::Neg,
            "Abs" => UnaryKind::Abs,
            "Floor" => UnaryKind::Floor,
            "Ceil" => UnaryKind::Ceil,
            "Round" => UnaryKind::Round,
            "Reciprocal" => UnaryKind::Reciprocal,
            // f32 alone has bounds of its own type here.
            _ if spec.ty(0).is_ok_and(|t| t.dtype != DataType::F32) => {
                return super::Clip::parse(spec);
            }
            _ => UnaryKind::Clip {
                min: clip_bound(spec, "min", 1, f32::NEG_INFINITY)?,
                max: clip_bound(spec, "max", 2, f32::INFINITY)?,
            },
        };
        Ok(Parsed::first(kind, 1))
    }

    fn op_type(&self) -> &'static str {
        match self.kind {
            UnaryKind::Sigmoid => "Sigmoid",
            UnaryKind::Silu => "Silu",
            UnaryKind::Relu => "Relu",
            UnaryKind::LeakyRelu { .. } => "LeakyRelu",
            UnaryKind::HardSigmoid { .. } => "HardSigmoid",
            UnaryKind::HardSwish => "HardSwish",
            UnaryKind::Tanh => "Tanh",
            UnaryKind::Exp => "Exp",
            UnaryKind::Log => "Log",
            UnaryKind::Sqrt => "Sqrt",
            UnaryKind::Neg => "Neg",
            UnaryKind::Abs => "Abs",
            UnaryKind::Floor => "Floor",
            UnaryKind::Ceil => "Ceil",
            UnaryKind::Round => "Round",
            UnaryKind::Reciprocal => "Reciprocal",
            UnaryKind::Clip { .. } => "Clip",
        }
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<Vec<TensorType>, OpError> {
        super::expect_inputs(inputs, 1..=1, "1")?;
        Ok(vec![inputs[0].clone()])
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>, OpError> {
        super::expect_inputs(inputs, 1..=1, "1")?;
        if let Some(y) = exact(self.kind, inputs[0])? {
            return Ok(vec![y]);
        }
        let y: Vec<f64> = inputs[0]
            .to_f64()?
            .into_iter()
            .map(|x| self.kind.eval(x))
            .collect();
        Ok(vec![Tensor::from_f64(
            inputs[0].dtype(),
            inputs[0].shape(),
            &y,
        )?])
    }

    fn channel_links(&self, shapes: &Shapes<'_>) -> Channels {
        super::pass_through(shapes)
    }

    fn keep(&self, _shapes: &Shapes<'_>, _kept: &KeptAxes) -> Self {
        *self
    }

    fn quant_facts(&self) -> QuantFacts {
        QuantFacts::Activation
    }

    fn macs(&self, _shapes: &Shapes<'_>) -> u64 {
        0
    }

    fn lower(&self, opset: i64, _inputs: usize, _outputs: usize) -> Vec<LoweredNode> {
        match self.kind {
            UnaryKind::Silu => gated_by("Sigmoid", vec![]),
            // HardSwish is an operator from opset 14 on.
            UnaryKind::HardSwish if opset < 14 => gated_by(
                "HardSigmoid",
                vec![
                    ("alpha", Attribute::Float(1.0 / 6.0)),
                    ("beta", Attribute::Float(0.5)),
                ],
            ),
            UnaryKind::LeakyRelu { alpha } => vec![LoweredNode::simple(
                "LeakyRelu",
                1,
                vec![("alpha", Attribute::Float(alpha))],
            )],
            UnaryKind::HardSigmoid { alpha, beta } => {
                vec![LoweredNode::simple(
                    "HardSigmoid",
                    1,
                    vec![
                        ("alpha", Attribute::Float(alpha)),
                        ("beta", Attribute::Float(beta)),
                    ],
                )]
            }
            UnaryKind::Clip { min, max } => {
                let bound = |name, v: f32| LoweredInput::Constant(name, Tensor::scalar(v));
                let inputs = vec![LoweredInput::Input(0), bound("min", min), bound("max", max)];
                vec![LoweredNode {
                    op_type: "Clip",
                    inputs,
                    outputs: vec![LoweredOutput::Output(0)],
                    attributes: vec![],
                }]
            }
            _ => vec![LoweredNode::simple(self.op_type(), 1, vec![])],
        }
    }
}

/// The input times a function of itself.
fn gated_by(op_type: &'static str, attributes: Vec<(&'static str, Attribute)>) -> Vec<LoweredNode> {
    vec![
        LoweredNode {
            op_type,
            inputs: vec![LoweredInput::Input(0)],
            outputs: vec![LoweredOutput::Temp(0)],
            attributes,
        },
        LoweredNode {
            op_type: "Mul",
            inputs: vec![LoweredInput::Input(0), LoweredInput::Temp(0)],
            outputs: vec![LoweredOutput::Output(0)],
            attributes: vec![],
        },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forward_large_i64_stays_exact() {
        let big = (1i64 << 60) + 1;
        let x = Tensor::vector(vec![big, -big]);
        for (kind, y) in [
            (UnaryKind::Abs, [big, big]),
            (UnaryKind::Neg, [-big, big]),
            (UnaryKind::Relu, [big, 0]),
        ] {
            assert_eq!(
                Unary { kind }.forward(&[&x]).unwrap(),
                [Tensor::vector(y.to_vec())],
                "{kind:?}"
            );
        }
    }
}
