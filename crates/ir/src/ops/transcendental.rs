//! Element-wise functions of one tensor that only rarer models use.
//! Spec: onnx.ai/onnx/operators (Erf 9 to 13, Softplus 1 to 22, Mish 18 to 22, Gelu 20, Elu 6 to 22, Selu 6 to 22, Softsign 1 to 22,
//! Sign 9 to 13, Sin 7 to 22, Cos 7 to 22).
use crate::{
    Attribute, Channels, KeptAxes, LoweredInput, LoweredNode, LoweredOutput, NodeSpec, OpError,
    Operator, Parsed, QuantFacts, Shapes, Tensor, TensorType,
};

/// Which function.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(missing_docs)]
pub enum TranscendentalKind {
    Erf,
    /// `ln(1 + e^x)`.
    Softplus,
    /// `x * tanh(softplus(x))` (arXiv:1908.08681).
    Mish,
    /// `x * (1 + erf(x / sqrt(2))) / 2` (arXiv:1606.08415), or its approximation by tanh.
    Gelu {
        tanh: bool,
    },
    Elu {
        alpha: f32,
    },
    Selu {
        alpha: f32,
        gamma: f32,
    },
    Softsign,
    Sign,
    Sin,
    Cos,
}

/// One function applied to every element.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Transcendental {
    /// Which function.
    pub kind: TranscendentalKind,
}

/// The error function to about 1e-15: a power series near 0, a continued fraction of the complement elsewhere.
///
/// Source: Abramowitz and Stegun, Handbook of Mathematical Functions, 7.1.6 and 7.1.14.
fn erf(x: f64) -> f64 {
    let a = x.abs();
    let scale = 2.0 / std::f64::consts::PI.sqrt() * (-a * a).exp();
    let y = if a < 3.0 {
        let (mut term, mut sum, mut n) = (a, a, 0.0);
        while term > sum * 1e-17 {
            n += 1.0;
            term *= 2.0 * a * a / (2.0 * n + 1.0);
            sum += term;
        }
        scale * sum
    } else {
        let fraction = (1..60).rev().fold(a, |f, n| a + f64::from(n) / 2.0 / f);
        1.0 - scale / 2.0 / fraction
    };
    if x.is_nan() { x } else { y.copysign(x) }
}

fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

impl TranscendentalKind {
    /// The function of one number.
    pub fn eval(self, x: f64) -> f64 {
        let half_gate = |t: f64| 0.5 * x * (1.0 + t);
        match self {
            TranscendentalKind::Erf => erf(x),
            TranscendentalKind::Softplus => softplus(x),
            TranscendentalKind::Mish => x * softplus(x).tanh(),
            TranscendentalKind::Gelu { tanh: false } => {
                half_gate(erf(x * std::f64::consts::FRAC_1_SQRT_2))
            }
            TranscendentalKind::Gelu { tanh: true } => {
                half_gate(((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3))).tanh())
            }
            TranscendentalKind::Elu { alpha } => {
                if x < 0.0 {
                    f64::from(alpha) * x.exp_m1()
                } else {
                    x
                }
            }
            TranscendentalKind::Selu { alpha, gamma } => {
                f64::from(gamma)
                    * if x > 0.0 {
                        x
                    } else {
                        f64::from(alpha) * x.exp_m1()
                    }
            }
            TranscendentalKind::Softsign => x / (1.0 + x.abs()),
            TranscendentalKind::Sign => {
                if x == 0.0 || x.is_nan() {
                    0.0
                } else {
                    x.signum()
                }
            }
            TranscendentalKind::Sin => x.sin(),
            TranscendentalKind::Cos => x.cos(),
        }
    }

    /// The derivative at one number; at a kink, what PyTorch takes.
    pub fn derivative(self, x: f64) -> f64 {
        use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI, PI};
        match self {
            TranscendentalKind::Erf => FRAC_2_SQRT_PI * (-x * x).exp(),
            TranscendentalKind::Softplus => 1.0 / (1.0 + (-x).exp()),
            TranscendentalKind::Mish => {
                let (gate, sigmoid) = (softplus(x).tanh(), 1.0 / (1.0 + (-x).exp()));
                gate + x * (1.0 - gate * gate) * sigmoid
            }
            TranscendentalKind::Gelu { tanh: false } => {
                let density = (-x * x / 2.0).exp() / (2.0 * PI).sqrt();
                0.5 * (1.0 + erf(x * FRAC_1_SQRT_2)) + x * density
            }
            TranscendentalKind::Gelu { tanh: true } => {
                let scale = (2.0 / PI).sqrt();
                let t = (scale * (x + 0.044715 * x.powi(3))).tanh();
                let slope = scale * (1.0 + 3.0 * 0.044715 * x * x);
                0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * slope
            }
            TranscendentalKind::Elu { .. } if x > 0.0 => 1.0,
            TranscendentalKind::Elu { alpha } => f64::from(alpha) * x.exp(),
            TranscendentalKind::Selu { gamma, .. } if x > 0.0 => f64::from(gamma),
            TranscendentalKind::Selu { alpha, gamma } => {
                f64::from(gamma) * f64::from(alpha) * x.exp()
            }
            TranscendentalKind::Softsign => (1.0 + x.abs()).powi(-2),
            TranscendentalKind::Sign => 0.0,
            TranscendentalKind::Sin => x.cos(),
            TranscendentalKind::Cos => -x.sin(),
        }
    }
}

