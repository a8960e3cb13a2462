//! The weighted layers that a group's channels run through.
use crate::{DependencyGroup, Member};
use ir::{Graph, NodeId, QuantFacts};

/// A weighted layer that computes or reads channels of a group.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GroupLayer {
    /// The node.
    pub node: NodeId,
    /// Share of its output channels that are the group's.
    pub writes: f64,
    /// Share of its input channels that are the group's.
    pub reads: f64,
}

impl DependencyGroup {
    /// The layers whose weights carry channels of this group, in execution order.
    pub fn layers(&self, graph: &Graph) -> Vec<GroupLayer> {
        let layer_of = |(node, facts): (NodeId, QuantFacts)| {
            let QuantFacts::Weighted { weight, axis, .. } = facts else {
                return None;
            };
            let value = *graph.node(node).inputs.get(weight)?;
            let shape = &graph.value(value).ty.as_ref()?.shape;
            let share = |axis: usize| {
                let at = self.members.binary_search(&Member { value, axis });
                let count = |at: usize| self.channels.iter().map(|c| c[at].len()).sum::<usize>();
                at.map_or(0.0, |at| count(at) as f64 / shape[axis].max(1) as f64)
            };
            let inputs = (0..shape.len()).filter(|a| *a != axis);
            let layer = GroupLayer {
                node,
                writes: share(axis),
                reads: inputs.map(share).fold(0.0, f64::max),
            };
            (layer.writes + layer.reads > 0.0).then_some(layer)
        };
        let nodes = graph.nodes().map(|(id, n)| (id, n.op.quant_facts()));
        nodes.filter_map(layer_of).collect()
    }

    /// MACs that would be gone if all channels of this group were.
    pub fn macs(&self, graph: &Graph) -> u64 {
        let gone = |l: &GroupLayer| {
            graph.node_macs(l.node) as f64 * (1.0 - (1.0 - l.writes) * (1.0 - l.reads))
        };
        self.layers(graph).iter().map(gone).sum::<f64>().round() as u64
    }
}
