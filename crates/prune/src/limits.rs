//! How many channels a group may lose, and which go when each keeps a share of its contribution.
use crate::{DependencyGroup, Groups, Importance, PruneError, PrunePlan};
use ir::Graph;
use std::collections::BTreeMap;

/// What no group may lose, and in which steps it loses the rest.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Surviving widths are rounded up to multiples of this.
    pub round_to: usize,
    /// No group falls below this many channels.
    pub floor: usize,
    /// Largest share that the first group may lose, in `[0, 1]`; between the first and the last it grows with depth.
    pub shallow_ratio: f64,
    /// Largest share that the deepest group may lose, in `[0, 1]`.
    pub deep_ratio: f64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { round_to: 8, floor: 8, shallow_ratio: 0.2, deep_ratio: 0.875 }
    }
}

impl Limits {
    /// Refuses numbers out of range.
    ///
    /// # Errors
    /// `Limit`, with the number.
    pub fn check(&self) -> Result<(), PruneError> {
        let shares = [("shallow_ratio", self.shallow_ratio), ("deep_ratio", self.deep_ratio)];
        for (name, found) in shares {
            check_share(name, found)?;
        }
        for (name, n) in [("round_to", self.round_to), ("floor", self.floor)] {
            if n == 0 {
                return Err(PruneError::Limit { name, expected: "positive", found: 0.0 });
            }
        }
        Ok(())
    }

    /// Largest number of channels that a group may lose.
    pub fn most(&self, group: &DependencyGroup) -> usize {
        let shallow = self.shallow_ratio.min(self.deep_ratio);
        let share = shallow + (self.deep_ratio - shallow) * group.depth;
        self.rounded(group.width(), (share * group.width() as f64) as usize)
    }

    /// The number of channels to remove, given how many were asked for.
    fn rounded(&self, width: usize, removed: usize) -> usize {
        let left = (width - removed).div_ceil(self.round_to).saturating_mul(self.round_to);
        width - left.max(self.floor).min(width)
    }
}

/// Refuses a share that is not in `[0, 1]`.
///
/// # Errors
/// `Limit`, with the name of the option.
pub fn check_share(name: &'static str, found: f64) -> Result<(), PruneError> {
    if (0.0..=1.0).contains(&found) {
        return Ok(());
    }
    Err(PruneError::Limit { name, expected: "between 0 and 1", found })
}

/// A group's channels, the least important first.
///
/// # Errors
/// `ImportanceLength` when it has not one score a channel.
fn ranked(group: &DependencyGroup, importance: &Importance) -> Result<Vec<usize>, PruneError> {
    let scores = importance.get(&group.name).map_or(&[][..], Vec::as_slice);
    if scores.len() != group.width() {
        return Err(PruneError::ImportanceLength {
            group: group.name.clone(),
            expected: group.width(),
            found: scores.len(),
        });
    }
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[a].total_cmp(&scores[b]).then(a.cmp(&b)));
    Ok(order)
}

/// Keeps, in each group, the most important channels that make up a share `keep` of the group's importance.
///
/// The limits hold whatever the share.
///
/// # Errors
/// `Limit` when a number is out of range, `ImportanceLength` when a group has not one score a channel.
pub fn choose_contribution(
    graph: &Graph,
    groups: &Groups,
    importance: &Importance,
    limits: &Limits,
    keep: f64,
) -> Result<PrunePlan, PruneError> {
    limits.check()?;
    check_share("keep", keep)?;
    let mut removed = BTreeMap::new();
    for group in groups.prunable() {
        let order = ranked(group, importance)?;
        let scores = &importance[&group.name];
        let total: f64 = scores.iter().filter(|s| s.is_finite()).sum();
        let (mut gone, mut channels) = (0.0, Vec::new());
        for c in order {
            gone += scores[c];
            if gone.is_nan() || gone > (1.0 - keep) * total {
                break;
            }
            channels.push(c);
        }
        let count = limits.rounded(group.width(), channels.len());
        channels.truncate(count.min(limits.most(group)));
        removed.insert(group.name.clone(), channels);
    }
    PrunePlan::new(graph, groups, removed)
}
