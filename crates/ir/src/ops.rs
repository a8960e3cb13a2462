//! The operators, one file each, and the one list that makes the enum, its parser and its dispatch.
use crate::{
    Channels, KeptAxes, LoweredNode, NodeSpec, OpError, Operator, Parsed, QuantFacts, Shapes,
    Tensor, TensorType,
};

macro_rules! operators {
    ($($module:ident::$name:ident),* $(,)?) => {
        $(mod $module; pub use $module::$name;)*

        /// An operator with its parameters.
        #[derive(Clone, Debug, PartialEq)]
        #[allow(missing_docs)]
        pub enum Op { $($name($name),)* Opaque(Opaque) }

        $(impl From<$name> for Op { fn from(op: $name) -> Op { Op::$name(op) } })*
        impl From<Opaque> for Op { fn from(op: Opaque) -> Op { Op::Opaque(op) } }

        /// ONNX names that are understood, in the order of the list.
        pub fn op_types() -> impl Iterator<Item = &'static str> {
            [$(<$name as Operator>::OP_TYPES),*].into_iter().flatten().copied()
        }

        impl Op {
            /// Reads an operator of the default domain; `None` when its name is not known.
            ///
            /// # Errors
            /// As [`Operator::parse`], and `UnknownAttribute` when an attribute was not read.
            pub fn parse(mut spec: NodeSpec<'_>) -> Result<Option<Parsed>, OpError> {
                $(if <$name as Operator>::OP_TYPES.contains(&spec.op_type) {
                    let parsed = <$name as Operator>::parse(&mut spec)?;
                    spec.attributes.finish()?;
                    return Ok(Some(parsed));
                })*
                Ok(None)
            }

            /// ONNX name under which it is shown.
            pub fn op_type(&self) -> &str {
                match self { $(Op::$name(op) => op.op_type(),)* Op::Opaque(op) => &op.op_type }
            }

            /// Types of the outputs.
            ///
            /// # Errors
            /// As [`Operator::infer`]; `Opaque` for an unknown operator.
            pub fn infer(&self, inputs: &[&TensorType]) -> Result<Vec<TensorType>, OpError> {
                match self { $(Op::$name(op) => op.infer(inputs),)* Op::Opaque(_) => Err(OpError::Opaque) }
            }

            /// The plain reference computation.
            ///
            /// # Errors
            /// As [`Operator::forward`]; `Opaque` for an unknown operator.
            pub fn forward(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>, OpError> {
                match self { $(Op::$name(op) => op.forward(inputs),)* Op::Opaque(_) => Err(OpError::Opaque) }
            }

            /// How channels pass through it.
            pub fn channel_links(&self, shapes: &Shapes<'_>) -> Channels {
                match self { $(Op::$name(op) => op.channel_links(shapes),)* Op::Opaque(_) => Channels::none() }
            }

            /// The same operator after channels are gone.
            pub fn keep(&self, shapes: &Shapes<'_>, kept: &KeptAxes) -> Op {
                match self { $(Op::$name(op) => op.keep(shapes, kept).into(),)* Op::Opaque(op) => op.clone().into() }
            }

            /// What quantization must know.
            pub fn quant_facts(&self) -> QuantFacts {
                match self { $(Op::$name(op) => op.quant_facts(),)* Op::Opaque(_) => QuantFacts::Float }
            }

            /// Multiply-accumulate operations of one application.
            pub fn macs(&self, shapes: &Shapes<'_>) -> u64 {
                match self { $(Op::$name(op) => op.macs(shapes),)* Op::Opaque(_) => 0 }
            }

            /// The ONNX nodes it is written as; `None` for an unknown operator, which is written as it was read.
            pub fn lower(&self, opset: i64, inputs: usize, outputs: usize) -> Option<Vec<LoweredNode>> {
                match self { $(Op::$name(op) => Some(op.lower(opset, inputs, outputs)),)* Op::Opaque(_) => None }
            }

            /// Positions of the inputs that are learned; running statistics are not.
            pub fn learned_inputs(&self) -> std::ops::Range<usize> {
                match self {
                    Op::BatchNormalization(_) => 1..3,
                    op if matches!(op.quant_facts(), QuantFacts::Weighted { .. }) => 1..3,
                    _ => 0..0,
                }
            }
        }
    };
}

operators! {
    batch_normalization::BatchNormalization,
    binary::Binary,
    concat::Concat,
    conv::Conv,
    dequantize_linear::DequantizeLinear,
    mat_mul::MatMul,
    max_pool::MaxPool,
    quantize_linear::QuantizeLinear,
    reshape::Reshape,
    resize::Resize,
    slice::Slice,
    softmax::Softmax,
    split::Split,
    transpose::Transpose,
    unary::Unary,
}

pub use binary::BinaryKind;
pub use resize::{CoordinateMode, NearestMode, ResizeMode};
pub use slice::SliceRange;
pub use unary::UnaryKind;

/// A node that yoloslim does not understand: kept as it was read, frozen for pruning, an error when executed.
#[derive(Clone, Debug, PartialEq)]
pub struct Opaque {
    /// Operator name.
    pub op_type: String,
    /// Operator domain; empty for the default one.
    pub domain: String,
    /// Why it was not understood.
    pub reason: String,
    /// The node as the file had it.
    pub proto: Vec<u8>,
}

/// Row-major strides of a shape, in elements.
pub(crate) fn strides(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    for i in (1..shape.len()).rev() {
        strides[i - 1] = strides[i] * shape[i];
    }
    strides
}

/// A possibly negative axis as an index.
pub(crate) fn axis(axis: i64, rank: usize) -> Result<usize, OpError> {
    let wrapped = if axis < 0 { axis + rank as i64 } else { axis };
    usize::try_from(wrapped)
        .ok()
        .filter(|&a| a < rank)
        .ok_or(OpError::Axis { axis, rank })
}

/// Checks the number of inputs.
pub(crate) fn expect_inputs<T>(
    inputs: &[T],
    allowed: std::ops::RangeInclusive<usize>,
    expected: &'static str,
) -> Result<(), OpError> {
    if allowed.contains(&inputs.len()) {
        Ok(())
    } else {
        Err(OpError::InputCount {
            expected,
            found: inputs.len(),
        })
    }
}

/// Links every axis of the first input to the same axis of the first output.
pub(crate) fn pass_through(shapes: &Shapes<'_>) -> Channels {
    use crate::Port::{Input, Output};
    let shape = &shapes.inputs[0].shape;
    shape
        .iter()
        .enumerate()
        .fold(Channels::none(), |c, (a, &len)| {
            c.link((Input(0), a), (Output(0), a), len)
        })
}
