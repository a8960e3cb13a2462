//! The graph under construction: nodes named as exporters name them, shapes known as they are added.
use crate::CheckpointError;
use crate::budget::Budget;
use crate::module::Module;
use crate::storages::Storages;
use crate::tree::{Id, Tree};
use crate::views;
use ir::{DataType, Edit, Graph, Op, Tensor, TensorType, ValueId};
use std::collections::BTreeMap;

/// The opset that exported graphs are written with where none is asked for.
pub(crate) const OPSET: i64 = 17;
/// Memory of a node with its names, in the graph and in the copy that checks an edit.
const NODE_BYTES: usize = 2048;

/// What builds the graph of a model.
pub(crate) struct Builder<'t> {
    pub(crate) tree: &'t Tree<'t>,
    pub(crate) budget: &'t Budget,
    storages: Storages<'t>,
    edit: Edit,
    types: BTreeMap<ValueId, TensorType>,
    constants: BTreeMap<Id, ValueId>,
    names: BTreeMap<String, usize>,
    pub(crate) depth: usize,
}

impl<'t> Builder<'t> {
    pub(crate) fn new(tree: &'t Tree<'t>, storages: Storages<'t>, budget: &'t Budget) -> Self {
        Self {
            tree,
            budget,
            storages,
            edit: Graph::new(OPSET).edit(),
            types: BTreeMap::new(),
            constants: BTreeMap::new(),
            names: BTreeMap::new(),
            depth: 0,
        }
    }

    /// The images, `[1, channels, H, W]` f32.
    pub(crate) fn input(&mut self, channels: usize, [h, w]: [usize; 2]) -> ValueId {
        let ty = TensorType::new(DataType::F32, [1, channels, h, w]);
        let id = self.edit.input("images", ty.clone());
        self.types.insert(id, ty);
        id
    }

    /// The shape of a value.
    pub(crate) fn shape(&self, v: ValueId) -> &[usize] {
        self.types.get(&v).map_or(&[], |t| &t.shape)
    }

    /// Makes a value an output of the model.
    pub(crate) fn mark_output(&mut self, value: ValueId) {
        self.edit.output(value);
    }

    /// Adds a node.
    ///
    /// # Errors
    /// `Operator` where its inputs do not fit it, `TooLarge`.
    pub(crate) fn write(
        &mut self,
        at: &Module<'_>,
        op: Op,
        inputs: &[ValueId],
        outputs: Outputs<'_>,
    ) -> Result<Vec<ValueId>, CheckpointError> {
        let count = match outputs {
            Outputs::Count(n) => n,
            Outputs::Named(_) => 1,
        };
        let bytes = NODE_BYTES + count * 256 + 4 * at.path.len();
        self.budget.charge(bytes, || at.path.clone())?;
        let types: Vec<&TensorType> = inputs.iter().map(|v| &self.types[v]).collect();
        let inferred = op.infer(&types).map_err(|cause| CheckpointError::Operator {
            at: format!("{} ({}, {})", at.path, at.class_path(), op.op_type()),
            cause,
        })?;
        let name = self.unique(format!("{}/{}", scope(&at.path), op.op_type()));
        let names: Vec<String> = match outputs {
            Outputs::Count(n) => (0..n).map(|i| format!("{name}_output_{i}")).collect(),
            Outputs::Named(output) => vec![output.to_owned()],
        };
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let values = self.edit.node(&name, op, inputs, &names);
        self.types.extend(values.iter().copied().zip(inferred));
        Ok(values)
    }

    /// A constant that no file holds.
    ///
    /// # Errors
    /// `TooLarge`.
    pub(crate) fn constant(
        &mut self,
        at: &Module<'_>,
        name: &str,
        tensor: Tensor,
    ) -> Result<ValueId, CheckpointError> {
        let bytes = tensor.len() * size_of::<f32>() + 256;
        self.budget.charge(bytes, || at.path.clone())?;
        Ok(self.add_constant(at, name, tensor))
    }

    fn add_constant(&mut self, at: &Module<'_>, name: &str, tensor: Tensor) -> ValueId {
        let name = self.unique(format!("{}.{name}", at.path));
        let ty = tensor.ty();
        let id = self.edit.constant(&name, tensor);
        self.types.insert(id, ty);
        id
    }

    /// A tensor of a module, as f32, under the name that its weights have in exports.
    ///
    /// # Errors
    /// What is wrong with the stored tensor.
    pub(crate) fn weight(
        &mut self,
        module: &Module<'_>,
        name: &str,
        id: Id,
    ) -> Result<ValueId, CheckpointError> {
        if let Some(&known) = self.constants.get(&id) {
            return Ok(known);
        }
        // Its elements were charged when they were read, and a large model has no budget for twice.
        let tensor = self.tensor(module, name, id)?;
        let value = self.add_constant(module, name, tensor);
        self.constants.insert(id, value);
        Ok(value)
    }

    /// The elements of a tensor of a module, as f32.
    ///
    /// # Errors
    /// What is wrong with the stored tensor.
    pub(crate) fn tensor(
        &mut self,
        module: &Module<'_>,
        name: &str,
        id: Id,
    ) -> Result<Tensor, CheckpointError> {
        let at = format!("{}.{name}", module.path);
        views::tensor(&mut self.storages, self.tree, id, &at, self.budget)
    }

    /// The finished graph.
    ///
    /// # Errors
    /// `Graph` where it does not hold together.
    pub(crate) fn finish(self) -> Result<Graph, CheckpointError> {
        let mut graph = Graph::new(OPSET);
        graph.name = "main_graph".to_owned();
        graph.apply(self.edit)?;
        Ok(graph)
    }

    fn unique(&mut self, name: String) -> String {
        let seen = self.names.entry(name.clone()).or_insert(0);
        *seen += 1;
        match *seen {
            1 => name,
            n => format!("{name}_{}", n - 1),
        }
    }
}

/// How the outputs of a node are named.
#[derive(Clone, Copy)]
pub(crate) enum Outputs<'a> {
    /// So many, by the node's name.
    Count(usize),
    /// One, by this name.
    Named(&'a str),
}

/// `model.22.cv2.1.conv` as exporters write it in node names: `/model.22/cv2.1/conv`.
fn scope(path: &str) -> String {
    let mut scope = String::with_capacity(path.len() + 1);
    for part in path.split('.') {
        let is_index = !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        scope.push(if is_index && !scope.is_empty() { '.' } else { '/' });
        scope.push_str(part);
    }
    scope
}
