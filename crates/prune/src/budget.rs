//! How many channels a group may lose, and which go when each keeps a share of its contribution.
use crate::{DependencyGroup, Groups, Importance, PruneError, PrunePlan};
use ir::Graph;
use std::collections::BTreeMap;

/// How much to remove and in which steps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Budget {
    /// Share to remove, in `[0, 1]`.
    pub ratio: f64,
    /// Surviving widths are rounded up to multiples of this.
    pub round_to: usize,
    /// No group falls below this many channels.
    pub floor: usize,
    /// Largest share that the first group may lose, in `[0, 1]`; between the first and the last it grows with depth.
    pub shallow_ratio: f64,
    /// Largest share that the deepest group may lose, in `[0, 1]`.
    pub max_layer_ratio: f64,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            ratio: 0.2,
            round_to: 8,
            floor: 8,
            shallow_ratio: 0.2,
            max_layer_ratio: 0.5,
        }
    }
}

impl Budget {
    /// Refuses numbers out of range.
    ///
    /// # Errors
    /// `Budget`, with the number.
    pub fn check(&self) -> Result<(), PruneError> {
        let shares = [
            ("ratio", self.ratio),
            ("shallow_ratio", self.shallow_ratio),
            ("max_layer_ratio", self.max_layer_ratio),
        ];
        for (name, found) in shares {
            if !(0.0..=1.0).contains(&found) {
                let expected = "between 0 and 1";
                return Err(PruneError::Budget {
                    name,
                    expected,
                    found,
                });
            }
        }
        for (name, n) in [("round_to", self.round_to), ("floor", self.floor)] {
            if n == 0 {
                return Err(PruneError::Budget {
                    name,
                    expected: "positive",
                    found: 0.0,
                });
            }
        }
        Ok(())
    }

    /// Largest number of channels that a group may lose.
    pub fn most(&self, group: &DependencyGroup) -> usize {
        let shallow = self.shallow_ratio.min(self.max_layer_ratio);
        let share = shallow + (self.max_layer_ratio - shallow) * group.depth;
        self.rounded(group.width(), (share * group.width() as f64) as usize)
    }

    /// The number of channels to remove, given how many were asked for.
    fn rounded(&self, width: usize, removed: usize) -> usize {
        let left = (width - removed)
            .div_ceil(self.round_to)
            .saturating_mul(self.round_to);
        width - left.max(self.floor).min(width)
    }
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
/// Caps by depth, rounding and floor of `budget` hold; its ratio is not read.
///
/// # Errors
/// `Budget` when a number is out of range, `ImportanceLength` when a group has not one score a channel.
pub fn choose_contribution(
    graph: &Graph,
    groups: &Groups,
    importance: &Importance,
    (budget, keep): (&Budget, f64),
) -> Result<PrunePlan, PruneError> {
    budget.check()?;
    if !(0.0..=1.0).contains(&keep) {
        return Err(PruneError::Budget {
            name: "keep",
            expected: "between 0 and 1",
            found: keep,
        });
    }
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
        let count = budget.rounded(group.width(), channels.len());
        channels.truncate(count.min(budget.most(group)));
        removed.insert(group.name.clone(), channels);
    }
    PrunePlan::new(graph, groups, removed)
}
