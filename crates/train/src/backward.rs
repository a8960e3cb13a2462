//! One node on the way back from the outputs: what a gradient's rule is told, and where its nodes go.
use crate::TrainError;
use ir::ops::{Binary, BinaryKind, Reduce, ReduceKind, Reshape};
use ir::{DataType, Edit, Graph, Node, NodeId, Op, Shapes, Tensor, ValueId};

/// A node whose output gradients are known. Rules read the graph through it and add the nodes of their gradients.
pub(crate) struct Backward<'a> {
    graph: &'a Graph,
    node: &'a Node,
    shapes: Shapes<'a>,
    output_gradients: Vec<Option<ValueId>>,
    wanted: Vec<bool>,
    edit: &'a mut Edit,
}

impl<'a> Backward<'a> {
    /// A node of `graph`, the gradients of its outputs (`None` for an output that nothing differentiated reads), and
    /// for each input whether its gradient is wanted.
    ///
    /// # Errors
    /// `Graph` when a shape is not known.
    pub(crate) fn new(
        graph: &'a Graph,
        id: NodeId,
        output_gradients: Vec<Option<ValueId>>,
        wanted: Vec<bool>,
        edit: &'a mut Edit,
    ) -> Result<Self, TrainError> {
        Ok(Self {
            graph,
            node: graph.node(id),
            shapes: graph.shapes(id)?,
            output_gradients,
            wanted,
            edit,
        })
    }

    /// Whether the gradient of an input is asked for.
    pub(crate) fn wants(&self, input: usize) -> bool {
        self.wanted.get(input).copied().unwrap_or(false)
    }

    /// Number of inputs.
    pub(crate) fn inputs(&self) -> usize {
        self.node.inputs.len()
    }

    /// An input of the node.
    pub(crate) fn input(&self, index: usize) -> ValueId {
        self.node.inputs[index]
    }

    /// An output of the node.
    pub(crate) fn output(&self, index: usize) -> ValueId {
        self.node.outputs[index]
    }

    /// Shape of an input.
    pub(crate) fn input_shape(&self, index: usize) -> &'a [usize] {
        &self.shapes.inputs[index].shape
    }

    /// Shape of an output.
    pub(crate) fn output_shape(&self, index: usize) -> &'a [usize] {
        &self.shapes.outputs[index].shape
    }

    /// The elements of an input that must be constant.
    ///
    /// # Errors
    /// `UnsupportedGradient` when it is computed.
    pub(crate) fn constant_input(&self, index: usize) -> Result<Vec<f64>, TrainError> {
        let constant = self.graph.constant(self.input(index));
        let elements = constant.and_then(|t| t.to_f64().ok());
        elements.ok_or_else(|| self.unsupported("a computed parameter"))
    }

    /// The gradient of an output; zeros where nothing differentiated reads it.
    pub(crate) fn output_gradient(&mut self, index: usize) -> ValueId {
        match self.output_gradients[index] {
            Some(gradient) => gradient,
            None => {
                let shape = self.output_shape(index);
                self.constant(shape, &vec![0.0; shape.iter().product()])
            }
        }
    }

    /// A constant of the node's element type.
    pub(crate) fn constant(&mut self, shape: &[usize], elements: &[f64]) -> ValueId {
        let dtype = self.shapes.outputs[0].dtype;
        let tensor = Tensor::from_f64(dtype, shape, elements);
        let tensor = tensor.expect("a constant of a gradient is no larger than what it belongs to");
        self.edit.constant("gradient.constant", tensor)
    }

    /// Adds a node with one output.
    pub(crate) fn apply(&mut self, op: impl Into<Op>, inputs: &[ValueId]) -> ValueId {
        self.apply_many(op, inputs, 1).remove(0)
    }

    /// Adds a node with several outputs.
    pub(crate) fn apply_many(
        &mut self,
        op: impl Into<Op>,
        inputs: &[ValueId],
        outputs: usize,
    ) -> Vec<ValueId> {
        let name = format!("{}.gradient", self.node.name);
        self.edit.node(&name, op, inputs, &vec![name.as_str(); outputs])
    }

    /// Adds an element-wise node of two values.
    pub(crate) fn binary(&mut self, kind: BinaryKind, a: ValueId, b: ValueId) -> ValueId {
        self.apply(Binary { kind }, &[a, b])
    }

    /// Adds a product with one number.
    pub(crate) fn scale(&mut self, value: ValueId, factor: f64) -> ValueId {
        if factor == 1.0 {
            return value;
        }
        let factor = self.constant(&[], &[factor]);
        self.binary(BinaryKind::Mul, value, factor)
    }

    /// Adds a node that gives a value another shape.
    pub(crate) fn reshape(&mut self, value: ValueId, shape: &[usize]) -> ValueId {
        let shape = shape.to_vec();
        self.apply(Reshape { shape }, &[value])
    }

    /// Adds the sum over some axes, which stay with length 1.
    pub(crate) fn sum(&mut self, value: ValueId, axes: Vec<usize>) -> ValueId {
        let sum = Reduce { kind: ReduceKind::Sum, axes, keepdims: true };
        self.apply(sum, &[value])
    }

    /// The gradient of what was broadcast from `to`, given that of the result of shape `from`: the sum over all copies.
    pub(crate) fn sum_to(&mut self, value: ValueId, from: &[usize], to: &[usize]) -> ValueId {
        if from == to {
            return value;
        }
        let skip = from.len() - to.len();
        let is_copied = |axis: &usize| *axis < skip || to[axis - skip] != from[*axis];
        let copied: Vec<usize> = (0..from.len()).filter(is_copied).collect();
        let sum = if copied.is_empty() { value } else { self.sum(value, copied) };
        if skip == 0 { sum } else { self.reshape(sum, to) }
    }

    /// The error of a rule that does not cover the operator's every form.
    pub(crate) fn unsupported(&self, feature: &'static str) -> TrainError {
        TrainError::UnsupportedGradient {
            node: self.node.name.clone(),
            op_type: self.node.op.op_type().to_owned(),
            feature,
        }
    }
}

/// Whether values of this type have gradients.
pub(crate) fn is_differentiable(dtype: DataType) -> bool {
    matches!(dtype, DataType::F32 | DataType::F64)
}
