//! Edits: changes of a graph as values.
use crate::{Graph, IrError, Node, NodeId, Op, Tensor, TensorType, UniqueNames, Value, ValueId};
use std::collections::BTreeMap;

#[derive(Clone, Debug)]
enum Change {
    Value(ValueId, Value),
    Node(NodeId, Node),
    Input(ValueId),
    Output(ValueId),
    SetOutputs(Vec<ValueId>),
    Replace(ValueId, ValueId),
    ReplaceInput(NodeId, usize, ValueId),
    SetInputs(NodeId, Vec<ValueId>),
    SetOp(NodeId, Op),
    SetConstant(ValueId, Tensor),
    MakeParameter(ValueId),
    SetType(ValueId, TensorType),
    Rename(ValueId, String),
    Remove(NodeId),
}

/// A list of changes to one graph, applied together by [`Graph::apply`].
#[derive(Clone, Debug)]
pub struct Edit {
    changes: Vec<Change>,
    next: u32,
}

impl Graph {
    /// An empty edit of this graph.
    pub fn edit(&self) -> Edit {
        Edit { changes: Vec::new(), next: self.next }
    }

    /// Applies an edit: wiring is checked, dead nodes and values go, types are inferred anew. On error nothing changes.
    ///
    /// # Errors
    /// What the edit would break, as [`IrError`].
    pub fn apply(&mut self, edit: Edit) -> Result<(), IrError> {
        let mut next = self.clone();
        edit.write_into(&mut next);
        next.settle()?;
        *self = next;
        Ok(())
    }
}

