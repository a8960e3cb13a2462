//! The operators, one file each, and the one list that makes the enum, its parser and its dispatch.
use crate::{Channels, DataType, KeptAxes, OpError, Tensor, TensorData, TensorType};

mod arg_extremum;
mod average_pool;
mod batch_normalization;
mod binary;
mod cast;
mod clip;
mod concat;
mod conv;
mod conv_integer;
mod conv_transpose;
mod conv_weight_gradient;
mod dequantize_linear;
mod dynamic_dequantize_linear;
mod dynamic_quantize_linear;
mod expand;
mod extremum;
mod fake_quantize;
mod fake_quantize_gradient;
mod gather;
mod gather_elements;
mod gather_nd;
mod gemm;
mod mat_mul;
mod mat_mul_integer;
mod max_pool;
mod max_pool_gradient;
mod modulo;
mod operator;
mod p_relu;
mod pad;
mod predicate;
mod quantize_linear;
mod reduce;
mod reshape;
mod resize;
mod scatter_nd;
mod select;
mod slice;
mod softmax;
mod split;
mod top_k;
mod transpose;
mod unary;
mod unary_gradient;

pub use operator::{
    InputSpec, LoweredInput, LoweredNode, LoweredOutput, NodeSpec, Operator, Parsed, QuantFacts,
    Shapes,
};

macro_rules! operators {
    ($($module:ident::$name:ident),* $(,)?) => {
        $(pub use $module::$name;)*

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

            /// The ONNX nodes it is written as, none for operators of gradients; `None` for an unknown operator, which is written as it was read.
            pub fn lower(&self, opset: i64, inputs: usize, outputs: usize) -> Option<Vec<LoweredNode>> {
                match self { $(Op::$name(op) => Some(op.lower(opset, inputs, outputs)),)* Op::Opaque(_) => None }
            }

            /// Positions of the inputs that are learned; running statistics are not.
            pub fn learned_inputs(&self) -> std::ops::Range<usize> {
                match self {
                    Op::BatchNormalization(_) => 1..3,
                    Op::FakeQuantize(_) | Op::PRelu(_) => 1..2,
                    op if matches!(op.quant_facts(), QuantFacts::Weighted { .. }) => 1..3,
                    _ => 0..0,
                }
            }
        }
    };
}

operators! {
    arg_extremum::ArgExtremum,
    average_pool::AveragePool,
    batch_normalization::BatchNormalization,
    binary::Binary,
    cast::Cast,
    clip::Clip,
    concat::Concat,
    conv::Conv,
    conv_integer::ConvInteger,
    conv_transpose::ConvTranspose,
    conv_weight_gradient::ConvWeightGradient,
    dequantize_linear::DequantizeLinear,
    dynamic_dequantize_linear::DynamicDequantizeLinear,
    dynamic_quantize_linear::DynamicQuantizeLinear,
    expand::Expand,
    extremum::Extremum,
    fake_quantize::FakeQuantize,
    fake_quantize_gradient::FakeQuantizeGradient,
    gather::Gather,
    gather_elements::GatherElements,
    gather_nd::GatherNd,
    gemm::Gemm,
    mat_mul::MatMul,
    mat_mul_integer::MatMulInteger,
    max_pool::MaxPool,
    max_pool_gradient::MaxPoolGradient,
    modulo::Mod,
    p_relu::PRelu,
    pad::Pad,
    predicate::Predicate,
    quantize_linear::QuantizeLinear,
    reduce::Reduce,
    reshape::Reshape,
    resize::Resize,
    scatter_nd::ScatterNd,
    select::Select,
    slice::Slice,
    softmax::Softmax,
    split::Split,
    top_k::TopK,
    transpose::Transpose,
    unary::Unary,
    unary_gradient::UnaryGradient,
}

pub use binary::BinaryKind;
pub use pad::PadMode;
pub use predicate::PredicateKind;
pub use reduce::ReduceKind;
pub use resize::{CoordinateMode, Extent, NearestMode, ResizeMode};
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
    usize::try_from(wrapped).ok().filter(|&a| a < rank).ok_or(OpError::Axis { axis, rank })
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
        Err(OpError::InputCount { expected, found: inputs.len() })
    }
}