/// A lowering in several nodes, each from the operator's input, constants and earlier results.
struct Chain(Vec<LoweredNode>);

impl Chain {
    fn then(mut self, op_type: &'static str, inputs: Vec<LoweredInput>) -> Self {
        let outputs = vec![LoweredOutput::Temp(self.0.len())];
        self.0.push(LoweredNode {
            op_type,
            inputs,
            outputs,
            attributes: vec![],
        });
        self
    }

    fn end(mut self) -> Vec<LoweredNode> {
        if let Some(last) = self.0.last_mut() {
            last.outputs = vec![LoweredOutput::Output(0)];
        }
        self.0
    }
}

fn mish() -> Vec<LoweredNode> {
    use LoweredInput::{Input, Temp};
    Chain(vec![])
        .then("Softplus", vec![Input(0)])
        .then("Tanh", vec![Temp(0)])
        .then("Mul", vec![Input(0), Temp(1)])
        .end()
}

/// In f32, the type of every model that is written this way.
fn gelu(tanh: bool) -> Vec<LoweredNode> {
    use LoweredInput::{Input, Temp};
    let number = |name, v: f64| LoweredInput::Constant(name, Tensor::scalar(v as f32));
    let (chain, gate) = if tanh {
        let chain = Chain(vec![])
            .then("Mul", vec![Input(0), Input(0)])
            .then("Mul", vec![Temp(0), Input(0)])
            .then("Mul", vec![Temp(1), number("cubic", 0.044715)])
            .then("Add", vec![Input(0), Temp(2)])
            .then(
                "Mul",
                vec![
                    Temp(3),
                    number("slope", (2.0 / std::f64::consts::PI).sqrt()),
                ],
            )
            .then("Tanh", vec![Temp(4)]);
        (chain, 5)
    } else {
        let chain = Chain(vec![])
            .then(
                "Mul",
                vec![
                    Input(0),
                    number("inv_sqrt_2", std::f64::consts::FRAC_1_SQRT_2),
                ],
            )
            .then("Erf", vec![Temp(0)]);
        (chain, 1)
    };
    chain
        .then("Add", vec![Temp(gate), number("one", 1.0)])
        .then("Mul", vec![Input(0), Temp(gate + 1)])
        .then("Mul", vec![Temp(gate + 2), number("half", 0.5)])
        .end()
}