impl Edit {
    /// Whether the edit changes nothing.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    fn fresh(&mut self) -> u32 {
        self.next += 1;
        self.next - 1
    }

    fn value(&mut self, name: &str, ty: Option<TensorType>, constant: Option<Tensor>) -> ValueId {
        let id = ValueId(self.fresh());
        self.changes.push(Change::Value(
            id,
            Value { name: name.to_owned(), ty, constant, parameter: None },
        ));
        id
    }

    /// Adds an input of the model. Names that are taken get a suffix.
    pub fn input(&mut self, name: &str, ty: TensorType) -> ValueId {
        let id = self.value(name, Some(ty), None);
        self.changes.push(Change::Input(id));
        id
    }

    /// Adds a constant.
    pub fn constant(&mut self, name: &str, tensor: Tensor) -> ValueId {
        self.value(name, Some(tensor.ty()), Some(tensor))
    }

    /// Adds a node and its outputs, named as given; types are inferred when the edit is applied.
    pub fn node(
        &mut self,
        name: &str,
        op: impl Into<Op>,
        inputs: &[ValueId],
        outputs: &[&str],
    ) -> Vec<ValueId> {
        let typed: Vec<_> = outputs.iter().map(|o| (*o, None)).collect();
        self.node_typed(name, op, inputs, &typed)
    }

    /// Adds a node whose output types are given: for operators that cannot be inferred.
    pub fn node_typed(
        &mut self,
        name: &str,
        op: impl Into<Op>,
        inputs: &[ValueId],
        outputs: &[(&str, Option<TensorType>)],
    ) -> Vec<ValueId> {
        let outputs: Vec<ValueId> =
            outputs.iter().map(|(name, ty)| self.value(name, ty.clone(), None)).collect();
        let id = NodeId(self.fresh());
        let node = Node {
            name: name.to_owned(),
            op: op.into(),
            inputs: inputs.to_vec(),
            outputs: outputs.clone(),
        };
        self.changes.push(Change::Node(id, node));
        outputs
    }

    /// Makes a value an output of the model.
    pub fn output(&mut self, value: ValueId) {
        self.changes.push(Change::Output(value));
    }

    /// Makes these values the outputs of the model, and no others; what only the old ones need goes.
    pub fn set_outputs(&mut self, values: &[ValueId]) {
        self.changes.push(Change::SetOutputs(values.to_vec()));
    }

    /// Lets every consumer of `old`, and the model's outputs, read `new`; an output keeps its name.
    /// Nodes added by the same edit after this call are not touched.
    pub fn replace_uses(&mut self, old: ValueId, new: ValueId) {
        self.changes.push(Change::Replace(old, new));
    }

    /// Lets one input of one node read `new`.
    pub fn replace_input(&mut self, node: NodeId, input: usize, new: ValueId) {
        self.changes.push(Change::ReplaceInput(node, input, new));
    }

    /// Gives one node new inputs.
    pub fn set_inputs(&mut self, node: NodeId, inputs: &[ValueId]) {
        self.changes.push(Change::SetInputs(node, inputs.to_vec()));
    }

    /// Replaces a node's operator.
    pub fn set_op(&mut self, node: NodeId, op: impl Into<Op>) {
        self.changes.push(Change::SetOp(node, op.into()));
    }

    /// Lets a constant's elements change from run to run; [`Edit::set_constant`] makes them fixed again.
    pub fn make_parameter(&mut self, constant: ValueId) {
        self.changes.push(Change::MakeParameter(constant));
    }

    /// Replaces the elements of a constant, or fixes those of a parameter.
    pub fn set_constant(&mut self, value: ValueId, tensor: Tensor) {
        self.changes.push(Change::SetConstant(value, tensor));
    }

    /// Gives an input of the model another type.
    pub fn set_type(&mut self, input: ValueId, ty: TensorType) {
        self.changes.push(Change::SetType(input, ty));
    }

    /// Gives a value this name; one that had it takes the value's old name.
    pub fn rename(&mut self, value: ValueId, name: &str) {
        self.changes.push(Change::Rename(value, name.to_owned()));
    }

    /// Removes a node; nodes that nothing reads go by themselves.
    pub fn remove(&mut self, node: NodeId) {
        self.changes.push(Change::Remove(node));
    }

    /// Everything of the graph before this edit that it changes or rewires: two edits that share nothing can be joined.
    pub(crate) fn touched(&self) -> (Vec<NodeId>, Vec<ValueId>) {
        let (mut nodes, mut values) = (Vec::new(), Vec::new());
        for change in &self.changes {
            match change {
                Change::ReplaceInput(n, _, v) => {
                    nodes.push(*n);
                    values.push(*v);
                }
                Change::SetInputs(n, v) => {
                    nodes.push(*n);
                    values.extend(v);
                }
                Change::SetOp(n, _) | Change::Remove(n) => nodes.push(*n),
                Change::Replace(a, b) => values.extend([*a, *b]),
                Change::SetConstant(v, _)
                | Change::MakeParameter(v)
                | Change::SetType(v, _)
                | Change::Rename(v, _)
                | Change::Input(v)
                | Change::Output(v) => values.push(*v),
                Change::SetOutputs(v) => values.extend(v),
                Change::Node(_, node) => values.extend(&node.inputs),
                Change::Value(..) => {}
            }
        }
        (nodes, values)
    }

    /// Values whose readers, elements or role change.
    pub(crate) fn replaced(&self) -> Vec<ValueId> {
        let value = |change: &Change| match change {
            Change::Replace(old, _) => Some(*old),
            Change::SetConstant(v, _) | Change::MakeParameter(v) | Change::SetType(v, _) => {
                Some(*v)
            }
            _ => None,
        };
        self.changes.iter().filter_map(value).collect()
    }

    /// Adds the changes of another edit of the same graph, in which ids from `base` on are new.
    pub(crate) fn join(&mut self, other: Edit, base: u32) {
        let shift = self.next - base;
        let moved = |id: u32| if id < base { id } else { id + shift };
        let value = |v: ValueId| ValueId(moved(v.0));
        let node = |n: NodeId| NodeId(moved(n.0));
        let all = |v: Vec<ValueId>| v.into_iter().map(value).collect();
        let change = |change| match change {
            Change::Value(v, content) => Change::Value(value(v), content),
            Change::Node(id, n) => {
                let (inputs, outputs) = (all(n.inputs), all(n.outputs));
                let n = Node { inputs, outputs, ..n };
                Change::Node(node(id), n)
            }
            Change::Input(v) => Change::Input(value(v)),
            Change::Output(v) => Change::Output(value(v)),
            Change::SetOutputs(v) => Change::SetOutputs(all(v)),
            Change::Replace(a, b) => Change::Replace(value(a), value(b)),
            Change::ReplaceInput(n, i, v) => Change::ReplaceInput(node(n), i, value(v)),
            Change::SetInputs(n, v) => Change::SetInputs(node(n), all(v)),
            Change::SetOp(n, op) => Change::SetOp(node(n), op),
            Change::SetConstant(v, tensor) => Change::SetConstant(value(v), tensor),
            Change::MakeParameter(v) => Change::MakeParameter(value(v)),
            Change::SetType(v, ty) => Change::SetType(value(v), ty),
            Change::Rename(v, name) => Change::Rename(value(v), name),
            Change::Remove(n) => Change::Remove(node(n)),
        };
        self.changes.extend(other.changes.into_iter().map(change));
        self.next = other.next + shift;
    }

    pub(crate) fn write_into(self, graph: &mut Graph) {
        let mut names = UniqueNames::new(graph.values.values().map(|v| v.name.clone()));
        let mut readers = Readers::default();
        let is_replacement = |c: &Change| matches!(c, Change::Replace(..));
        if self.changes.iter().any(is_replacement) {
            readers.add_all(graph);
        }
        for change in self.changes {
            match change {
                Change::Value(id, mut value) => {
                    value.name = names.unique(&value.name);
                    graph.values.insert(id, value);
                }
                Change::Node(id, node) => {
                    readers.add(id, &node.inputs);
                    graph.nodes.insert(id, node);
                }
                Change::Input(v) => graph.inputs.push(v),
                Change::Output(v) => graph.outputs.push(v),
                Change::SetOutputs(v) => graph.outputs = v,
                Change::Replace(old, new) => replace(graph, &mut readers, old, new),
                Change::ReplaceInput(n, i, v) => {
                    if let Some(slot) = graph.nodes.get_mut(&n).and_then(|n| n.inputs.get_mut(i)) {
                        *slot = v;
                        readers.add(n, &[v]);
                    }
                }
                Change::SetInputs(n, inputs) => {
                    graph.nodes.entry(n).and_modify(|node| {
                        readers.add(n, &inputs);
                        node.inputs = inputs;
                    });
                }
                Change::SetOp(n, op) => {
                    graph.nodes.entry(n).and_modify(|node| node.op = op);
                }
                Change::SetConstant(v, tensor) => {
                    graph.values.entry(v).and_modify(|value| {
                        value.ty = Some(tensor.ty());
                        (value.constant, value.parameter) = (Some(tensor), None);
                    });
                }
                Change::MakeParameter(v) => {
                    graph.values.entry(v).and_modify(|value| {
                        value.parameter = value.constant.take().or(value.parameter.take());
                    });
                }
                Change::SetType(v, ty) => {
                    graph.values.entry(v).and_modify(|value| value.ty = Some(ty));
                }
                Change::Rename(v, name) => rename(graph, v, name),
                Change::Remove(n) => drop(graph.nodes.remove(&n)),
            }
        }
        graph.order.retain(|id| graph.nodes.contains_key(id));
        graph.next = graph.next.max(self.next);
    }
}

