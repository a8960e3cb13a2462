//! Graphs inside attributes (If, Loop, Scan): what they take from outside, and how that is renamed.
use crate::external::Folder;
use crate::proto::{GraphProto, NodeProto};
use crate::{OnnxError, tensors};
use std::collections::{BTreeMap, BTreeSet};

fn bodies(node: &NodeProto) -> impl Iterator<Item = &GraphProto> {
    node.attribute.iter().flat_map(|a| a.g.iter().chain(&a.graphs))
}

pub(crate) fn bodies_mut(node: &mut NodeProto) -> impl Iterator<Item = &mut GraphProto> {
    node.attribute.iter_mut().flat_map(|a| a.g.iter_mut().chain(&mut a.graphs))
}

fn locals(graph: &GraphProto) -> BTreeSet<String> {
    let inputs = graph.input.iter().map(|v| v.name().to_owned());
    let constants = graph.initializer.iter().map(|t| t.name().to_owned());
    let sparse =
        graph.sparse_initializer.iter().filter_map(|s| Some(s.values.as_ref()?.name().to_owned()));
    let computed = graph.node.iter().flat_map(|n| n.output.iter().cloned());
    inputs.chain(constants).chain(sparse).chain(computed).collect()
}

/// Names that a node's graphs take from outside.
pub(crate) fn captures(node: &NodeProto) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for graph in bodies(node) {
        let own = locals(graph);
        let read = graph.node.iter().flat_map(|n| n.input.iter().cloned().chain(captures(n)));
        let results = graph.output.iter().map(|v| v.name().to_owned());
        names.extend(read.chain(results).filter(|n| !n.is_empty() && !own.contains(n)));
    }
    names
}

/// The nodes of a node's graphs, and of theirs.
pub(crate) fn inner_nodes(node: &NodeProto) -> Vec<&NodeProto> {
    let mut found: Vec<&NodeProto> = Vec::new();
    let (mut next, mut at) = (0, node);
    loop {
        found.extend(bodies(at).flat_map(|g| &g.node));
        let Some(&deeper) = found.get(next) else {
            return found;
        };
        (next, at) = (next + 1, deeper);
    }
}

/// Names that exist only inside a node's graphs.
pub(crate) fn inner_names(node: &NodeProto) -> BTreeSet<String> {
    let all = std::iter::once(node).chain(inner_nodes(node));
    all.flat_map(bodies).flat_map(locals).collect()
}

/// Renames what a node's graphs take from outside.
pub(crate) fn rename_captures(node: &mut NodeProto, names: &BTreeMap<String, String>) {
    for graph in bodies_mut(node) {
        let own = locals(graph);
        let names: BTreeMap<_, _> = names
            .iter()
            .filter(|(n, _)| !own.contains(*n))
            .map(|(a, b)| (a.clone(), b.clone()))
            .collect();
        for inner in &mut graph.node {
            for slot in &mut inner.input {
                if let Some(new) = names.get(slot) {
                    slot.clone_from(new);
                }
            }
            rename_captures(inner, &names);
        }
        for result in &mut graph.output {
            if let Some(new) = names.get(result.name()) {
                result.name = Some(new.clone());
            }
        }
    }
}

/// Moves all external data of a node's attributes into the node.
///
/// # Errors
/// As [`tensors::decode`].
pub(crate) fn embed(node: &mut NodeProto, folder: &Folder) -> Result<(), OnnxError> {
    for attribute in &mut node.attribute {
        for tensor in attribute.t.iter_mut().chain(&mut attribute.tensors) {
            tensors::embed(tensor, folder)?;
        }
        for graph in attribute.g.iter_mut().chain(&mut attribute.graphs) {
            for tensor in &mut graph.initializer {
                tensors::embed(tensor, folder)?;
            }
            for inner in &mut graph.node {
                embed(inner, folder)?;
            }
        }
    }
    Ok(())
}
