//! Dependency groups: channels of the whole graph that must go together.
use crate::PruneError;
use crate::variables::Variables;
use ir::{FreezeReason, Graph, NodeId, QuantFacts, ValueId};
use std::collections::{BTreeMap, BTreeSet};

/// An axis of a value that carries a group's channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Member {
    /// The value; constants included.
    pub value: ValueId,
    /// The axis.
    pub axis: usize,
}

/// A weighted operator that computes a group's channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Root {
    /// The node.
    pub node: NodeId,
    /// Its weight.
    pub weight: ValueId,
    /// The axis of the weight that runs over output channels.
    pub axis: usize,
}

/// Channels that live on the same axes of the same values.
#[derive(Clone, Debug, PartialEq)]
pub struct DependencyGroup {
    /// Name of the first root; a number follows where several groups share it, as the halves of a C2f do.
    pub name: String,
    /// The operators that compute the channels, in execution order; never empty.
    pub roots: Vec<Root>,
    /// The axes that carry the channels.
    pub members: Vec<Member>,
    /// For each channel, for each member, its indices on that axis.
    pub channels: Vec<Vec<Vec<usize>>>,
    /// Why no channel may be removed; `None` when the group is prunable.
    pub frozen: Option<FreezeReason>,
    /// Position of the first root: 0 at the first node of the graph, 1 at the last.
    pub depth: f64,
}

impl DependencyGroup {
    /// Number of channels.
    pub fn width(&self) -> usize {
        self.channels.len()
    }

    /// Whether channels may be removed.
    pub fn is_prunable(&self) -> bool {
        self.frozen.is_none()
    }

    /// Rows of a root's weight, for each channel.
    pub fn rows(&self, root: &Root) -> impl Iterator<Item = &[usize]> {
        let member = Member { value: root.weight, axis: root.axis };
        let at = self.members.binary_search(&member).expect("a root is a member of its group");
        self.channels.iter().map(move |c| c[at].as_slice())
    }
}

/// All groups that a weighted operator computes, in execution order.
///
/// Axes without such an operator (batch, height, width, kernel taps) are not listed: there is nothing to prune.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Groups {
    /// The groups.
    pub groups: Vec<DependencyGroup>,
}

impl Groups {
    /// The group of that name.
    pub fn get(&self, name: &str) -> Option<&DependencyGroup> {
        self.groups.iter().find(|g| g.name == name)
    }

    /// The groups that may lose channels.
    pub fn prunable(&self) -> impl Iterator<Item = &DependencyGroup> {
        self.groups.iter().filter(|g| g.is_prunable())
    }
}

/// Finds the dependency groups of a graph.
///
/// A constant that several nodes read couples their channels.
/// Source: Fang et al., DepGraph (arXiv:2301.12900); here for single channels instead of layers, so that
/// Split, Concat and residual additions need no special case.
///
/// # Errors
/// `BadLink` when an operator links outside its tensors.
pub fn analyse(graph: &Graph) -> Result<Groups, PruneError> {
    let mut variables = Variables::new(graph);
    for &v in graph.inputs().iter().chain(graph.outputs()) {
        variables.freeze_all(v, &FreezeReason::ModelBoundary);
    }
    for (_, node) in graph.nodes() {
        variables.add_node(graph, node)?;
    }
    Ok(collect(graph, variables))
}

/// The weights of the graph, with the nodes that use them.
fn roots(graph: &Graph) -> Vec<Root> {
    let mut roots = Vec::new();
    for (id, node) in graph.nodes() {
        let QuantFacts::Weighted { weight, axis, .. } = node.op.quant_facts() else {
            continue;
        };
        if let Some(&weight) = node.inputs.get(weight) {
            roots.push(Root { node: id, weight, axis });
        }
    }
    roots
}

type Channel = Vec<Vec<usize>>;

/// Channels with the same members, and why they are frozen.
#[derive(Default)]
struct Coupled {
    channels: Vec<Channel>,
    frozen: Option<FreezeReason>,
}

fn collect(graph: &Graph, mut variables: Variables) -> Groups {
    let roots = roots(graph);
    let mut heads: BTreeSet<usize> = BTreeSet::new();
    for root in &roots {
        let (first, len) = variables.axis(root.weight, root.axis).unwrap_or_default();
        heads.extend((first..first + len).map(|i| variables.find(i)));
    }
    let mut classes: BTreeMap<usize, BTreeMap<Member, Vec<usize>>> = BTreeMap::new();
    for i in 0..variables.places.len() {
        let head = variables.find(i);
        if heads.contains(&head) {
            let place = variables.places[i];
            let member = Member { value: place.value, axis: place.axis };
            let class = classes.entry(head).or_default();
            class.entry(member).or_default().push(place.index);
        }
    }
    let reasons = variables.reasons();
    let mut coupled: BTreeMap<Vec<(Member, usize)>, Coupled> = BTreeMap::new();
    for (head, class) in classes {
        let key = class.iter().map(|(m, indices)| (*m, indices.len()));
        let group = coupled.entry(key.collect()).or_default();
        group.channels.push(class.into_values().collect());
        if group.frozen.is_none() {
            group.frozen = reasons.get(&head).cloned();
        }
    }
    let mut groups: Vec<DependencyGroup> = coupled
        .into_iter()
        .map(|(key, Coupled { channels, frozen })| {
            let members: Vec<Member> = key.into_iter().map(|(m, _)| m).collect();
            let is_member = |r: &&Root| {
                let (value, axis) = (r.weight, r.axis);
                members.binary_search(&Member { value, axis }).is_ok()
            };
            DependencyGroup {
                name: String::new(),
                roots: roots.iter().filter(is_member).copied().collect(),
                members,
                channels,
                frozen,
                depth: 0.0,
            }
        })
        .collect();
    order(graph, &mut groups);
    Groups { groups }
}

/// Sorts groups by their first root and its rows, and names them.
fn order(graph: &Graph, groups: &mut [DependencyGroup]) {
    let positions: BTreeMap<NodeId, usize> =
        graph.nodes().enumerate().map(|(i, (id, _))| (id, i)).collect();
    let last = positions.len().max(2) - 1;
    for group in groups.iter_mut() {
        let root = group.roots[0];
        group.depth = positions[&root.node] as f64 / last as f64;
        let rows: Vec<Vec<usize>> = group.rows(&root).map(<[usize]>::to_vec).collect();
        let mut sorted: Vec<(Vec<usize>, Channel)> =
            rows.into_iter().zip(group.channels.drain(..)).collect();
        sorted.sort();
        group.channels = sorted.into_iter().map(|(_, c)| c).collect();
    }
    groups.sort_by_key(|g| {
        let root = g.roots[0];
        let row = g.rows(&root).next().map(<[usize]>::to_vec);
        (positions[&root.node], row)
    });
    let mut taken: BTreeSet<String> = BTreeSet::new();
    for group in groups {
        let name = &graph.node(group.roots[0].node).name;
        let numbered = (1..).map(|i| if i == 1 { name.clone() } else { format!("{name}#{i}") });
        let mut free = numbered.filter(|n| !taken.contains(n));
        group.name = free.next().expect("a free number exists");
        taken.insert(group.name.clone());
    }
}
