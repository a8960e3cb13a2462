//! The graph without the channels of a plan.
use crate::plan::kept_axes;
use crate::{Groups, Member, PruneError, PrunePlan};
use ir::{Graph, KeptAxes, Node, Port, Tensor, ValueId};
use std::collections::BTreeMap;

/// Metadata key of the surviving output channels of each pruned weight, counted in the never pruned model.
///
/// A JSON object: weight name → ascending indices.
pub const KEPT_KEY: &str = "yoloslim.kept";

/// Deletes the channels of a plan: rows of every constant that carries them, and what operators say of widths.
///
/// `groups` must come from [`crate::analyse`] of the same graph. Nodes and values keep their identity; an empty
/// plan gives the graph as it was.
///
/// # Errors
/// As [`PrunePlan::new`]; `PlanMismatch` when the plan was made for another graph; `Metadata` when the graph
/// carries the record of an earlier pruning that does not fit it; `Graph` when the result is not valid.
pub fn apply(graph: &Graph, groups: &Groups, plan: &PrunePlan) -> Result<Graph, PruneError> {
    check_layers(graph, groups, plan)?;
    if plan.is_empty() {
        return Ok(graph.clone());
    }
    let kept = kept_axes(graph, groups, plan)?;
    let mut edit = graph.edit();
    for (id, value) in graph.values() {
        let Some(tensor) = &value.constant else {
            continue;
        };
        if let Some(cut) = cut_tensor(tensor, id, &kept)
            .map_err(|cause| PruneError::Tensor { value: value.name.clone(), cause })?
        {
            edit.set_constant(id, cut);
        }
    }
    for (id, node) in graph.nodes() {
        let axes = node_axes(node, &kept);
        if !axes.0.is_empty() {
            edit.set_op(id, node.op.keep(&graph.shapes(id)?, &axes));
        }
    }
    let mut pruned = graph.clone();
    pruned.apply(edit)?;
    record(graph, &mut pruned, plan)?;
    Ok(pruned)
}

fn check_layers(graph: &Graph, groups: &Groups, plan: &PrunePlan) -> Result<(), PruneError> {
    let own = PrunePlan::new(graph, groups, plan.removed.clone())?;
    let names = own.layers.keys().chain(plan.layers.keys());
    let mut differing = names.filter(|n| own.layers.get(*n) != plan.layers.get(*n));
    match differing.next() {
        None => Ok(()),
        Some(layer) => Err(PruneError::PlanMismatch { layer: layer.clone() }),
    }
}

fn cut_tensor(
    tensor: &Tensor,
    id: ValueId,
    kept: &BTreeMap<Member, Vec<usize>>,
) -> Result<Option<Tensor>, ir::OpError> {
    let mut cut = None;
    for axis in 0..tensor.shape().len() {
        if let Some(indices) = kept.get(&Member { value: id, axis }) {
            cut = Some(cut.as_ref().unwrap_or(tensor).take(axis, indices)?);
        }
    }
    Ok(cut)
}

fn node_axes(node: &Node, kept: &BTreeMap<Member, Vec<usize>>) -> KeptAxes {
    let inputs = (0..).map(Port::Input).zip(&node.inputs);
    let outputs = (0..).map(Port::Output).zip(&node.outputs);
    let mut axes = KeptAxes::default();
    for (port, &value) in inputs.chain(outputs) {
        let first = Member { value, axis: 0 };
        let of_value = kept.range(first..).take_while(|(m, _)| m.value == value);
        axes.0.extend(of_value.map(|(m, indices)| ((port, m.axis), indices.clone())));
    }
    axes
}

/// A weight under another name has the same surviving rows.
///
/// # Errors
/// `Metadata` when what is there does not read.
pub(crate) fn rename_kept(graph: &mut Graph, from: &str, to: &str) -> Result<(), PruneError> {
    let mut all = kept(graph)?;
    if let Some(rows) = all.get(from).cloned() {
        all.insert(to.to_owned(), rows);
        write_kept(graph, &all)?;
    }
    Ok(())
}

fn bad_metadata(found: String) -> PruneError {
    PruneError::Metadata { key: KEPT_KEY, found }
}

fn kept(graph: &Graph) -> Result<BTreeMap<String, Vec<usize>>, PruneError> {
    match graph.metadata.get(KEPT_KEY) {
        None => Ok(BTreeMap::new()),
        Some(text) => serde_json::from_str(text).map_err(|e| bad_metadata(e.to_string())),
    }
}

fn write_kept(graph: &mut Graph, all: &BTreeMap<String, Vec<usize>>) -> Result<(), PruneError> {
    let text = serde_json::to_string(all).map_err(|e| bad_metadata(e.to_string()))?;
    graph.metadata.insert(KEPT_KEY.to_owned(), text);
    Ok(())
}

/// Writes the surviving rows into the metadata, in terms of the never pruned model.
fn record(graph: &Graph, pruned: &mut Graph, plan: &PrunePlan) -> Result<(), PruneError> {
    let mut all = kept(graph)?;
    for (name, rows) in &plan.layers {
        let rows = match all.get(name) {
            None => rows.clone(),
            Some(earlier) => rows
                .iter()
                .map(|&i| earlier.get(i).copied())
                .collect::<Option<Vec<usize>>>()
                .ok_or_else(|| {
                    bad_metadata(format!("`{name}` has {} rows there", earlier.len()))
                })?,
        };
        all.insert(name.clone(), rows);
    }
    write_kept(pruned, &all)
}
