//! What each group's channels are worth: the output error after so many of them are gone.

use ir::Graph;
use prune::{Budget, DependencyGroup, Groups, Shrinking};

use super::agreement::Agreement;
use crate::CompressError;
use crate::repair::DenseRecord;

/// What the consumers' squared error adds to a measured error: next to nothing, but it tells groups apart that cost no
/// precision on the images held out, because these are few or the task is easy.
const FAINT: f64 = 1e-3;

/// Error at the end of a group's way from which the way itself is worth a look.
const HARMLESS: f64 = 0.005;

/// A group's way down.
#[derive(Clone, Debug)]
pub(crate) struct Curve {
    /// The group.
    pub(crate) group: String,
    /// Its number of channels.
    pub(crate) width: usize,
    /// The channels in the order in which they go, as many as may go.
    pub(crate) order: Vec<usize>,
    /// Squared error at the consumers at each stop, ascending.
    lost: Vec<(usize, f64)>,
    /// Measured output error after so many channels, ascending.
    pub(crate) points: Vec<(usize, f64)>,
}

impl Curve {
    /// Output error after `count` channels, a stop: between measured points it grows with the consumers' squared error,
    /// because small errors of a detection cost no precision at first order.
    pub(crate) fn error(&self, count: usize) -> f64 {
        let at = |n: usize| {
            let before = self.lost.partition_point(|(stop, _)| *stop <= n);
            before.checked_sub(1).map_or(0.0, |i| self.lost[i].1)
        };
        let mut from = (0, 0.0);
        for &(n, error) in &self.points {
            if count <= n {
                let span = at(n) - at(from.0);
                let part = if span > 0.0 {
                    (at(count) - at(from.0)) / span
                } else {
                    1.0
                };
                return from.1 + part * (error - from.1);
            }
            from = (n, error);
        }
        from.1
    }

    /// Counts at which the group may stop, ascending: whole blocks left.
    pub(crate) fn stops(&self, budget: &Budget) -> Vec<usize> {
        stops(self.width, self.order.len(), budget)
    }
}

/// Counts of removed channels that leave whole blocks.
fn stops(width: usize, limit: usize, budget: &Budget) -> Vec<usize> {
    let whole = |n: &usize| (width - n).is_multiple_of(budget.round_to);
    (1..=limit).filter(whole).collect()
}

/// Largest number of channels that a group may lose, leaving whole blocks.
pub(crate) fn most(group: &DependencyGroup, budget: &Budget) -> usize {
    let stops = stops(group.width(), budget.most(group), budget);
    stops.last().copied().unwrap_or(0)
}

/// Measures a group: its channels go by rising score, and the detections are looked at when all have gone that may and,
/// unless that is harmless, after a third of the way.
pub(crate) fn measure(
    (graph, groups): (&Graph, &Groups),
    (group, scores): (&DependencyGroup, &[f64]),
    record: &DenseRecord,
    agreement: &mut Agreement<'_>,
    (budget, compensate): (&Budget, bool),
) -> Result<Curve, CompressError> {
    let mut order: Vec<usize> = (0..group.width()).collect();
    order.sort_by(|&a, &b| scores[a].total_cmp(&scores[b]).then(a.cmp(&b)));
    let stops = stops(group.width(), budget.most(group), budget);
    order.truncate(stops.last().copied().unwrap_or(0));
    let mut curve = Curve {
        group: group.name.clone(),
        width: group.width(),
        order,
        lost: vec![],
        points: vec![],
    };
    let Some(&last) = stops.last() else {
        return Ok(curve);
    };
    let first = stops[(stops.len() - 1) / 3];
    let mut shrinking = Shrinking::new(graph, group, &record.statistics);
    let mut looks: Vec<(usize, f64, Graph)> = Vec::new();
    let mut sum = 0.0;
    let mut from = 0;
    for &stop in &stops {
        let channels = &curve.order[from..stop];
        sum += shrinking.cost(channels);
        shrinking.remove(channels);
        curve.lost.push((stop, sum));
        if stop == first || stop == last {
            looks.push((stop, sum, shrinking.graph(graph, groups, compensate)?));
        }
        from = stop;
    }
    for (n, sum, pruned) in looks.into_iter().rev() {
        let error = agreement.error(&pruned)?;
        let after = curve.points.first().map_or(f64::INFINITY, |(_, e)| *e);
        curve
            .points
            .insert(0, (n, (error + FAINT * sum).min(after)));
        if error <= HARMLESS {
            break;
        }
    }
    Ok(curve)
}
