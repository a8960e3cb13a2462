//! Values that are not f32 (indices, classes, conditions) never lie in the arena: the nodes that compute with them become one
//! item, a subgraph that the interpreter runs in their own types.
use crate::RuntimeError;
use crate::lowering::rewriter::Rewriter;
use crate::steps::{Fallback, Item, Work};
use crate::values::{Operand, Values};
use ir::ops::Cast;
use ir::{DataType, Edit, Graph, NodeId, TensorType, ValueId};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// Joins the items that values of other types than f32 connect, and what lies between them. An input or output of the model of
/// such a type is f32 outside: its numbers are converted at the border.
///
/// # Errors
/// `DType` where such a value is needed by nothing that computes with f32.
pub(super) fn join(r: &mut Rewriter<'_, '_>) -> Result<(), RuntimeError> {
    r.rebuild(join_all)
}

/// An item of the list, and the group of those it is connected with.
struct Entry {
    item: Item,
    group: Option<usize>,
}

fn join_all(items: Vec<Item>, values: &Values<'_>) -> Result<Vec<Item>, RuntimeError> {
    let groups = groups(&items, values);
    let mut sizes = vec![0; items.len()];
    groups.iter().flatten().for_each(|&group| sizes[group] += 1);
    let mut reads: BTreeMap<ValueId, usize> = BTreeMap::new();
    for v in items.iter().flat_map(|item| &item.inputs) {
        *reads.entry(v.value).or_default() += 1;
    }
    let entries = items.into_iter().zip(groups);
    let mut open: VecDeque<Entry> = entries.map(|(item, group)| Entry { item, group }).collect();
    let mut joined = Vec::with_capacity(open.len());
    while let Some(entry) = open.pop_front() {
        if entry.group.is_none() {
            joined.push(entry.item);
            continue;
        }
        open.push_front(entry);
        let is_member = members(&open, &sizes);
        let depends = reached(&open, &is_member, Direction::Forwards);
        let taken: Vec<Entry> = open.drain(..is_member.len()).collect();
        let (mut inside, mut ahead, mut behind) = (Vec::new(), Vec::new(), Vec::new());
        for (i, entry) in taken.into_iter().enumerate() {
            if is_member[i] {
                inside.push(entry.item);
            } else if depends[i] {
                behind.push(entry);
            } else {
                ahead.push(entry);
            }
        }
        let item = subgraph(&inside, values, &mut reads)?;
        ahead.push(Entry { item, group: None });
        for entry in ahead.into_iter().chain(behind).rev() {
            open.push_front(entry);
        }
    }
    Ok(joined)
}

/// For each item the group of those that share values of other types than f32 with it, directly or through others; `None` for
/// one that has no such values.
fn groups(items: &[Item], values: &Values<'_>) -> Vec<Option<usize>> {
    let mut parents: Vec<usize> = (0..items.len()).collect();
    let mut first_with: BTreeMap<ValueId, usize> = BTreeMap::new();
    let mut is_connected = vec![false; items.len()];
    for (i, item) in items.iter().enumerate() {
        let operands = item.inputs.iter().chain(&item.outputs).map(|v| v.value);
        for v in operands.filter(|&v| values.is_other_type(v)) {
            is_connected[i] = true;
            let other = *first_with.entry(v).or_insert(i);
            let (a, b) = (root(&mut parents, i), root(&mut parents, other));
            parents[a.max(b)] = a.min(b);
        }
    }
    let group = |i: usize| is_connected[i].then(|| root(&mut parents, i));
    (0..items.len()).map(group).collect()
}

/// The representative of a set of a union-find forest; the way to it is shortened.
fn root(parents: &mut [usize], mut i: usize) -> usize {
    while parents[i] != i {
        parents[i] = parents[parents[i]];
        i = parents[i];
    }
    i
}

