//! Parts of graphs.
use crate::{Graph, IrError, NodeId, ValueId};
use std::collections::{BTreeMap, BTreeSet};

/// The part of a graph that computes `to` from `from`, and which of `from` it reads, in the order of its inputs.
/// Values of `to` that are among `from` are left out.
///
/// # Errors
/// `UnknownType` for a value of `from` behind an operator that is not known; as [`Graph::apply`].
pub fn subgraph(
    graph: &Graph,
    from: &BTreeSet<ValueId>,
    to: &[ValueId],
) -> Result<(Graph, Vec<ValueId>), IrError> {
    let computed: Vec<ValueId> = to.iter().copied().filter(|v| !from.contains(v)).collect();
    let mut needed: BTreeSet<NodeId> = BTreeSet::new();
    let mut todo = computed.clone();
    let mut inputs: BTreeSet<ValueId> = BTreeSet::new();
    while let Some(v) = todo.pop() {
        if from.contains(&v) {
            inputs.insert(v);
        } else if let Some(id) = graph.producer(v).filter(|id| needed.insert(*id)) {
            todo.extend(&graph.node(id).inputs);
        }
    }
    let inputs: Vec<ValueId> = inputs.into_iter().collect();
    let mut part = Graph::new(graph.opset);
    let mut edit = part.edit();
    let mut map: BTreeMap<ValueId, ValueId> = BTreeMap::new();
    for &v in &inputs {
        map.insert(v, edit.input(&graph.value(v).name, graph.ty(v)?.clone()));
    }
    for (_, node) in graph.nodes().filter(|(id, _)| needed.contains(id)) {
        let mut read = Vec::new();
        for v in &node.inputs {
            let known = match (map.get(v), graph.value(*v).elements()) {
                (Some(&known), _) => known,
                (None, Some(tensor)) => {
                    let copy = edit.constant(&graph.value(*v).name, tensor.clone());
                    if graph.parameter(*v).is_some() {
                        edit.make_parameter(copy);
                    }
                    copy
                }
                (None, None) => continue,
            };
            map.insert(*v, known);
            read.push(known);
        }
        let names: Vec<&str> = node.outputs.iter().map(|v| graph.value(*v).name.as_str()).collect();
        let outputs = edit.node(&node.name, node.op.clone(), &read, &names);
        map.extend(node.outputs.iter().copied().zip(outputs));
    }
    computed.iter().for_each(|v| edit.output(map[v]));
    part.apply(edit)?;
    Ok((part, inputs))
}
