//! The order in which a file's nodes can be read.
use crate::OnnxError;
use crate::proto::NodeProto;
use crate::subgraphs::captures;
use std::collections::{BTreeMap, BTreeSet};

/// Name of a node for people; files often leave it out.
pub(crate) fn node_name(node: &NodeProto, index: usize) -> String {
    match node.name() {
        "" => format!("{}_{index}", node.op_type()),
        name => name.to_owned(),
    }
}

/// Everything a node reads, its graphs' captures included; repeated and left-out inputs as they stand.
pub(crate) fn reads(node: &NodeProto) -> Vec<String> {
    node.input.iter().filter(|n| !n.is_empty()).cloned().chain(captures(node)).collect()
}

/// Indices of the nodes such that producers come first; a file in order keeps its order.
///
/// # Errors
/// `Cycle`, `TwoProducers`, or `Undefined` for a value that is neither computed nor in `given`.
pub(crate) fn sort(nodes: &[NodeProto], given: &BTreeSet<String>) -> Result<Vec<usize>, OnnxError> {
    let mut producers: BTreeMap<&str, usize> = BTreeMap::new();
    for (i, node) in nodes.iter().enumerate() {
        for output in node.output.iter().filter(|o| !o.is_empty()) {
            if given.contains(output) || producers.insert(output, i).is_some() {
                return Err(OnnxError::TwoProducers { value: output.clone() });
            }
        }
    }
    let mut needs: Vec<BTreeSet<usize>> = Vec::with_capacity(nodes.len());
    let mut feeds: Vec<Vec<usize>> = vec![Vec::new(); nodes.len()];
    for (i, node) in nodes.iter().enumerate() {
        let mut sources = BTreeSet::new();
        for name in reads(node) {
            match producers.get(name.as_str()) {
                Some(&p) => {
                    if sources.insert(p) {
                        feeds[p].push(i);
                    }
                }
                None if given.contains(&name) => {}
                None => {
                    return Err(OnnxError::Undefined { value: name, by: node_name(node, i) });
                }
            }
        }
        needs.push(sources);
    }
    let mut missing: Vec<usize> = needs.iter().map(BTreeSet::len).collect();
    let mut ready: BTreeSet<usize> = (0..nodes.len()).filter(|&i| missing[i] == 0).collect();
    let mut order = Vec::with_capacity(nodes.len());
    while let Some(i) = ready.pop_first() {
        order.push(i);
        for &next in &feeds[i] {
            missing[next] -= 1;
            if missing[next] == 0 {
                ready.insert(next);
            }
        }
    }
    match (0..nodes.len()).find(|&i| missing[i] > 0) {
        None => Ok(order),
        Some(start) => {
            let on_cycle = walk_to_cycle(start, &needs, &missing);
            Err(OnnxError::Cycle { node: node_name(&nodes[on_cycle], on_cycle) })
        }
    }
}

/// Nodes that were never ready have a producer that was never ready; going back must repeat one, which is on a cycle.
fn walk_to_cycle(start: usize, needs: &[BTreeSet<usize>], missing: &[usize]) -> usize {
    let mut seen = BTreeSet::new();
    let mut at = start;
    while seen.insert(at) {
        at = needs[at].iter().copied().find(|&p| missing[p] > 0).unwrap_or(at);
    }
    at
}
