//! What pruning removed, where and why.

use ir::{Graph, NodeId, QuantFacts};
use prune::{DependencyGroup, PrunePlan};
use serde::Serialize;

use super::{PruneBudget, PruneStudy, Reached};

/// A plan with what led to it: `prune.plan.json`.
#[derive(Clone, Debug, Serialize)]
pub struct PruneAccount {
    /// What was asked and what was reached.
    pub reached: Reached,
    /// What was decided.
    #[serde(flatten)]
    pub plan: PrunePlan,
    /// What each group lost, in execution order.
    pub groups: Vec<GroupCut>,
    /// Groups that could not lose anything.
    pub frozen: Vec<FrozenGroup>,
    /// Every allocation that was tried, the one that was kept included.
    pub candidates: Vec<Candidate>,
}

/// What a group lost.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GroupCut {
    /// The group.
    pub group: String,
    /// Its channels before.
    pub channels: usize,
    /// How many are gone.
    pub removed: usize,
    /// Share of the criterion's score that the remaining channels hold; `None` where no channel has any.
    pub contribution_kept: Option<f64>,
    /// Output error of the model with this group alone so thin; `None` where it was not measured.
    pub output_error_alone: Option<f64>,
    /// The layers that became thinner.
    pub layers: Vec<ThinnedLayer>,
}

/// Channels of a layer, before and after everything.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ThinnedLayer {
    /// The node.
    pub layer: String,
    /// Output channels.
    pub outputs: [usize; 2],
    /// Input channels that one output channel reads.
    pub inputs: [usize; 2],
}

/// A group that cannot lose channels.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FrozenGroup {
    /// The group.
    pub group: String,
    /// Its channels.
    pub width: usize,
    /// Why.
    pub reason: String,
}

/// An allocation of removed channels, compared on images held out.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Candidate {
    /// How the channels were spread over the groups.
    pub allocation: &'static str,
    /// Removed channels.
    pub removed_channels: usize,
    /// MACs that are left.
    pub macs: u64,
    /// 0 when the detections are ranked as those of the dense detector, 1 when none of them are found; without a decoder
    /// the relative error of the outputs.
    pub output_error: f64,
    /// Whether it was kept.
    pub chosen: bool,
}

impl PruneStudy<'_> {
    /// What a plan did to the dense graph.
    pub(super) fn account(
        &self,
        budget: PruneBudget,
        pruned: &Graph,
        plan: PrunePlan,
        candidates: Vec<Candidate>,
    ) -> PruneAccount {
        let dense = self.observation.model.graph;
        let error_alone = |group: &str, removed: usize| {
            let curve = self.curves.iter().find(|c| c.group == group)?;
            budget.needs_curves().then(|| curve.error(removed))
        };
        let cut = |g: &DependencyGroup| {
            let removed = plan.removed.get(&g.name)?;
            let layers = g.layers(dense);
            Some(GroupCut {
                group: g.name.clone(),
                channels: g.width(),
                removed: removed.len(),
                contribution_kept: contribution_kept(&self.importance[&g.name], removed),
                output_error_alone: error_alone(&g.name, removed.len()),
                layers: layers.iter().filter_map(|l| thinned(dense, pruned, l.node)).collect(),
            })
        };
        let frozen = |g: &DependencyGroup| {
            g.frozen.as_ref().map(|reason| FrozenGroup {
                group: g.name.clone(),
                width: g.width(),
                reason: reason.to_string(),
            })
        };
        let groups = &self.groups.groups;
        PruneAccount {
            reached: self.reached(budget, pruned, &plan, None),
            groups: groups.iter().filter_map(cut).collect(),
            frozen: groups.iter().filter_map(frozen).collect(),
            candidates,
            plan,
        }
    }
}

fn contribution_kept(scores: &[f64], removed: &[usize]) -> Option<f64> {
    let total: f64 = scores.iter().sum();
    let gone: f64 = removed.iter().map(|&c| scores[c]).sum();
    (total > 0.0 && total.is_finite()).then(|| 1.0 - gone / total)
}

fn thinned(dense: &Graph, pruned: &Graph, id: NodeId) -> Option<ThinnedLayer> {
    let widths = |g: &Graph| {
        let node = g.node(id);
        let QuantFacts::Weighted { weight, axis, .. } = node.op.quant_facts() else {
            return None;
        };
        let shape = &g.ty(*node.inputs.get(weight)?).ok()?.shape;
        let other = shape.get(1 - axis.min(1)).copied().unwrap_or(1);
        Some((*shape.get(axis)?, other))
    };
    let (before, after) = (widths(dense)?, widths(pruned)?);
    Some(ThinnedLayer {
        layer: dense.node(id).name.clone(),
        outputs: [before.0, after.0],
        inputs: [before.1, after.1],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contribution_kept_is_the_share_of_scores_that_stay() {
        assert_eq!(contribution_kept(&[1.0, 2.0, 5.0], &[1]), Some(0.75));
        assert_eq!(contribution_kept(&[0.0, 0.0], &[0]), None);
    }
}