/// Checks an input's shape.
pub(crate) fn expect_shape(
    input: usize,
    expected: &[usize],
    found: &[usize],
) -> Result<(), OpError> {
    if expected.len() != found.len() {
        return Err(OpError::Rank {
            input,
            expected: "that of what it is the gradient of",
            found: found.to_vec(),
        });
    }
    match expected.iter().zip(found).position(|(a, b)| a != b) {
        None => Ok(()),
        Some(axis) => {
            Err(OpError::AxisLength { input, axis, expected: expected[axis], found: found[axis] })
        }
    }
}

/// What is said of gradients that are met where files are read: only differentiating a graph makes them.
pub(crate) fn gradient_in_a_file() -> OpError {
    OpError::Unsupported { feature: "an operator of gradients in a file" }
}

/// Links every axis of the first input to the same axis of the first output.
pub(crate) fn pass_through(shapes: &Shapes<'_>) -> Channels {
    use crate::Port::{Input, Output};
    let shape = &shapes.inputs[0].shape;
    shape
        .iter()
        .enumerate()
        .fold(Channels::none(), |c, (a, &len)| c.link(Input(0).axis(a), Output(0).axis(a), len))
}

/// Links every axis of each input to the output's, where it is not broadcast: a broadcast axis of length 1 has no
/// channels of its own, so the longer side alone is linked.
pub(crate) fn link_broadcast(shapes: &Shapes<'_>) -> Channels {
    use crate::Port::{Input, Output};
    let out = &shapes.outputs[0].shape;
    let mut channels = Channels::none();
    for (i, x) in shapes.inputs.iter().enumerate() {
        let skip = out.len() - x.rank();
        let whole = |(a, len): &(usize, &usize)| **len == out[a + skip];
        for (axis, &len) in x.shape.iter().enumerate().filter(whole) {
            channels = channels.link(Input(i).axis(axis), Output(0).axis(axis + skip), len);
        }
    }
    channels
}

/// For every index along `axes`, in row-major order, its distance from the first element.
pub(crate) fn offsets(shape: &[usize], strides: &[usize], axes: &[usize]) -> Vec<usize> {
    let spread = |found: Vec<usize>, &a: &usize| {
        let along = |from: usize| (0..shape[a]).map(move |i| from + i * strides[a]);
        found.into_iter().flat_map(along).collect()
    };
    axes.iter().fold(vec![0], spread)
}

/// Every element of an integer or boolean tensor, of any width and sign.
///
/// # Errors
/// `DType` for floating-point and carried types.
pub(crate) fn integers(t: &Tensor) -> Result<Vec<i128>, OpError> {
    Ok(match t.data() {
        TensorData::U64(v) => v.iter().map(|&x| i128::from(x)).collect(),
        _ => t.to_i64()?.into_iter().map(i128::from).collect(),
    })
}

/// Integers wrapped into an integer type, or tested against 0 for booleans.
///
/// # Errors
/// `UnsupportedDType` for floating-point and carried types.
pub(crate) fn from_integers(
    dtype: DataType,
    shape: impl Into<Vec<usize>>,
    v: &[i128],
) -> Result<Tensor, OpError> {
    let data = match dtype {
        DataType::I8 => TensorData::I8(v.iter().map(|&x| x as i8).collect()),
        DataType::I16 => TensorData::I16(v.iter().map(|&x| x as i16).collect()),
        DataType::I32 => TensorData::I32(v.iter().map(|&x| x as i32).collect()),
        DataType::I64 => TensorData::I64(v.iter().map(|&x| x as i64).collect()),
        DataType::U8 => TensorData::U8(v.iter().map(|&x| x as u8).collect()),
        DataType::U16 => TensorData::U16(v.iter().map(|&x| x as u16).collect()),
        DataType::U32 => TensorData::U32(v.iter().map(|&x| x as u32).collect()),
        DataType::U64 => TensorData::U64(v.iter().map(|&x| x as u64).collect()),
        DataType::Bool => TensorData::Bool(v.iter().map(|&x| x != 0).collect()),
        found => return Err(OpError::UnsupportedDType { found }),
    };
    Tensor::from_data(shape, data)
}
