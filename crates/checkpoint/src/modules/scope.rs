//! A module on its way into the graph: its place in the checkpoint, and the nodes it adds.
use crate::CheckpointError;
use crate::builder::{Builder, Outputs};
use crate::module::Module;
use ir::ops::{BinaryKind, Concat};
use ir::{Op, OpError, Tensor, ValueId};

/// The value that a module gives, or why there is none.
pub(crate) type Built = Result<ValueId, CheckpointError>;

/// A module and the graph that its nodes go into.
pub(crate) struct Scope<'a, 't> {
    pub(crate) builder: &'a mut Builder<'t>,
    pub(crate) module: &'a Module<'t>,
}

impl<'t> Scope<'_, 't> {
    /// Builds the submodule of that name on one value.
    ///
    /// # Errors
    /// `Expected` where there is none; what is wrong with it otherwise.
    pub(crate) fn child(&mut self, name: &str, x: ValueId) -> Built {
        let child = self.module.child(name)?;
        self.run(&child, x)
    }

    /// Builds the submodules of these names, each on what the one before it gives.
    ///
    /// # Errors
    /// As [`Scope::child`].
    pub(crate) fn chain(&mut self, names: &[&str], x: ValueId) -> Built {
        names.iter().try_fold(x, |x, name| self.child(name, x))
    }

    /// As [`Scope::chain`], but passes over those that do not exist.
    ///
    /// # Errors
    /// What is wrong with one of them.
    pub(crate) fn optional_chain(&mut self, names: &[&str], mut x: ValueId) -> Built {
        for name in names {
            if let Some(child) = self.module.find(name)? {
                x = self.run(&child, x)?;
            }
        }
        Ok(x)
    }

    /// Builds another module on one value.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn run(&mut self, module: &Module<'t>, x: ValueId) -> Built {
        super::build_one(self.builder, module, x)
    }

    /// The same graph seen from another module.
    pub(crate) fn within<'b>(&'b mut self, module: &'b Module<'t>) -> Scope<'b, 't> {
        Scope { builder: self.builder, module }
    }

    /// A node with one output.
    ///
    /// # Errors
    /// `Operator` where its inputs do not fit it.
    pub(crate) fn node(&mut self, op: impl Into<Op>, inputs: &[ValueId]) -> Built {
        Ok(self.nodes(op, inputs, 1)?[0])
    }

    /// A node with several outputs.
    ///
    /// # Errors
    /// As [`Scope::node`].
    pub(crate) fn nodes(
        &mut self,
        op: impl Into<Op>,
        inputs: &[ValueId],
        outputs: usize,
    ) -> Result<Vec<ValueId>, CheckpointError> {
        let outputs = Outputs::Count(outputs);
        self.builder.write(self.module, op.into(), inputs, outputs)
    }

    /// The node that gives an output of the model.
    ///
    /// # Errors
    /// As [`Scope::node`].
    pub(crate) fn output(&mut self, op: impl Into<Op>, inputs: &[ValueId], name: &str) -> Built {
        let outputs = Outputs::Named(name);
        let values = self.builder.write(self.module, op.into(), inputs, outputs)?;
        self.builder.mark_output(values[0]);
        Ok(values[0])
    }

    /// The channels of all values, one after the other.
    ///
    /// # Errors
    /// As [`Scope::node`].
    pub(crate) fn concat(&mut self, values: &[ValueId]) -> Built {
        self.node(Concat { axis: 1 }, values)
    }

    /// The sum of two values.
    ///
    /// # Errors
    /// As [`Scope::node`].
    pub(crate) fn add(&mut self, a: ValueId, b: ValueId) -> Built {
        self.node(BinaryKind::Add, &[a, b])
    }

    /// The sum so far with one more value, or that value where it is the first.
    ///
    /// # Errors
    /// As [`Scope::node`].
    pub(crate) fn add_to(&mut self, sum: Option<ValueId>, value: ValueId) -> Built {
        sum.map_or(Ok(value), |sum| self.add(sum, value))
    }

    /// The product of two values.
    ///
    /// # Errors
    /// As [`Scope::node`].
    pub(crate) fn mul(&mut self, a: ValueId, b: ValueId) -> Built {
        self.node(BinaryKind::Mul, &[a, b])
    }

    /// `x + y` where the module has a shortcut, otherwise `y`.
    ///
    /// # Errors
    /// As [`Scope::node`].
    pub(crate) fn shortcut(&mut self, x: ValueId, y: ValueId) -> Built {
        if self.module.flag("add") { self.add(x, y) } else { Ok(y) }
    }

    /// The shape of a value.
    pub(crate) fn shape(&self, v: ValueId) -> &[usize] {
        self.builder.shape(v)
    }

    /// Channels, height and width of a value.
    ///
    /// # Errors
    /// `Expected` where it is not an image.
    pub(crate) fn image(&self, v: ValueId) -> Result<[usize; 3], CheckpointError> {
        match *self.shape(v) {
            [_, c, h, w] => Ok([c, h, w]),
            ref other => Err(CheckpointError::Expected {
                at: self.module.path.clone(),
                expected: "an input [N, C, H, W]",
                found: format!("{other:?}"),
            }),
        }
    }

    /// A constant of f32 that no file holds.
    ///
    /// # Errors
    /// `TooLarge`.
    pub(crate) fn constant(&mut self, name: &str, shape: &[usize], values: Vec<f32>) -> Built {
        let tensor = Tensor::new(shape, values).map_err(|e| self.operator(e))?;
        self.tensor_constant(name, tensor)
    }

    /// A tensor that no file holds in this form, as a constant.
    ///
    /// # Errors
    /// `TooLarge`.
    pub(crate) fn tensor_constant(&mut self, name: &str, tensor: Tensor) -> Built {
        self.builder.constant(self.module, name, tensor)
    }

    /// A single number.
    ///
    /// # Errors
    /// `TooLarge`.
    pub(crate) fn scalar(&mut self, name: &str, value: f32) -> Built {
        self.constant(name, &[], vec![value])
    }

    /// A tensor of the module as a constant, under the name that its weights have in exports.
    ///
    /// # Errors
    /// `Expected` where there is none; what is wrong with the stored tensor.
    pub(crate) fn weight(&mut self, name: &str) -> Built {
        let id = self.module.required_tensor(name)?;
        self.builder.weight(self.module, name, id)
    }

    /// The elements of a tensor of the module, as f32.
    ///
    /// # Errors
    /// As [`Scope::weight`].
    pub(crate) fn tensor(&mut self, name: &str) -> Result<Tensor, CheckpointError> {
        let id = self.module.required_tensor(name)?;
        self.builder.tensor(self.module, name, id)
    }

    /// One number for each channel from a tensor of the module, as `[1, channels, 1, 1]`.
    ///
    /// # Errors
    /// As [`Scope::weight`].
    pub(crate) fn channel_weight(&mut self, name: &str) -> Built {
        let values = self.tensor(name)?;
        let values = values.as_slice::<f32>().map_err(|e| self.operator(e))?;
        self.constant(name, &[1, values.len(), 1, 1], values.to_vec())
    }

    /// Takes bytes that the file decides on out of the budget, before they are allocated.
    ///
    /// # Errors
    /// `TooLarge`.
    pub(crate) fn charge(&self, bytes: usize) -> Result<(), CheckpointError> {
        let budget = self.builder.budget;
        budget.charge(bytes, || self.module.path.clone())
    }

    /// An error of an operator or a tensor, at this module.
    pub(crate) fn operator(&self, cause: OpError) -> CheckpointError {
        CheckpointError::Operator { at: self.module.path.clone(), cause }
    }
}