impl Operator for Transcendental {
    const OP_TYPES: &'static [&'static str] = &[
        "Erf", "Softplus", "Mish", "Gelu", "Elu", "Selu", "Softsign", "Sign", "Sin", "Cos",
    ];

    fn parse(spec: &mut NodeSpec<'_>) -> Result<Parsed, OpError> {
        let a = &mut spec.attributes;
        let kind = match spec.op_type {
            "Erf" => TranscendentalKind::Erf,
            "Softplus" => TranscendentalKind::Softplus,
            "Mish" => TranscendentalKind::Mish,
            "Gelu" => match a.string("approximate")?.as_deref() {
                None | Some("none") => TranscendentalKind::Gelu { tanh: false },
                Some("tanh") => TranscendentalKind::Gelu { tanh: true },
                Some(other) => {
                    return Err(OpError::Attribute {
                        name: "approximate".into(),
                        expected: "none or tanh",
                        found: other.to_owned(),
                    });
                }
            },
            "Elu" => TranscendentalKind::Elu {
                alpha: a.float("alpha")?.unwrap_or(1.0),
            },
            "Selu" => {
                let alpha = a.float("alpha")?.unwrap_or(1.673_263_2);
                TranscendentalKind::Selu {
                    alpha,
                    gamma: a.float("gamma")?.unwrap_or(1.050_701),
                }
            }
            "Softsign" => TranscendentalKind::Softsign,
            "Sign" => TranscendentalKind::Sign,
            "Sin" => TranscendentalKind::Sin,
            _ => TranscendentalKind::Cos,
        };
        Ok(Parsed::first(Self { kind }, 1))
    }

    fn op_type(&self) -> &'static str {
        match self.kind {
            TranscendentalKind::Erf => "Erf",
            TranscendentalKind::Softplus => "Softplus",
            TranscendentalKind::Mish => "Mish",
            TranscendentalKind::Gelu { .. } => "Gelu",
            TranscendentalKind::Elu { .. } => "Elu",
            TranscendentalKind::Selu { .. } => "Selu",
            TranscendentalKind::Softsign => "Softsign",
            TranscendentalKind::Sign => "Sign",
            TranscendentalKind::Sin => "Sin",
            TranscendentalKind::Cos => "Cos",
        }
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<Vec<TensorType>, OpError> {
        super::expect_inputs(inputs, 1..=1, "1")?;
        let found = inputs[0].dtype;
        if !found.is_float() && self.kind != TranscendentalKind::Sign {
            return Err(OpError::UnsupportedDType { found });
        }
        Ok(vec![inputs[0].clone()])
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>, OpError> {
        super::expect_inputs(inputs, 1..=1, "1")?;
        let x = inputs[0];
        self.infer(&[&x.ty()])?;
        if !x.dtype().is_float() {
            let y: Vec<i128> = super::integers(x)?.into_iter().map(i128::signum).collect();
            return Ok(vec![super::from_integers(x.dtype(), x.shape(), &y)?]);
        }
        let y: Vec<f64> = x.to_f64()?.into_iter().map(|v| self.kind.eval(v)).collect();
        Ok(vec![Tensor::from_f64(x.dtype(), x.shape(), &y)?])
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
        let attributes = match self.kind {
            TranscendentalKind::Mish if opset < 18 => return mish(),
            TranscendentalKind::Gelu { tanh } if opset < 20 => return gelu(tanh),
            TranscendentalKind::Gelu { tanh: true } => {
                vec![("approximate", Attribute::String(b"tanh".to_vec()))]
            }
            TranscendentalKind::Elu { alpha } => vec![("alpha", Attribute::Float(alpha))],
            TranscendentalKind::Selu { alpha, gamma } => vec![
                ("alpha", Attribute::Float(alpha)),
                ("gamma", Attribute::Float(gamma)),
            ],
            _ => vec![],
        };
        vec![LoweredNode::simple(self.op_type(), 1, attributes)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn erf_at_known_points_is_accurate() {
        let cases = [
            (0.5, 0.520_499_877_813_046_5),
            (2.9, 0.999_958_902_121_900_6),
            (3.1, 0.999_988_351_342_632_7),
            (-1.0, -0.842_700_792_949_714_9),
        ];
        for (x, y) in cases {
            assert!((erf(x) - y).abs() < 1e-14, "erf({x}) = {}", erf(x));
        }
        assert!(erf(f64::NAN).is_nan() && erf(f64::INFINITY) == 1.0);
    }

    #[test]
    fn lower_before_the_operator_exists_gives_older_nodes() {
        let count = |kind, opset| Transcendental { kind }.lower(opset, 1, 1).len();
        assert_eq!(
            (
                count(TranscendentalKind::Mish, 17),
                count(TranscendentalKind::Mish, 18)
            ),
            (3, 1)
        );
        assert_eq!(
            (
                count(TranscendentalKind::Gelu { tanh: false }, 17),
                count(TranscendentalKind::Gelu { tanh: false }, 20)
            ),
            (5, 1)
        );
    }
}
