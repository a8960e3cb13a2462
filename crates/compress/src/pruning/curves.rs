//! What each group's channels are worth: the output error after so many of them are gone.

use prune::{DependencyGroup, Limits, PruningSweep, Statistics, ThinnedGroup};

use super::PruneStudy;
use crate::{CompressError, RepairStep};

/// What the consumers' squared error adds to a measured error: next to nothing, but it tells groups apart that cost no
/// precision on the images held out, because these are few or the task is easy.
const FAINT: f64 = 1e-3;

/// Error with all channels gone that may be removed, above which fewer are evaluated too.
const HARMLESS: f64 = 0.005;

/// How the output error grows while a group loses channels.
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
        let lost = |n: usize| {
            let before = self.lost.partition_point(|(stop, _)| *stop <= n);
            before.checked_sub(1).map_or(0.0, |i| self.lost[i].1)
        };
        let mut from = (0, 0.0);
        for &(n, error) in &self.points {
            if count <= n {
                let span = lost(n) - lost(from.0);
                let part = if span > 0.0 { (lost(count) - lost(from.0)) / span } else { 1.0 };
                return from.1 + part * (error - from.1);
            }
            from = (n, error);
        }
        from.1
    }

    /// Counts at which the group may stop, ascending: whole blocks left.
    pub(crate) fn stops(&self, limits: &Limits) -> Vec<usize> {
        stops(self.width, self.order.len(), limits)
    }
}

/// Counts of removed channels that leave whole blocks.
fn stops(width: usize, limit: usize, limits: &Limits) -> Vec<usize> {
    let whole = |n: &usize| (width - n).is_multiple_of(limits.round_to);
    (1..=limit).filter(whole).collect()
}

/// Largest number of channels that a group may lose, leaving whole blocks.
pub(crate) fn most(group: &DependencyGroup, limits: &Limits) -> usize {
    let stops = stops(group.width(), limits.most(group), limits);
    stops.last().copied().unwrap_or(0)
}

/// A group that has lost its first channels, to be evaluated.
struct Stop {
    removed: usize,
    /// Squared error at the consumers.
    lost: f64,
    thinned: ThinnedGroup,
}

impl PruneStudy<'_> {
    /// A group's channels in the order of rising scores.
    pub(super) fn by_importance(&self, group: &DependencyGroup) -> Vec<usize> {
        let scores = &self.importance[&group.name];
        let mut order: Vec<usize> = (0..group.width()).collect();
        order.sort_by(|&a, &b| scores[a].total_cmp(&scores[b]).then(a.cmp(&b)));
        order
    }

    /// Measures a group: its channels go by rising score, and the detections are evaluated when all are gone that may be
    /// removed and, unless that is harmless, after a third of them.
    pub(super) fn measure_curve(
        &mut self,
        group: &DependencyGroup,
        statistics: &Statistics,
    ) -> Result<Curve, CompressError> {
        let limits = &self.options.limits;
        let stops = stops(group.width(), limits.most(group), limits);
        let mut curve = Curve {
            group: group.name.clone(),
            width: group.width(),
            order: self.by_importance(group),
            lost: vec![],
            points: vec![],
        };
        curve.order.truncate(stops.last().copied().unwrap_or(0));
        let Some(&last) = stops.last() else {
            return Ok(curve);
        };
        let first = stops[(stops.len() - 1) / 3];
        let graph = self.observation.model.graph;
        let compensate = self.options.repairs(RepairStep::Reconstruct);
        let mut shrinking = PruningSweep::new(graph, group, statistics);
        let mut evaluated: Vec<Stop> = Vec::new();
        let (mut lost, mut from) = (0.0, 0);
        for &stop in &stops {
            let channels = &curve.order[from..stop];
            lost += shrinking.cost(channels);
            shrinking.remove(channels);
            curve.lost.push((stop, lost));
            if stop == first || stop == last {
                evaluated.push(Stop {
                    removed: stop,
                    lost,
                    thinned: shrinking.thinned(compensate),
                });
            }
            from = stop;
        }
        drop(shrinking);
        for stop in evaluated.into_iter().rev() {
            let thinned = stop.thinned.graph(graph, &self.groups)?;
            let error = self.reference.error(&thinned)?;
            let after = curve.points.first().map_or(f64::INFINITY, |(_, e)| *e);
            let point = (error + FAINT * stop.lost).min(after);
            curve.points.insert(0, (stop.removed, point));
            if error <= HARMLESS {
                break;
            }
        }
        Ok(curve)
    }
}
