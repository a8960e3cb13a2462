//! The graph: nodes, values, and the order in which they run.
use crate::{IrError, Op, Shapes, Tensor, TensorType};
use std::collections::{BTreeMap, BTreeSet};

/// Identity of a node; never reused within a graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub(crate) u32);

/// Identity of a value; never reused within a graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ValueId(pub(crate) u32);

/// One tensor edge.
#[derive(Clone, Debug)]
pub struct Value {
    /// Name, unique in the graph.
    pub name: String,
    /// Type; unknown only downstream of operators that yoloslim does not know.
    pub ty: Option<TensorType>,
    /// The elements, if the value is constant.
    pub constant: Option<Tensor>,
    /// The elements, if the value is a parameter: known, but they may change from run to run. Nothing is folded into
    /// them or they into anything.
    pub parameter: Option<Tensor>,
}

impl Value {
    /// The elements of a constant or a parameter.
    pub fn elements(&self) -> Option<&Tensor> {
        self.constant.as_ref().or(self.parameter.as_ref())
    }
}

/// One application of an operator.
#[derive(Clone, Debug)]
pub struct Node {
    /// Name, for people.
    pub name: String,
    /// The operator with its parameters.
    pub op: Op,
    /// Inputs in the operator's order.
    pub inputs: Vec<ValueId>,
    /// Outputs in the operator's order.
    pub outputs: Vec<ValueId>,
}

/// A model: a valid, acyclic, typed graph. Every change is an [`Edit`](crate::Edit), checked when it is applied.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    /// Name, for people.
    pub name: String,
    /// Opset version of the default domain that the model is written with.
    pub opset: i64,
    /// Opset versions of other domains.
    pub domains: BTreeMap<String, i64>,
    /// Key and value pairs that travel with the model.
    pub metadata: BTreeMap<String, String>,
    /// What its reader assumed or changed, for the user; not written.
    pub notes: Vec<String>,
    pub(crate) nodes: BTreeMap<NodeId, Node>,
    pub(crate) values: BTreeMap<ValueId, Value>,
    pub(crate) order: Vec<NodeId>,
    pub(crate) inputs: Vec<ValueId>,
    pub(crate) outputs: Vec<ValueId>,
    pub(crate) producers: BTreeMap<ValueId, NodeId>,
    pub(crate) next: u32,
}

impl Graph {
    /// An empty graph of the given opset.
    pub fn new(opset: i64) -> Self {
        Self { opset, ..Self::default() }
    }

    /// Nodes in execution order.
    pub fn nodes(&self) -> impl DoubleEndedIterator<Item = (NodeId, &Node)> {
        self.order.iter().map(|id| (*id, &self.nodes[id]))
    }

    /// Number of nodes.
    pub fn node_count(&self) -> usize {
        self.order.len()
    }

    /// Whether a node is still there.
    pub fn contains(&self, id: NodeId) -> bool {
        self.nodes.contains_key(&id)
    }

