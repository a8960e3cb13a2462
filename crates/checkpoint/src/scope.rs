//! A module on its way into the graph: its place in the checkpoint, and the nodes it adds.
use crate::CheckpointError;
use crate::builder::Builder;
use crate::module::Module;
use crate::modules;
use ir::ops::{BinaryKind, Concat};
use ir::{Op, OpError, Tensor, ValueId};

/// The value that a module gives, or why there is none.
pub(crate) type Built = Result<ValueId, CheckpointError>;

/// A module and the graph that its nodes go into.
pub(crate) struct Scope<'a, 't, 's> {
    pub(crate) builder: &'a mut Builder<'t, 's>,
    pub(crate) module: &'a Module<'t>,
}

impl<'t, 's> Scope<'_, 't, 's> {
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
        modules::build_one(self.builder, module, x)
    }

    /// The same graph seen from another module.
    pub(crate) fn of<'b>(&'b mut self, module: &'b Module<'t>) -> Scope<'b, 't, 's> {
        Scope {
            builder: self.builder,
            module,
        }
    }

    /// A node with one output.
    ///
    /// # Errors
    /// `Operator` where its inputs do not fit it.
    pub(crate) fn node(&mut self, op: impl Into<Op>, inputs: &[ValueId]) -> Built {
        self.builder.node(self.module, op, inputs)
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
        self.builder.nodes(self.module, op, inputs, outputs)
    }

    /// The node that gives an output of the model.
    ///
    /// # Errors
    /// As [`Scope::node`].
    pub(crate) fn output(&mut self, op: impl Into<Op>, inputs: &[ValueId], name: &str) -> Built {
        self.builder.output(self.module, op, inputs, name)
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
        if self.module.flag("add") {
            self.add(x, y)
        } else {
            Ok(y)
        }
    }

    /// Channels, height and width of a value.
    ///
    /// # Errors
    /// `Expected` where it is not an image.
    pub(crate) fn image(&self, v: ValueId) -> Result<[usize; 3], CheckpointError> {
        self.builder.image(v, self.module)
    }

    /// A constant of f32 that no file holds.
    ///
    /// # Errors
    /// `TooLarge`.
    pub(crate) fn constant(&mut self, name: &str, shape: &[usize], values: Vec<f32>) -> Built {
        let tensor = Tensor::new(shape, values).map_err(|e| self.operator(e))?;
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

    /// An error of an operator or a tensor, at this module.
    pub(crate) fn operator(&self, source: OpError) -> CheckpointError {
        CheckpointError::Operator {
            at: self.module.path.clone(),
            source,
        }
    }
}
