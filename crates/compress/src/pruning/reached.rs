//! What was asked of pruning, what was reached, and which limits lie between.

use std::fmt;

use ir::Graph;
use prune::{DependencyGroup, Groups, Limits, PrunePlan};
use serde::{Deserialize, Serialize};

use super::allocation::Saving;
use super::{PruneBudget, PruneStudy, curves};

/// What a budget asked for and what came of it.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Reached {
    /// What was asked.
    pub asked: PruneBudget,
    /// Share of the model's MACs that went.
    pub macs_ratio: f64,
    /// Share of the prunable channels that went.
    pub channels_ratio: f64,
    /// Why it is less than was asked; `None` where it is not.
    pub shortfall: Option<Shortfall>,
}

/// What stops pruning before it is where it should be.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Shortfall {
    /// No plan within the limits removes as much.
    Limits(Reach),
    /// Groups whose contribution could fall further, were it not for the limits.
    Groups {
        /// Groups that keep more than was asked.
        held: usize,
        /// Groups that may be pruned.
        of: usize,
    },
}

/// Shares that could go at most, of what was asked for: MACs or prunable channels.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize)]
pub struct Reach {
    /// Within all limits.
    pub most: f64,
    /// Without the caps by depth.
    pub without_caps: f64,
    /// Without floor and blocks.
    pub without_floor: f64,
    /// Without any of these: the rest is of frozen groups, and of the last channel of each.
    pub prunable: f64,
}

/// No limits but that a channel is left.
pub(super) const WITHOUT_LIMITS: Limits =
    Limits { round_to: 1, floor: 1, shallow_ratio: 1.0, deep_ratio: 1.0 };

/// The limits that stop pruning before a target is reached.
pub(super) fn target(
    saving: &Saving,
    groups: &[&DependencyGroup],
    limits: &Limits,
    ratio: f64,
) -> Option<Shortfall> {
    let reach = |limits: Limits| {
        let most = |g: &&DependencyGroup| curves::most(g, &limits);
        saving.share(&groups.iter().map(most).collect::<Vec<_>>())
    };
    let reach = Reach {
        most: reach(*limits),
        without_caps: reach(Limits { shallow_ratio: 1.0, deep_ratio: 1.0, ..*limits }),
        without_floor: reach(Limits {
            shallow_ratio: limits.shallow_ratio,
            deep_ratio: limits.deep_ratio,
            ..WITHOUT_LIMITS
        }),
        prunable: reach(WITHOUT_LIMITS),
    };
    (reach.most < ratio).then_some(Shortfall::Limits(reach))
}

/// Groups that lose at least a block less than their contribution alone would have them lose.
pub(super) fn contribution(
    groups: &Groups,
    plan: &PrunePlan,
    unbound: &PrunePlan,
    limits: &Limits,
) -> Option<Shortfall> {
    let lost =
        |plan: &PrunePlan, g: &DependencyGroup| plan.removed.get(&g.name).map_or(0, Vec::len);
    let is_held = |g: &&DependencyGroup| lost(unbound, g) >= lost(plan, g) + limits.round_to;
    let held = groups.prunable().filter(is_held).count();
    (held > 0).then(|| Shortfall::Groups { held, of: groups.prunable().count() })
}

impl PruneStudy<'_> {
    /// What a plan reached of a budget.
    pub(super) fn reached(
        &self,
        asked: PruneBudget,
        pruned: &Graph,
        plan: &PrunePlan,
        shortfall: Option<Shortfall>,
    ) -> Reached {
        let channels: usize = self.groups.prunable().map(DependencyGroup::width).sum();
        let macs = self.observation.model.graph.macs();
        Reached {
            asked,
            macs_ratio: 1.0 - pruned.macs() as f64 / macs.max(1) as f64,
            channels_ratio: plan.removed_channels() as f64 / channels.max(1) as f64,
            shortfall,
        }
    }
}

impl fmt::Display for Shortfall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = |share: f64| format!("{:.1} %", 100.0 * share);
        match self {
            Self::Groups { held, of } => write!(
                f,
                "{held} of {of} groups keep more, because of the caps by depth (--shallow-ratio, --deep-ratio), the floor (--floor) or the blocks (--round-to)"
            ),
            Self::Limits(r) => {
                write!(f, "at most {} can go", percent(r.most))?;
                let limits = [
                    ("the caps by depth (--shallow-ratio, --deep-ratio)", r.without_caps),
                    ("the floor (--floor) and blocks (--round-to)", r.without_floor),
                ];
                for (limit, share) in limits {
                    if share > r.most + 0.0005 {
                        write!(f, "; without {limit} {}", percent(share))?;
                    }
                }
                write!(f, "; without any of these {}, the rest is frozen", percent(r.prunable))
            }
        }
    }
}
