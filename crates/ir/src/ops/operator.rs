//! What every operator must say of itself, and how it is read from and written to ONNX terms.
use super::Op;
use crate::{Attribute, Attributes, Channels, KeptAxes, OpError, Tensor, TensorType};

/// What is known of an input while an operator is being read.
#[derive(Clone, Copy, Debug, Default)]
pub struct InputSpec<'a> {
    /// Element type and shape, where known.
    pub ty: Option<&'a TensorType>,
    /// The value, where it is constant.
    pub constant: Option<&'a Tensor>,
}

/// A node in ONNX terms, as the file has it.
#[derive(Clone, Debug)]
pub struct NodeSpec<'a> {
    /// ONNX operator name.
    pub op_type: &'a str,
    /// Opset version of the default domain.
    pub opset: i64,
    /// Inputs in order; `None` where an optional input is left out.
    pub inputs: Vec<Option<InputSpec<'a>>>,
    /// Number of outputs that have a name.
    pub outputs: usize,
    /// Attributes not read yet.
    pub attributes: Attributes,
}

impl<'a> NodeSpec<'a> {
    /// The input at `index`, if it was given.
    pub fn input(&self, index: usize) -> Option<InputSpec<'a>> {
        self.inputs.get(index).copied().flatten()
    }

    /// Element type and shape of a required input.
    ///
    /// # Errors
    /// `InputCount` when it was left out, `NotStatic` when its shape is not known.
    pub fn ty(&self, index: usize) -> Result<&'a TensorType, OpError> {
        let input =
            self.input(index).ok_or(OpError::InputCount { expected: "more", found: index })?;
        input.ty.ok_or(OpError::NotStatic { input: index })
    }

    /// A parameter input that must be constant: `None` when it was left out.
    ///
    /// # Errors
    /// `NotStatic` when it is computed from the model's input.
    pub fn parameter(&self, index: usize) -> Result<Option<&'a Tensor>, OpError> {
        match self.input(index) {
            None => Ok(None),
            Some(i) => i.constant.map(Some).ok_or(OpError::NotStatic { input: index }),
        }
    }

    /// A parameter input of integers.
    ///
    /// # Errors
    /// As [`NodeSpec::parameter`], and `DType` for floats.
    pub fn integers(&self, index: usize) -> Result<Option<Vec<i64>>, OpError> {
        self.parameter(index)?.map(Tensor::to_i64).transpose()
    }
}

/// An operator read from ONNX terms: its parameters are inside it, `inputs` are the positions it still takes.
#[derive(Clone, Debug)]
pub struct Parsed {
    /// The operator.
    pub op: Op,
    /// Positions of the inputs that stay inputs, in order.
    pub inputs: Vec<usize>,
}

impl Parsed {
    /// An operator that takes its first `n` inputs.
    pub fn first(op: impl Into<Op>, n: usize) -> Self {
        Self { op: op.into(), inputs: (0..n).collect() }
    }
}

/// Types of a node's inputs and outputs.
#[derive(Clone, Debug)]
pub struct Shapes<'a> {
    /// Types of the inputs.
    pub inputs: Vec<&'a TensorType>,
    /// Types of the outputs.
    pub outputs: Vec<&'a TensorType>,
}

/// What quantization must know of an operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuantFacts {
    /// Multiplies its first input by a weight: the weight's input position, its output-channel axis, its bias.
    Weighted {
        /// Input position of the weight.
        weight: usize,
        /// Axis of the weight that runs over output channels.
        axis: usize,
        /// Input position of the bias.
        bias: usize,
    },
    /// Every output element is one of the first input's: it keeps that input's parameters.
    SharesInput,
    /// Every output element is one of the inputs': Concat.
    JoinsInputs,
    /// A function of one tensor, element by element.
    Activation,
    /// A function of two tensors, element by element.
    ElementWise,
    /// QuantizeLinear or DequantizeLinear.
    Boundary,
    /// No integer form.
    Float,
}

/// Where an input of a lowered node comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum LoweredInput {
    /// The operator's own input.
    Input(usize),
    /// A constant to be written as an initializer, with a suffix for its name.
    Constant(&'static str, Tensor),
    /// The n-th temporary of this lowering.
    Temp(usize),
    /// Left out.
    Absent,
}

/// Where an output of a lowered node goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoweredOutput {
    /// The operator's own output.
    Output(usize),
    /// The n-th temporary of this lowering.
    Temp(usize),
}

/// One ONNX node of the default domain that an operator is written as.
#[derive(Clone, Debug, PartialEq)]
pub struct LoweredNode {
    /// ONNX operator name.
    pub op_type: &'static str,
    /// Inputs in order.
    pub inputs: Vec<LoweredInput>,
    /// Outputs in order.
    pub outputs: Vec<LoweredOutput>,
    /// Attributes in order.
    pub attributes: Vec<(&'static str, Attribute)>,
}

impl LoweredNode {
    /// A node that passes the operator's first `n` inputs to its one output.
    pub fn simple(
        op_type: &'static str,
        n: usize,
        attributes: Vec<(&'static str, Attribute)>,
    ) -> Self {
        Self {
            op_type,
            inputs: (0..n).map(LoweredInput::Input).collect(),
            outputs: vec![LoweredOutput::Output(0)],
            attributes,
        }
    }
}

/// All that yoloslim knows of one operator, independent of any target; one file in `ops/` each.
pub trait Operator: Sized {
    /// ONNX names of the default domain that this operator reads.
    const OP_TYPES: &'static [&'static str];

    /// Reads the operator, with every opset from 9 to 28 brought to one meaning.
    ///
    /// # Errors
    /// `NotStatic` when a parameter is not constant (the node is then kept as opaque); anything else is a bad file.
    fn parse(spec: &mut NodeSpec<'_>) -> Result<Parsed, OpError>;

    /// ONNX name under which it is shown.
    fn op_type(&self) -> &'static str;

    /// Types of the outputs.
    ///
    /// # Errors
    /// What does not fit, as [`OpError`].
    fn infer(&self, inputs: &[&TensorType]) -> Result<Vec<TensorType>, OpError>;

    /// The plain reference computation.
    ///
    /// # Errors
    /// What does not fit, as [`OpError`].
    fn forward(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>, OpError>;

    /// How channels pass through it.
    fn channel_links(&self, shapes: &Shapes<'_>) -> Channels;

    /// The same operator after channels are gone.
    fn keep(&self, shapes: &Shapes<'_>, kept: &KeptAxes) -> Self;

    /// What quantization must know.
    fn quant_facts(&self) -> QuantFacts;

    /// Multiply-accumulate operations of one application.
    fn macs(&self, shapes: &Shapes<'_>) -> u64;

    /// The ONNX nodes it is written as at `opset` (13 to 28), given its number of inputs and outputs.
    fn lower(&self, opset: i64, inputs: usize, outputs: usize) -> Vec<LoweredNode>;
}
