//! How many channels each group loses: one threshold for the whole model, with caps by depth.
use crate::{DependencyGroup, Groups, Importance, PruneError, PrunePlan, apply};
use ir::Graph;
use std::collections::BTreeMap;

/// How much to remove and in which steps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Budget {
    /// Share of the prunable channels to remove, in `[0, 1]`; for [`choose_macs`], share of the model's MACs.
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

/// All prunable channels, the least important first.
struct Ranking<'a> {
    groups: Vec<&'a DependencyGroup>,
    order: Vec<(usize, usize)>,
    budget: &'a Budget,
}

impl<'a> Ranking<'a> {
    fn new(
        groups: &'a Groups,
        importance: &Importance,
        budget: &'a Budget,
    ) -> Result<Self, PruneError> {
        budget.check()?;
        let groups: Vec<&DependencyGroup> = groups.prunable().collect();
        let mut ranked: Vec<(f64, usize, usize)> = Vec::new();
        for (g, group) in groups.iter().enumerate() {
            let scores = importance.get(&group.name).map_or(&[][..], Vec::as_slice);
            if scores.len() != group.width() {
                return Err(PruneError::ImportanceLength {
                    group: group.name.clone(),
                    expected: group.width(),
                    found: scores.len(),
                });
            }
            ranked.extend(scores.iter().enumerate().map(|(c, &s)| (s, g, c)));
        }
        ranked.sort_by(|a, b| a.0.total_cmp(&b.0).then((a.1, a.2).cmp(&(b.1, b.2))));
        let order = ranked.into_iter().map(|(_, g, c)| (g, c)).collect();
        Ok(Self {
            groups,
            order,
            budget,
        })
    }

    /// Removed channels of each group when the first `below` of the ranking fall under the threshold.
    fn removed(&self, below: usize) -> BTreeMap<String, Vec<usize>> {
        let mut asked: Vec<Vec<usize>> = vec![Vec::new(); self.groups.len()];
        for &(g, c) in &self.order[..below] {
            asked[g].push(c);
        }
        let cut = |(group, mut channels): (&&DependencyGroup, Vec<usize>)| {
            let count = self.budget.rounded(group.width(), channels.len());
            channels.truncate(count.min(self.budget.most(group)));
            channels.sort_unstable();
            (group.name.clone(), channels)
        };
        let all = self.groups.iter().zip(asked).map(cut);
        all.filter(|(_, channels)| !channels.is_empty()).collect()
    }

    /// The lowest threshold at which `enough` holds, or the highest of all when it never does.
    fn search(
        &self,
        mut enough: impl FnMut(usize) -> Result<bool, PruneError>,
    ) -> Result<usize, PruneError> {
        let (mut low, mut high) = (0, self.order.len());
        while low < high {
            let middle = low + (high - low) / 2;
            if enough(middle)? {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        Ok(low)
    }
}

/// Chooses the least important channels until `budget.ratio` of the prunable ones are gone.
///
/// The threshold is one for all groups; caps by depth, rounding and floor hold for each. When they forbid the
/// ratio, the plan removes as much as they allow. Ties go by execution order, then by channel.
///
/// # Errors
/// `Budget` when a number is out of range, `ImportanceLength` when a group has not one score a channel.
pub fn choose(
    graph: &Graph,
    groups: &Groups,
    importance: &Importance,
    budget: &Budget,
) -> Result<PrunePlan, PruneError> {
    let ranking = Ranking::new(groups, importance, budget)?;
    let target = (budget.ratio * ranking.order.len() as f64).round() as usize;
    let count = |below| ranking.removed(below).values().map(Vec::len).sum::<usize>();
    let below = ranking.search(|below| Ok(count(below) >= target))?;
    PrunePlan::new(graph, groups, ranking.removed(below))
}

/// As [`choose`], until `budget.ratio` of the model's multiply-accumulate operations are gone.
///
/// # Errors
/// As [`choose`] and [`apply`].
pub fn choose_macs(
    graph: &Graph,
    groups: &Groups,
    importance: &Importance,
    budget: &Budget,
) -> Result<PrunePlan, PruneError> {
    let ranking = Ranking::new(groups, importance, budget)?;
    let target = graph.macs() as f64 * (1.0 - budget.ratio);
    let plan = |below| PrunePlan::new(graph, groups, ranking.removed(below));
    let below = ranking.search(|below| {
        let pruned = apply(graph, groups, &plan(below)?)?;
        Ok(pruned.macs() as f64 <= target)
    })?;
    plan(below)
}

/// Keeps, in each group, the most important channels that make up a share `keep` of the group's importance.
///
/// Caps by depth, rounding and floor of `budget` hold; its ratio is not read.
///
/// # Errors
/// As [`choose`]; `Budget` when `keep` is not a share.
pub fn choose_contribution(
    graph: &Graph,
    groups: &Groups,
    importance: &Importance,
    (budget, keep): (&Budget, f64),
) -> Result<PrunePlan, PruneError> {
    let ranking = Ranking::new(groups, importance, budget)?;
    if !(0.0..=1.0).contains(&keep) {
        return Err(PruneError::Budget {
            name: "keep",
            expected: "between 0 and 1",
            found: keep,
        });
    }
    let mut removed = BTreeMap::new();
    for (g, group) in ranking.groups.iter().enumerate() {
        let scores = &importance[&group.name];
        let total: f64 = scores.iter().filter(|s| s.is_finite()).sum();
        let (mut gone, mut channels) = (0.0, Vec::new());
        for &(_, c) in ranking.order.iter().filter(|(of, _)| *of == g) {
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