/// Which items the first is to be joined with, up to the last of them: its group, what lies between members, and the groups of
/// that.
fn members(open: &VecDeque<Entry>, sizes: &[usize]) -> Vec<bool> {
    let mut groups: BTreeSet<usize> = open[0].group.into_iter().collect();
    loop {
        let mut missing: usize = groups.iter().map(|&group| sizes[group]).sum();
        let mut is_member = Vec::new();
        for entry in open {
            if missing == 0 {
                break;
            }
            is_member.push(entry.group.is_some_and(|group| groups.contains(&group)));
            missing -= usize::from(is_member[is_member.len() - 1]);
        }
        let after = reached(open, &is_member, Direction::Forwards);
        let before = reached(open, &is_member, Direction::Backwards);
        let count = groups.len();
        for (i, entry) in open.iter().enumerate().take(is_member.len()) {
            is_member[i] |= after[i] && before[i];
            groups.extend(entry.group.filter(|_| is_member[i]));
        }
        if groups.len() == count {
            return is_member;
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Forwards,
    Backwards,
}

/// Which of the first entries are reached from the members among them.
fn reached(open: &VecDeque<Entry>, is_member: &[bool], direction: Direction) -> Vec<bool> {
    let mut is_reached = is_member.to_vec();
    let mut values: BTreeSet<ValueId> = BTreeSet::new();
    for step in 0..is_member.len() {
        let i = match direction {
            Direction::Forwards => step,
            Direction::Backwards => is_member.len() - 1 - step,
        };
        let item = &open[i].item;
        let (from, to) = match direction {
            Direction::Forwards => (&item.inputs, &item.outputs),
            Direction::Backwards => (&item.outputs, &item.inputs),
        };
        is_reached[i] |= from.iter().any(|v| values.contains(&v.value));
        if is_reached[i] {
            values.extend(to.iter().map(|v| v.value));
        }
    }
    is_reached
}

/// One item for all members: their nodes as a graph of its own. `reads` counts how often items read each value.
fn subgraph(
    members: &[Item],
    values: &Values<'_>,
    reads: &mut BTreeMap<ValueId, usize>,
) -> Result<Item, RuntimeError> {
    let mut graph = Graph::new(values.graph.opset);
    let mut builder =
        Builder { values, edit: graph.edit(), known: BTreeMap::new(), inputs: Vec::new() };
    let nodes: Vec<NodeId> = members.iter().flat_map(nodes).collect();
    for &node in &nodes {
        builder.add(node)?;
    }
    for v in members.iter().flat_map(|item| &item.inputs) {
        *reads.entry(v.value).or_default() -= 1;
    }
    let outputs = builder.outputs(members, reads)?;
    graph.apply(builder.edit)?;
    for v in &builder.inputs {
        *reads.entry(v.value).or_default() += 1;
    }
    let last = members.last().expect("a subgraph has members");
    Ok(Item {
        node: last.node,
        name: last.name.clone(),
        work: Work::Fallback(Fallback { graph: Arc::new(graph), nodes }),
        on_int8: false,
        inputs: builder.inputs,
        outputs,
        macs: members.iter().map(|item| item.macs).sum(),
    })
}

/// The nodes that an item computes.
fn nodes(item: &Item) -> Vec<NodeId> {
    match &item.work {
        Work::Fallback(fallback) => fallback.nodes.clone(),
        _ => vec![item.node],
    }
}

/// A subgraph under construction.
struct Builder<'v, 'g> {
    values: &'v Values<'g>,
    edit: Edit,
    /// Values of the whole graph, and what they are in the subgraph.
    known: BTreeMap<ValueId, ValueId>,
    inputs: Vec<Operand>,
}

impl Builder<'_, '_> {
    fn add(&mut self, id: NodeId) -> Result<(), RuntimeError> {
        let graph = self.values.graph;
        let node = graph.node(id);
        let inputs = node.inputs.iter().map(|&v| self.enter(v));
        let inputs = inputs.collect::<Result<Vec<_>, _>>()?;
        let names = node.outputs.iter().map(|&v| graph.value(v).name.as_str());
        let names: Vec<&str> = names.collect();
        let made = self.edit.node(&node.name, node.op.clone(), &inputs, &names);
        self.known.extend(node.outputs.iter().copied().zip(made));
        Ok(())
    }

    /// A value in the subgraph; one from outside becomes a constant or an input.
    fn enter(&mut self, v: ValueId) -> Result<ValueId, RuntimeError> {
        if let Some(&known) = self.known.get(&v) {
            return Ok(known);
        }
        let graph = self.values.graph;
        let name = &graph.value(v).name;
        let is_other_type = self.values.is_other_type(v);
        let entered = if let Some(tensor) = self.values.weights(v)? {
            self.edit.constant(name, tensor.into_owned())
        } else if is_other_type && !graph.inputs().contains(&v) {
            return Err(self.values.other_type(v));
        } else {
            self.inputs.push(Operand::f32(v));
            let ty = graph.ty(v)?;
            let (shape, to) = (ty.shape.clone(), ty.dtype);
            let input = self.edit.input(name, TensorType::new(DataType::F32, shape));
            if is_other_type {
                self.edit.node("input", Cast { to }, &[input], &["input"])[0]
            } else {
                input
            }
        };
        self.known.insert(v, entered);
        Ok(entered)
    }

    /// Makes those values of the members outputs that are read elsewhere.
    fn outputs(
        &mut self,
        members: &[Item],
        reads_elsewhere: &BTreeMap<ValueId, usize>,
    ) -> Result<Vec<Operand>, RuntimeError> {
        let mut outputs = Vec::new();
        let results = || members.iter().flat_map(|i| &i.outputs).map(|v| v.value);
        for v in results() {
            let is_other_type = self.values.is_other_type(v);
            let is_read = reads_elsewhere.get(&v).is_some_and(|&times| times > 0);
            if (is_read || self.values.is_kept(v)) && !is_other_type {
                self.edit.output(self.known[&v]);
                outputs.push(Operand::f32(v));
            } else if is_other_type && self.values.graph.outputs().contains(&v) {
                let to = DataType::F32;
                let known = self.known[&v];
                let real = self.edit.node("output", Cast { to }, &[known], &["output"]);
                self.edit.output(real[0]);
                outputs.push(Operand::f32(v));
            }
        }
        if outputs.is_empty() {
            let lost = results().find(|&v| self.values.is_other_type(v));
            return Err(self.values.other_type(lost.expect("members have such values")));
        }
        Ok(outputs)
    }
}
