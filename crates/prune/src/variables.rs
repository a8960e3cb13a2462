//! One variable for every index of every axis of every value, and which of them are the same.
use crate::PruneError;
use ir::{FreezeReason, Graph, Node, Op, Port, Span, ValueId};
use std::collections::{BTreeMap, BTreeSet};

/// Where a variable stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) value: ValueId,
    pub(crate) axis: usize,
    pub(crate) index: usize,
}

/// Union-find over all variables of a graph.
pub(crate) struct Variables {
    pub(crate) places: Vec<Place>,
    parent: Vec<usize>,
    /// First variable and length of each axis.
    axes: BTreeMap<ValueId, Vec<(usize, usize)>>,
    frozen: Vec<(usize, usize, FreezeReason)>,
}

impl Variables {
    pub(crate) fn new(graph: &Graph) -> Self {
        let mut all = Self {
            places: Vec::new(),
            parent: Vec::new(),
            axes: BTreeMap::new(),
            frozen: Vec::new(),
        };
        for (value, v) in graph.values() {
            let Some(ty) = &v.ty else { continue };
            let mut axes = Vec::new();
            for (axis, &len) in ty.shape.iter().enumerate() {
                axes.push((all.places.len(), len));
                all.places.extend((0..len).map(|index| Place { value, axis, index }));
            }
            all.axes.insert(value, axes);
        }
        all.parent = (0..all.places.len()).collect();
        all
    }

    pub(crate) fn find(&mut self, mut i: usize) -> usize {
        while self.parent[i] != i {
            self.parent[i] = self.parent[self.parent[i]];
            i = self.parent[i];
        }
        i
    }

    /// The smaller variable stands for both, so that results do not depend on the order of links.
    fn unite(&mut self, a: usize, b: usize) {
        let (a, b) = (self.find(a), self.find(b));
        self.parent[a.max(b)] = a.min(b);
    }

    /// First variable and length of an axis.
    pub(crate) fn axis(&self, value: ValueId, axis: usize) -> Option<(usize, usize)> {
        self.axes.get(&value)?.get(axis).copied()
    }

    /// Freezes an axis, if there is such an axis.
    fn freeze(&mut self, value: ValueId, axis: usize, reason: FreezeReason) {
        if let Some((first, len)) = self.axis(value, axis) {
            self.frozen.push((first, len, reason));
        }
    }

    pub(crate) fn freeze_all(&mut self, value: ValueId, reason: &FreezeReason) {
        for axis in 0..self.axes.get(&value).map_or(0, Vec::len) {
            self.freeze(value, axis, reason.clone());
        }
    }

    fn span(&self, node: &Node, span: &Span) -> Option<usize> {
        let (first, len) = self.axis(port_value(node, span.port)?, span.axis)?;
        let end = span.len.checked_mul(span.block).and_then(|n| n.checked_add(span.start));
        (end? <= len).then_some(first + span.start)
    }

    /// Unites what a node links and freezes the axes that it says nothing of.
    ///
    /// # Errors
    /// `BadLink` when a link reaches outside a tensor.
    pub(crate) fn add_node(&mut self, graph: &Graph, node: &Node) -> Result<(), PruneError> {
        let values = || node.inputs.iter().chain(&node.outputs);
        let op_type = node.op.op_type().to_owned();
        let known = values().all(|v| graph.value(*v).ty.is_some());
        let channels = match graph_shapes(graph, node) {
            Some(shapes) if known && !matches!(node.op, Op::Opaque(_)) => {
                node.op.channel_links(&shapes)
            }
            _ => {
                let reason = match node.op {
                    Op::Opaque(_) => FreezeReason::Opaque(op_type),
                    _ => FreezeReason::Unlinked(op_type),
                };
                values().for_each(|v| self.freeze_all(*v, &reason));
                return Ok(());
            }
        };
        let bad = || PruneError::BadLink {
            node: node.name.clone(),
            op_type: node.op.op_type().to_owned(),
        };
        for (port, axis, reason) in channels.frozen {
            let value = port_value(node, port).ok_or_else(bad)?;
            self.freeze(value, axis, reason);
        }
        let mut linked: BTreeSet<(Port, usize)> = BTreeSet::new();
        for link in &channels.links {
            let a = self.span(node, &link.a).ok_or_else(bad)?;
            let b = self.span(node, &link.b).ok_or_else(bad)?;
            if link.a.len != link.b.len {
                return Err(bad());
            }
            for k in 0..link.a.len {
                let head = a + k * link.a.block;
                (1..link.a.block).for_each(|i| self.unite(head, head + i));
                (0..link.b.block).for_each(|i| self.unite(head, b + k * link.b.block + i));
            }
            linked.extend([(link.a.port, link.a.axis), (link.b.port, link.b.axis)]);
        }
        let inputs = node.inputs.iter().enumerate().map(|(i, v)| (Port::Input(i), *v));
        let outputs = node.outputs.iter().enumerate().map(|(i, v)| (Port::Output(i), *v));
        for (port, value) in inputs.chain(outputs) {
            let rank = self.axes.get(&value).map_or(0, Vec::len);
            for axis in (0..rank).filter(|a| !linked.contains(&(port, *a))) {
                self.freeze(value, axis, FreezeReason::Unlinked(op_type.clone()));
            }
        }
        Ok(())
    }

    /// For each variable that stands for others, the first reason for which it is frozen.
    pub(crate) fn reasons(&mut self) -> BTreeMap<usize, FreezeReason> {
        let mut reasons = BTreeMap::new();
        for (first, len, reason) in std::mem::take(&mut self.frozen) {
            for i in first..first + len {
                let head = self.find(i);
                reasons.entry(head).or_insert_with(|| reason.clone());
            }
        }
        reasons
    }
}

fn graph_shapes<'a>(graph: &'a Graph, node: &Node) -> Option<ir::Shapes<'a>> {
    let types = |values: &[ValueId]| -> Option<Vec<&'a ir::TensorType>> {
        values.iter().map(|v| graph.value(*v).ty.as_ref()).collect()
    };
    Some(ir::Shapes { inputs: types(&node.inputs)?, outputs: types(&node.outputs)? })
}

pub(crate) fn port_value(node: &Node, port: Port) -> Option<ValueId> {
    match port {
        Port::Input(i) => node.inputs.get(i).copied(),
        Port::Output(i) => node.outputs.get(i).copied(),
    }
}