fn rename(graph: &mut Graph, v: ValueId, name: String) {
    let holder = graph.value_named(&name);
    let Some(value) = graph.values.get_mut(&v) else {
        return;
    };
    let old = std::mem::replace(&mut value.name, name);
    if let Some(other) = holder.filter(|other| *other != v) {
        graph.values.entry(other).and_modify(|other| other.name = old);
    }
}

/// Nodes that read a value, or once did: what an edit of many replacements looks at instead of all nodes.
#[derive(Debug, Default)]
struct Readers(BTreeMap<ValueId, Vec<NodeId>>);

impl Readers {
    fn add_all(&mut self, graph: &Graph) {
        for (&id, node) in &graph.nodes {
            self.add(id, &node.inputs);
        }
    }

    fn add(&mut self, id: NodeId, inputs: &[ValueId]) {
        for &v in inputs {
            self.0.entry(v).or_default().push(id);
        }
    }
}

fn replace(graph: &mut Graph, readers: &mut Readers, old: ValueId, new: ValueId) {
    let moved = readers.0.remove(&old).unwrap_or_default();
    for id in &moved {
        let inputs = graph.nodes.get_mut(id).map(|n| &mut n.inputs);
        for v in inputs.into_iter().flatten().filter(|v| **v == old) {
            *v = new;
        }
    }
    readers.0.entry(new).or_default().extend(moved);
    if !graph.outputs.contains(&old) {
        return;
    }
    for v in &mut graph.outputs {
        if *v == old {
            *v = new;
        }
    }
    let (a, b) = (graph.values[&old].name.clone(), graph.values[&new].name.clone());
    for (id, name) in [(old, b), (new, a)] {
        graph.values.get_mut(&id).expect("both were just read").name = name;
    }
}
