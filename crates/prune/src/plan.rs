//! Pruning plans: which channels go, as plain data.
use crate::{Groups, Member, PruneError};
use ir::Graph;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Which channels of which groups are removed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrunePlan {
    /// Removed channels of each group that loses any, ascending.
    pub removed: BTreeMap<String, Vec<usize>>,
    /// What follows for each weight that loses output channels: its surviving rows, by the weight's name.
    pub layers: BTreeMap<String, Vec<usize>>,
}

impl PrunePlan {
    /// A plan that removes the given channels of the given groups.
    ///
    /// # Errors
    /// `UnknownGroup`, `FrozenGroup`, `BadChannel` or `NothingLeft` when a group cannot lose these channels.
    pub fn new(
        graph: &Graph,
        groups: &Groups,
        removed: BTreeMap<String, Vec<usize>>,
    ) -> Result<Self, PruneError> {
        let mut plan = Self::default();
        for (name, mut channels) in removed {
            if !channels.is_empty() {
                channels.sort_unstable();
                plan.removed.insert(name, channels);
            }
        }
        let kept = kept_axes(graph, groups, &plan)?;
        for root in groups.groups.iter().flat_map(|g| &g.roots) {
            let member = Member { value: root.weight, axis: root.axis };
            if let Some(rows) = kept.get(&member) {
                let name = graph.value(root.weight).name.clone();
                plan.layers.insert(name, rows.clone());
            }
        }
        Ok(plan)
    }

    /// Number of removed channels.
    pub fn removed_channels(&self) -> usize {
        self.removed.values().map(Vec::len).sum()
    }

    /// Whether nothing is removed.
    pub fn is_empty(&self) -> bool {
        self.removed.is_empty()
    }
}

/// Surviving indices of every axis that loses some.
pub(crate) fn kept_axes(
    graph: &Graph,
    groups: &Groups,
    plan: &PrunePlan,
) -> Result<BTreeMap<Member, Vec<usize>>, PruneError> {
    let mut gone: BTreeMap<Member, BTreeSet<usize>> = BTreeMap::new();
    for (name, channels) in &plan.removed {
        let unknown = || PruneError::UnknownGroup { group: name.clone() };
        let group = groups.get(name).ok_or_else(unknown)?;
        let width = group.width();
        if let Some(reason) = &group.frozen {
            return Err(PruneError::FrozenGroup {
                group: name.clone(),
                reason: reason.to_string(),
            });
        }
        let mut seen = BTreeSet::new();
        for &channel in channels {
            if channel >= width || !seen.insert(channel) {
                return Err(PruneError::BadChannel { group: name.clone(), channel, width });
            }
            for (member, indices) in group.members.iter().zip(&group.channels[channel]) {
                gone.entry(*member).or_default().extend(indices);
            }
        }
        if seen.len() == width {
            return Err(PruneError::NothingLeft { group: name.clone(), width });
        }
    }
    let survivors = |(member, gone): (Member, BTreeSet<usize>)| {
        let shape = &graph.ty(member.value)?.shape;
        let mismatch =
            || PruneError::PlanMismatch { layer: graph.value(member.value).name.clone() };
        let len = shape.get(member.axis).copied().ok_or_else(mismatch)?;
        Ok((member, (0..len).filter(|i| !gone.contains(i)).collect()))
    };
    gone.into_iter().map(survivors).collect()
}
