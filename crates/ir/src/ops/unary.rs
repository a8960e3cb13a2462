//! Element-wise functions of one tensor.
//! Spec: onnx.ai/onnx/operators (Sigmoid, Relu, LeakyRelu, HardSigmoid, HardSwish, Tanh, Exp, Log, Sqrt, Neg, Abs, Floor, Ceil,
//! Round, Reciprocal, Clip, Erf, Softplus, Mish, Gelu, Elu, Selu, Softsign, Sign, Sin, Cos), opset 6 to 22.
//!
//! A function is one row of the list below: everything that is known of it follows from the row, and it runs everywhere, also on
//! quantized values. What only some functions need stands behind the list: a type of its own for parameters, how it was
//! written before it became an operator, exact integers. The runtime may know a faster kernel.
use super::Operator;
use super::operator::{
    LoweredInput, LoweredNode, LoweredOutput, NodeSpec, Parsed, QuantFacts, Shapes,
};
use crate::attributes::Attribute;
use crate::{Channels, DataType, KeptAxes, OpError, Tensor, TensorType};
use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI, PI};

macro_rules! functions {
    ($($(#[$doc:meta])* $name:ident $(($($field:ident: $default:expr),*))? => |$x:ident| $value:expr, $slope:expr;)*) => {
        /// Which function.
        #[derive(Clone, Copy, Debug, PartialEq)]
        #[allow(missing_docs)]
        pub enum UnaryKind { $($(#[$doc])* $name $({ $($field: f32),* })?,)* }

        /// Names of all functions.
        const NAMES: &[&str] = &[$(stringify!($name)),*];

        impl UnaryKind {
            /// The function of that name, however it is capitalised, with the parameters that `read` finds by their ONNX names; ONNX's
            /// defaults for the others. `None` where no function has that name.
            ///
            /// # Errors
            /// What `read` returns.
            pub fn named<E>(
                name: &str,
                mut read: impl FnMut(&'static str) -> Result<Option<f32>, E>,
            ) -> Result<Option<Self>, E> {
                $(if name.eq_ignore_ascii_case(stringify!($name)) {
                    return Ok(Some(UnaryKind::$name $({
                        $($field: read(stringify!($field))?.unwrap_or($default)),*
                    })?));
                })*
                Ok(None)
            }

            /// All functions, with ONNX's defaults for their parameters.
            pub fn all() -> Vec<Self> {
                vec![$(UnaryKind::$name $({ $($field: $default),* })?),*]
            }

            /// ONNX name under which it is shown.
            pub fn name(self) -> &'static str {
                match self { $(UnaryKind::$name $({ $($field: _),* })? => stringify!($name),)* }
            }

            /// Parameters by their ONNX names.
            fn parameters(self) -> Vec<(&'static str, f32)> {
                match self { $(UnaryKind::$name $({ $($field),* })? => vec![$($((stringify!($field), $field)),*)?],)* }
            }

            /// The function of one number.
            pub fn eval(self, x: f64) -> f64 {
                match self { $(UnaryKind::$name $({ $($field),* })? => {
                    $($(let $field = f64::from($field);)*)?
                    let $x = x;
                    $value
                })* }
            }

            /// The derivative at one number; at a kink, what PyTorch takes.
            #[allow(unused_variables)]
            pub fn derivative(self, x: f64) -> f64 {
                match self { $(UnaryKind::$name $({ $($field),* })? => {
                    $($(let $field = f64::from($field);)*)?
                    let $x = x;
                    $slope
                })* }
            }
        }
    };
}

functions! {
    // Name (parameters: defaults) => |x| value, derivative;
    Sigmoid => |x| sigmoid(x), sigmoid(x) * (1.0 - sigmoid(x));
    Relu => |x| x.max(0.0), one_if(x > 0.0);
    LeakyRelu(alpha: 0.01) => |x| if x < 0.0 { alpha * x } else { x }, if x > 0.0 { 1.0 } else { alpha };
    HardSigmoid(alpha: 0.2, beta: 0.5) => |x| (alpha * x + beta).clamp(0.0, 1.0), {
        let line = alpha * x + beta;
        alpha * one_if(line > 0.0 && line < 1.0)
    };
    HardSwish => |x| x * (x / 6.0 + 0.5).clamp(0.0, 1.0), if x.abs() >= 3.0 { one_if(x > 0.0) } else { x / 3.0 + 0.5 };
    Tanh => |x| x.tanh(), 1.0 - x.tanh().powi(2);
    Exp => |x| x.exp(), x.exp();
    Log => |x| x.ln(), 1.0 / x;
    Sqrt => |x| x.sqrt(), 0.5 / x.sqrt();
    Neg => |x| -x, -1.0;
    Abs => |x| x.abs(), one_if(x > 0.0) - one_if(x < 0.0);
    Floor => |x| x.floor(), 0.0;
    Ceil => |x| x.ceil(), 0.0;
    Round => |x| x.round_ties_even(), 0.0;
    Reciprocal => |x| 1.0 / x, -1.0 / (x * x);
    Clip(min: f32::NEG_INFINITY, max: f32::INFINITY) => |x| x.max(min).min(max), one_if(x >= min && x <= max);
    Erf => |x| erf(x), FRAC_2_SQRT_PI * (-x * x).exp();
    /// `ln(1 + e^x)`.
    Softplus => |x| softplus(x), sigmoid(x);
    /// `x * tanh(softplus(x))` (arXiv:1908.08681).
    Mish => |x| x * softplus(x).tanh(), {
        let gate = softplus(x).tanh();
        gate + x * (1.0 - gate * gate) * sigmoid(x)
    };
    /// `x * (1 + erf(x / sqrt(2))) / 2` (arXiv:1606.08415).
    Gelu => |x| 0.5 * x * (1.0 + erf(x * FRAC_1_SQRT_2)), {
        let density = (-x * x / 2.0).exp() / (2.0 * PI).sqrt();
        0.5 * (1.0 + erf(x * FRAC_1_SQRT_2)) + x * density
    };
    Elu(alpha: 1.0) => |x| if x < 0.0 { alpha * x.exp_m1() } else { x }, if x > 0.0 { 1.0 } else { alpha * x.exp() };
    /// arXiv:1706.02515.
    Selu(alpha: 1.673_263_2, gamma: 1.050_701) => |x| gamma * if x > 0.0 { x } else { alpha * x.exp_m1() },
        if x > 0.0 { gamma } else { gamma * alpha * x.exp() };
    Softsign => |x| x / (1.0 + x.abs()), (1.0 + x.abs()).powi(-2);
    Sign => |x| if x == 0.0 || x.is_nan() { 0.0 } else { x.signum() }, 0.0;
    Sin => |x| x.sin(), x.cos();
    Cos => |x| x.cos(), -x.sin();
    // The last two are no operators of ONNX: see `NOT_ONNX`.
    /// `x * sigmoid(x)` (arXiv:1702.03118).
    Silu => |x| x * sigmoid(x), sigmoid(x) * (1.0 + x * (1.0 - sigmoid(x)));
    /// As `Gelu`, approximated by tanh; in ONNX an attribute of it.
    GeluTanh => |x| 0.5 * x * (1.0 + ((2.0 / PI).sqrt() * (x + 0.044715 * x.powi(3))).tanh()), {
        let t = ((2.0 / PI).sqrt() * (x + 0.044715 * x.powi(3))).tanh();
        let slope = (2.0 / PI).sqrt() * (1.0 + 3.0 * 0.044715 * x * x);
        0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * slope
    };
}

/// How many functions at the end of the list are written as other operators.
const NOT_ONNX: usize = 2;

fn one_if(condition: bool) -> f64 {
    f64::from(u8::from(condition))
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
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

/// One function applied to every element.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Unary {
    /// Which function.
    pub kind: UnaryKind,
}

impl From<UnaryKind> for super::Op {
    fn from(kind: UnaryKind) -> Self {
        Unary { kind }.into()
    }
}

/// What f64 would round: 64-bit integers, where the function of one is another.
fn exact(kind: UnaryKind, x: &Tensor) -> Result<Option<Tensor>, OpError> {
    let function = match (kind, x.dtype()) {
        (UnaryKind::Sign, dtype) if !dtype.is_float() => {
            let y: Vec<i128> = super::integers(x)?.into_iter().map(i128::signum).collect();
            return super::from_integers(dtype, x.shape(), &y).map(Some);
        }
        (UnaryKind::Abs, DataType::U64) => return Ok(Some(x.clone())),
        (UnaryKind::Abs, DataType::I64) => i64::wrapping_abs,
        (UnaryKind::Neg, DataType::I64) => i64::wrapping_neg,
        (UnaryKind::Relu, DataType::I64) => |v: i64| v.max(0),
        _ => return Ok(None),
    };
    let y: Vec<i64> = x.as_slice::<i64>()?.iter().map(|&v| function(v)).collect();
    Tensor::new(x.shape(), y).map(Some)
}

/// A bound of Clip: an input since opset 11, an attribute before.
fn clip_bound(spec: &mut NodeSpec<'_>, name: &'static str) -> Result<Option<f32>, OpError> {
    let input = if name == "min" { 1 } else { 2 };
    let given = spec.parameter(input)?.map(Tensor::to_f64).transpose()?;
    match given.and_then(|v| v.first().copied()) {
        Some(v) => Ok(Some(v as f32)),
        None => spec.attributes.float(name),
    }
}

/// The nodes that a function is written as where it is no operator, or takes no attributes.
fn nodes(kind: UnaryKind, opset: i64) -> Option<Vec<LoweredNode>> {
    use LoweredInput::{Input, Temp};
    Some(match kind {
        UnaryKind::Silu => Chain::default()
            .then("Sigmoid", vec![Input(0)])
            .then("Mul", vec![Input(0), Temp(0)])
            .end(),
        // HardSwish is an operator from opset 14 on.
        UnaryKind::HardSwish if opset < 14 => {
            let mut nodes = Chain::default()
                .then("HardSigmoid", vec![Input(0)])
                .then("Mul", vec![Input(0), Temp(0)])
                .end();
            let numbers = [("alpha", 1.0 / 6.0), ("beta", 0.5)];
            nodes[0].attributes = numbers.map(|(n, v)| (n, Attribute::Float(v))).to_vec();
            nodes
        }
        UnaryKind::Clip { min, max } => {
            let bound = |name, v: f32| LoweredInput::Constant(name, Tensor::scalar(v));
            let inputs = vec![Input(0), bound("min", min), bound("max", max)];
            Chain::default().then("Clip", inputs).end()
        }
        UnaryKind::Mish if opset < 18 => Chain::default()
            .then("Softplus", vec![Input(0)])
            .then("Tanh", vec![Temp(0)])
            .then("Mul", vec![Input(0), Temp(1)])
            .end(),
        UnaryKind::Gelu | UnaryKind::GeluTanh if opset < 20 => gelu(kind == UnaryKind::GeluTanh),
        UnaryKind::GeluTanh => {
            let tanh = Attribute::String(b"tanh".to_vec());
            vec![LoweredNode::simple("Gelu", 1, vec![("approximate", tanh)])]
        }
        _ => return None,
    })
}

/// In f32, the type of every model that is written this way.
fn gelu(tanh: bool) -> Vec<LoweredNode> {
    use LoweredInput::{Input, Temp};
    let number = |name, v: f64| LoweredInput::Constant(name, Tensor::scalar(v as f32));
    let (chain, gate) = if tanh {
        let chain = Chain::default()
            .then("Mul", vec![Input(0), Input(0)])
            .then("Mul", vec![Temp(0), Input(0)])
            .then("Mul", vec![Temp(1), number("cubic", 0.044715)])
            .then("Add", vec![Input(0), Temp(2)])
            .then("Mul", vec![Temp(3), number("slope", (2.0 / std::f64::consts::PI).sqrt())])
            .then("Tanh", vec![Temp(4)]);
        (chain, 5)
    } else {
        let chain = Chain::default()
            .then("Mul", vec![Input(0), number("inv_sqrt_2", std::f64::consts::FRAC_1_SQRT_2)])
            .then("Erf", vec![Temp(0)]);
        (chain, 1)
    };
    chain
        .then("Add", vec![Temp(gate), number("one", 1.0)])
        .then("Mul", vec![Input(0), Temp(gate + 1)])
        .then("Mul", vec![Temp(gate + 2), number("half", 0.5)])
        .end()
}

/// A lowering in several nodes, each from the operator's input, constants and earlier results.
#[derive(Default)]
struct Chain(Vec<LoweredNode>);

impl Chain {
    fn then(mut self, op_type: &'static str, inputs: Vec<LoweredInput>) -> Self {
        let outputs = vec![LoweredOutput::Temp(self.0.len())];
        self.0.push(LoweredNode { op_type, inputs, outputs, attributes: vec![] });
        self
    }

    fn end(mut self) -> Vec<LoweredNode> {
        if let Some(last) = self.0.last_mut() {
            last.outputs = vec![LoweredOutput::Output(0)];
        }
        self.0
    }
}

impl Operator for Unary {
    const OP_TYPES: &'static [&'static str] = NAMES.split_at(NAMES.len() - NOT_ONNX).0;

    fn parse(spec: &mut NodeSpec<'_>) -> Result<Parsed, OpError> {
        // f32 alone has bounds of its own type here.
        if spec.op_type == "Clip" && spec.ty(0).is_ok_and(|t| t.dtype != DataType::F32) {
            return super::Clip::parse(spec);
        }
        let approximate = match spec.op_type {
            "Gelu" => spec.attributes.string("approximate")?,
            _ => None,
        };
        let name = match approximate.as_deref() {
            None | Some("none") => spec.op_type,
            Some("tanh") => "GeluTanh",
            Some(other) => {
                return Err(OpError::Attribute {
                    name: "approximate".into(),
                    expected: "none or tanh",
                    found: other.to_owned(),
                });
            }
        };
        let is_clip = name == "Clip";
        let read = |parameter| {
            if is_clip { clip_bound(spec, parameter) } else { spec.attributes.float(parameter) }
        };
        let kind = UnaryKind::named(name, read)?;
        Ok(Parsed::first(kind.expect("it is in the list"), 1))
    }

    fn op_type(&self) -> &'static str {
        self.kind.name()
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<Vec<TensorType>, OpError> {
        super::expect_inputs(inputs, 1..=1, "1")?;
        Ok(vec![inputs[0].clone()])
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>, OpError> {
        super::expect_inputs(inputs, 1..=1, "1")?;
        let x = inputs[0];
        if let Some(y) = exact(self.kind, x)? {
            return Ok(vec![y]);
        }
        let y: Vec<f64> = x.to_f64()?.into_iter().map(|x| self.kind.eval(x)).collect();
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
        let plain = || {
            let parameters = self.kind.parameters().into_iter();
            let attributes = parameters.map(|(name, v)| (name, Attribute::Float(v)));
            vec![LoweredNode::simple(self.op_type(), 1, attributes.collect())]
        };
        nodes(self.kind, opset).unwrap_or_else(plain)
    }
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
            (UnaryKind::Sign, [1, -1]),
        ] {
            let expected = [Tensor::vector(y.to_vec())];
            assert_eq!(Unary { kind }.forward(&[&x]).unwrap(), expected, "{kind:?}");
        }
    }

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
        let count = |kind, opset| Unary { kind }.lower(opset, 1, 1).len();
        let counts = |kind, [before, from]: [i64; 2]| [count(kind, before), count(kind, from)];
        assert_eq!(counts(UnaryKind::Mish, [17, 18]), [3, 1]);
        assert_eq!(counts(UnaryKind::Gelu, [17, 20]), [5, 1]);
        assert_eq!(counts(UnaryKind::HardSwish, [13, 14]), [2, 1]);
    }
}