    /// A node of this graph.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[&id]
    }

    /// Values with their ids.
    pub fn values(&self) -> impl Iterator<Item = (ValueId, &Value)> {
        self.values.iter().map(|(id, v)| (*id, v))
    }

    /// A value of this graph.
    pub fn value(&self, id: ValueId) -> &Value {
        &self.values[&id]
    }

    /// The value of that name.
    pub fn value_named(&self, name: &str) -> Option<ValueId> {
        self.values.iter().find(|(_, v)| v.name == name).map(|(id, _)| *id)
    }

    /// Inputs of the model.
    pub fn inputs(&self) -> &[ValueId] {
        &self.inputs
    }

    /// Outputs of the model.
    pub fn outputs(&self) -> &[ValueId] {
        &self.outputs
    }

    /// The node that produces a value; `None` for inputs and constants.
    pub fn producer(&self, id: ValueId) -> Option<NodeId> {
        self.producers.get(&id).copied()
    }

    /// The constant elements of a value.
    pub fn constant(&self, id: ValueId) -> Option<&Tensor> {
        self.values[&id].constant.as_ref()
    }

    /// The elements of a parameter, as they are before anything changes them.
    pub fn parameter(&self, id: ValueId) -> Option<&Tensor> {
        self.values[&id].parameter.as_ref()
    }

    /// The type of a value.
    ///
    /// # Errors
    /// `UnknownType` downstream of an operator that yoloslim does not know.
    pub fn ty(&self, id: ValueId) -> Result<&TensorType, IrError> {
        let value = &self.values[&id];
        value.ty.as_ref().ok_or_else(|| IrError::UnknownType { value: value.name.clone() })
    }

    /// Every value's consumers as (node, input position), in execution order.
    pub fn consumers(&self) -> BTreeMap<ValueId, Vec<(NodeId, usize)>> {
        let mut map: BTreeMap<ValueId, Vec<(NodeId, usize)>> = BTreeMap::new();
        for (id, node) in self.nodes() {
            for (i, &v) in node.inputs.iter().enumerate() {
                map.entry(v).or_default().push((id, i));
            }
        }
        map
    }

    /// Types of a node's inputs and outputs.
    ///
    /// # Errors
    /// `UnknownType` when one is not known.
    pub fn shapes(&self, id: NodeId) -> Result<Shapes<'_>, IrError> {
        let node = self.node(id);
        Ok(Shapes {
            inputs: node.inputs.iter().map(|&v| self.ty(v)).collect::<Result<_, _>>()?,
            outputs: node.outputs.iter().map(|&v| self.ty(v)).collect::<Result<_, _>>()?,
        })
    }

    /// Multiply-accumulate operations of a node; 0 where a shape is not known.
    pub fn node_macs(&self, id: NodeId) -> u64 {
        self.shapes(id).map_or(0, |s| self.node(id).op.macs(&s))
    }

    /// Multiply-accumulate operations of the whole graph; saturates.
    pub fn macs(&self) -> u64 {
        let macs = self.order.iter().map(|&id| self.node_macs(id));
        macs.fold(0, u64::saturating_add)
    }

    /// Number of learned parameters: weights, biases, and scale and shift of normalising nodes.
    pub fn params(&self) -> u64 {
        let mut seen = BTreeSet::new();
        self.nodes().map(|(id, _)| self.node_params(id, &mut seen)).sum()
    }

    /// Number of learned parameters of a node that no node counted into `seen` shares.
    pub fn node_params(&self, id: NodeId, seen: &mut BTreeSet<ValueId>) -> u64 {
        let node = self.node(id);
        let learned = node.op.learned_inputs().filter_map(|i| node.inputs.get(i));
        learned.filter(|v| seen.insert(**v)).map(|&v| self.parameter_elements(v)).sum()
    }

    fn parameter_elements(&self, v: ValueId) -> u64 {
        let source = self
            .producer(v)
            .map(|n| self.node(n))
            .filter(|n| matches!(n.op, Op::DequantizeLinear(_)));
        let stored = self.values[&source.map_or(v, |n| n.inputs[0])].elements();
        stored.map_or(0, |t| t.len() as u64)
    }

    /// Checks wiring, drops what nothing reads, sorts, and infers types anew.
    pub(crate) fn settle(&mut self) -> Result<(), IrError> {
        self.index_producers()?;
        self.drop_dead();
        self.sort()?;
        self.infer_all()
    }

    fn index_producers(&mut self) -> Result<(), IrError> {
        self.producers.clear();
        let given: BTreeSet<ValueId> = self.inputs.iter().copied().collect();
        for (&id, node) in &self.nodes {
            for v in &node.outputs {
                let taken = self.producers.insert(*v, id).is_some();
                if taken || self.values[v].elements().is_some() || given.contains(v) {
                    return Err(IrError::TwoProducers { value: self.values[v].name.clone() });
                }
            }
        }
        for node in self.nodes.values() {
            for v in &node.inputs {
                self.check_defined(*v, &given, &node.name)?;
            }
        }
        for v in &self.outputs {
            self.check_defined(*v, &given, "the model's outputs")?;
        }
        Ok(())
    }

    fn check_defined(
        &self,
        v: ValueId,
        given: &BTreeSet<ValueId>,
        by: &str,
    ) -> Result<(), IrError> {
        let Some(value) = self.values.get(&v) else {
            return Err(IrError::Undefined { value: format!("{v:?}"), by: by.to_owned() });
        };
        if value.elements().is_some() || self.producers.contains_key(&v) || given.contains(&v) {
            return Ok(());
        }
        Err(IrError::Undefined { value: value.name.clone(), by: by.to_owned() })
    }

    /// Opaque nodes stay even when nothing reads them: what they do is not known.
    fn drop_dead(&mut self) {
        let mut live: BTreeSet<NodeId> = BTreeSet::new();
        let mut todo: Vec<NodeId> =
            self.outputs.iter().filter_map(|v| self.producers.get(v).copied()).collect();
        todo.extend(
            self.nodes.iter().filter(|(_, n)| matches!(n.op, Op::Opaque(_))).map(|(id, _)| *id),
        );
        while let Some(id) = todo.pop() {
            if live.insert(id) {
                todo.extend(
                    self.nodes[&id].inputs.iter().filter_map(|v| self.producers.get(v).copied()),
                );
            }
        }
        self.nodes.retain(|id, _| live.contains(id));
        self.order.retain(|id| live.contains(id));
        self.producers.retain(|_, n| live.contains(n));
        let mut used: BTreeSet<ValueId> =
            self.inputs.iter().chain(&self.outputs).copied().collect();
        used.extend(self.nodes.values().flat_map(|n| n.inputs.iter().chain(&n.outputs)).copied());
        self.values.retain(|v, _| used.contains(v));
    }

    /// Depth first in the order nodes were added, so that a new producer runs just before its first consumer.
    fn sort(&mut self) -> Result<(), IrError> {
        let mut roots = std::mem::take(&mut self.order);
        let known: BTreeSet<NodeId> = roots.iter().copied().collect();
        roots.extend(self.nodes.keys().filter(|id| !known.contains(id)));
        let mut done: BTreeMap<NodeId, bool> = BTreeMap::new();
        for root in roots {
            let mut stack = vec![(root, false)];
            while let Some((id, leave)) = stack.pop() {
                if leave {
                    done.insert(id, true);
                    self.order.push(id);
                    continue;
                }
                match done.get(&id) {
                    Some(true) => continue,
                    Some(false) => {
                        return Err(IrError::Cycle { node: self.nodes[&id].name.clone() });
                    }
                    None => {}
                }
                done.insert(id, false);
                stack.push((id, true));
                for v in self.nodes[&id].inputs.iter().rev() {
                    let Some(&p) = self.producers.get(v) else {
                        continue;
                    };
                    match done.get(&p) {
                        Some(true) => {}
                        Some(false) => {
                            return Err(IrError::Cycle { node: self.nodes[&p].name.clone() });
                        }
                        None => stack.push((p, false)),
                    }
                }
            }
        }
        Ok(())
    }

    fn infer_all(&mut self) -> Result<(), IrError> {
        for id in self.order.clone() {
            let node = &self.nodes[&id];
            if matches!(node.op, Op::Opaque(_)) {
                continue;
            }
            let types: Option<Vec<&TensorType>> =
                node.inputs.iter().map(|v| self.values[v].ty.as_ref()).collect();
            let inferred = match types {
                None => vec![None; node.outputs.len()],
                Some(types) => {
                    let out =
                        node.op.infer(&types).map_err(|source| self.op_error(node, source))?;
                    if out.len() < node.outputs.len() {
                        let source = crate::OpError::OutputCount {
                            expected: out.len(),
                            found: node.outputs.len(),
                        };
                        return Err(self.op_error(node, source));
                    }
                    out.into_iter().map(Some).collect()
                }
            };
            for (v, ty) in node.outputs.clone().into_iter().zip(inferred) {
                self.values.get_mut(&v).expect("outputs were checked").ty = ty;
            }
        }
        Ok(())
    }

    /// Adds the node and its input types to an operator's complaint.
    pub fn op_error(&self, node: &Node, cause: crate::OpError) -> IrError {
        let ty = |v: &ValueId| {
            self.values
                .get(v)
                .and_then(|v| v.ty.as_ref())
                .map_or("unknown".to_owned(), ToString::to_string)
        };
        let inputs = node.inputs.iter().map(ty).collect::<Vec<_>>().join(", ");
        IrError::Op {
            node: node.name.clone(),
            op_type: node.op.op_type().to_owned(),
            inputs: format!("({inputs})"),
            cause: Box::new(cause),
        }
    }
}
