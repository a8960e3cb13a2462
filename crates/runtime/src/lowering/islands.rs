//! Values that are not f32 (indices, classes, conditions) never lie in the arena: the nodes that compute with them run
//! together as one item, plainly and in their own types.
use super::{Item, Lowered, Operand, Work};
use crate::RuntimeError;
use ir::ops::{Cast, QuantizeLinear};
use ir::{DataType, Edit, Graph, Node, Op, TensorType, ValueId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Joins the items that values of other types than f32 connect. An input or output of the model of such a type is f32
/// outside: its numbers are converted at the border.
///
/// # Errors
/// `DType` where such a value is needed by nothing that computes with f32.
pub(super) fn join(
    lowered: &mut Lowered<'_>,
    keep: &BTreeSet<ValueId>,
) -> Result<(), RuntimeError> {
    while let Some(island) = next(lowered) {
        let item = build(lowered, &island, keep)?;
        place(lowered, &island, item);
    }
    Ok(())
}

fn is_other(lowered: &Lowered<'_>, v: ValueId) -> bool {
    let ty = lowered.graph.value(v).ty.as_ref();
    ty.is_some_and(|t| t.dtype != DataType::F32) && lowered.constant(v).is_none()
}

/// Which items are reached from the marked ones, forwards or backwards.
fn reached(items: &[Item], marked: &[bool], forwards: bool) -> Vec<bool> {
    let mut found = marked.to_vec();
    let mut values: BTreeSet<ValueId> = BTreeSet::new();
    let positions: Vec<usize> = match forwards {
        true => (0..items.len()).collect(),
        false => (0..items.len()).rev().collect(),
    };
    for i in positions {
        let (from, to) = match forwards {
            true => (&items[i].inputs, &items[i].outputs),
            false => (&items[i].outputs, &items[i].inputs),
        };
        found[i] |= from.iter().any(|v| values.contains(&v.value));
        if found[i] {
            values.extend(to.iter().map(|v| v.value));
        }
    }
    found
}

/// The next items to join, by position: all that share values of other types, and what lies between them.
fn next(lowered: &Lowered<'_>) -> Option<Vec<bool>> {
    let items = &lowered.items;
    let others = |item: &Item| -> Vec<ValueId> {
        let values = item.inputs.iter().chain(&item.outputs).map(|v| v.value);
        values.filter(|&v| is_other(lowered, v)).collect()
    };
    let waiting = |item: &&Item| !matches!(item.work, Work::Island(_)) && !others(item).is_empty();
    let first = items.iter().find(waiting)?;
    let mut values: BTreeSet<ValueId> = others(first).into_iter().collect();
    let mut island = vec![false; items.len()];
    loop {
        let before = island.iter().filter(|&&m| m).count();
        for (item, member) in items.iter().zip(&mut island) {
            let here = others(item);
            *member |= here.iter().any(|v| values.contains(v));
            if *member {
                values.extend(here);
            }
        }
        let (after, ahead) = (
            reached(items, &island, true),
            reached(items, &island, false),
        );
        for (member, (after, ahead)) in island.iter_mut().zip(after.into_iter().zip(ahead)) {
            *member |= after && ahead;
        }
        if island.iter().filter(|&&m| m).count() == before {
            return Some(island);
        }
    }
}

/// One item for all members: their nodes as a graph of its own.
fn build(
    lowered: &Lowered<'_>,
    island: &[bool],
    keep: &BTreeSet<ValueId>,
) -> Result<Item, RuntimeError> {
    let members = || {
        lowered
            .items
            .iter()
            .zip(island)
            .filter(|(_, m)| **m)
            .map(|(i, _)| i)
    };
    let outside = lowered
        .items
        .iter()
        .zip(island)
        .filter(|(_, m)| !**m)
        .map(|(i, _)| i);
    let read: BTreeSet<ValueId> = outside
        .flat_map(|i| i.inputs.iter().map(|v| v.value))
        .collect();
    let mut graph = Graph::new(lowered.graph.opset);
    let mut edit = graph.edit();
    let mut known: BTreeMap<ValueId, ValueId> = BTreeMap::new();
    let (mut inputs, mut outputs) = (Vec::new(), Vec::new());
    for item in members() {
        let node = lowered.graph.node(item.node);
        if let Some(quantize) = carried_out(lowered, item) {
            let x = quantize.inputs[0];
            let x = match known.get(&x) {
                Some(&x) => x,
                None => enter(lowered, &mut edit, &mut known, &mut inputs, x)?,
            };
            let name = &lowered.graph.value(node.inputs[0]).name;
            let made = edit.node(&quantize.name, quantize.op.clone(), &[x], &[name]);
            known.insert(node.inputs[0], made[0]);
        }
        let mut from = Vec::with_capacity(node.inputs.len());
        for &v in &node.inputs {
            from.push(match known.get(&v) {
                Some(&v) => v,
                None => enter(lowered, &mut edit, &mut known, &mut inputs, v)?,
            });
        }
        let names: Vec<&str> = node
            .outputs
            .iter()
            .map(|&v| lowered.graph.value(v).name.as_str())
            .collect();
        let made = edit.node(&node.name, node.op.clone(), &from, &names);
        known.extend(node.outputs.iter().copied().zip(made));
    }
    for v in members().flat_map(|i| &i.outputs).map(|v| v.value) {
        let other = is_other(lowered, v);
        if (read.contains(&v) || keep.contains(&v)) && !other {
            edit.output(known[&v]);
            outputs.push(Operand::f32(v));
        } else if other && lowered.graph.outputs().contains(&v) {
            let to = DataType::F32;
            let real = edit.node("output", Cast { to }, &[known[&v]], &["output"]);
            edit.output(real[0]);
            outputs.push(Operand::f32(v));
        }
    }
    if outputs.is_empty() {
        let mut values = members().flat_map(|i| &i.outputs).map(|v| v.value);
        let v = values.find(|&v| is_other(lowered, v));
        return Err(other_type(lowered, v.expect("members have such values")));
    }
    graph.apply(edit)?;
    let last = members().next_back().expect("an island has members");
    Ok(Item {
        node: last.node,
        name: last.name.clone(),
        work: Work::Island(Arc::new(graph)),
        inputs,
        outputs,
        macs: members().map(|i| i.macs).sum(),
    })
}

/// A quantizer and its dequantizer as a graph of their own: where channels of activations have grids of their own.
pub(super) fn quantizer(
    graph: &Graph,
    x: ValueId,
    dequantize: &Node,
    quantize: &QuantizeLinear,
) -> Result<Graph, RuntimeError> {
    let mut island = Graph::new(graph.opset);
    let mut edit = island.edit();
    let input = edit.input(&graph.value(x).name, graph.ty(x)?.clone());
    let quantized = &graph.value(dequantize.inputs[0]).name;
    let quantized = edit.node(
        "quantized",
        quantize.clone(),
        &[input],
        &[quantized.as_str()],
    );
    let name = graph.value(dequantize.outputs[0]).name.as_str();
    let reals = edit.node(&dequantize.name, dequantize.op.clone(), &quantized, &[name]);
    edit.output(reals[0]);
    island.apply(edit)?;
    Ok(island)
}

/// A value from outside, as a constant or an input of the island.
fn enter(
    lowered: &Lowered<'_>,
    edit: &mut Edit,
    known: &mut BTreeMap<ValueId, ValueId>,
    inputs: &mut Vec<Operand>,
    v: ValueId,
) -> Result<ValueId, RuntimeError> {
    let name = &lowered.graph.value(v).name;
    let entered = match lowered.weights(v)? {
        Some(tensor) => edit.constant(name, tensor.into_owned()),
        None if is_other(lowered, v) && lowered.graph.inputs().contains(&v) => {
            let ty = lowered.graph.ty(v)?;
            inputs.push(Operand::f32(v));
            let real = edit.input(name, TensorType::new(DataType::F32, ty.shape.clone()));
            edit.node("input", Cast { to: ty.dtype }, &[real], &["input"])[0]
        }
        None if is_other(lowered, v) => return Err(other_type(lowered, v)),
        None => {
            inputs.push(Operand::f32(v));
            edit.input(name, lowered.graph.ty(v)?.clone())
        }
    };
    known.insert(v, entered);
    Ok(entered)
}

/// The QuantizeLinear that the item of its DequantizeLinear carries out.
fn carried_out<'g>(lowered: &Lowered<'g>, item: &Item) -> Option<&'g Node> {
    let graph = lowered.graph;
    let quantized = *graph.node(item.node).inputs.first()?;
    let source = graph.node(graph.producer(quantized)?);
    let dequantizes = matches!(graph.node(item.node).op, Op::DequantizeLinear(_));
    let apart = item.inputs.first() == Some(&Operand::f32(quantized));
    (dequantizes && !apart).then_some(source)
}

fn other_type(lowered: &Lowered<'_>, v: ValueId) -> RuntimeError {
    let value = lowered.graph.value(v);
    RuntimeError::DType {
        value: value.name.clone(),
        found: value.ty.as_ref().map_or(DataType::Other(0), |t| t.dtype),
    }
}

/// Puts the island where its last member stands; what depends on it and stands before moves behind it.
fn place(lowered: &mut Lowered<'_>, island: &[bool], item: Item) {
    let after = reached(&lowered.items, island, true);
    let last = island
        .iter()
        .rposition(|&m| m)
        .expect("an island has members");
    let (mut ahead, mut behind) = (Vec::new(), Vec::new());
    for (i, old) in std::mem::take(&mut lowered.items).into_iter().enumerate() {
        match (island[i], after[i] || i > last) {
            (true, _) => {}
            (false, false) => ahead.push(old),
            (false, true) => behind.push(old),
        }
    }
    ahead.push(item);
    ahead.extend(behind);
    lowered.items = ahead;
}
