//! What each group's channels are worth alone: the output error after shares of them are gone.

use prune::{DependencyGroup, PruningSweep, Statistics};
use serde::Serialize;

use super::PruneStudy;
use crate::{CompressError, RepairStep};

/// A group and how the model's output suffers from its loss alone.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GroupSensitivity {
    /// The group.
    pub group: String,
    /// Its channels.
    pub channels: usize,
    /// Position in the model: 0 at the first node, 1 at the last.
    pub depth: f64,
    /// MACs that would be gone if all its channels were.
    pub macs: u64,
    /// What was measured, by rising share.
    pub points: Vec<SensitivityPoint>,
}

/// The model with the group that much thinner, evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct SensitivityPoint {
    /// Share of the channels that was to be removed.
    pub share: f64,
    /// Channels that were: the nearest number, and never all.
    pub removed: usize,
    /// 0 when the outputs are those of the dense model.
    pub output_error: f64,
}

impl GroupSensitivity {
    /// Mean output error over the shares.
    pub fn fragility(&self) -> f64 {
        let sum: f64 = self.points.iter().map(|p| p.output_error).sum();
        sum / self.points.len().max(1) as f64
    }
}

impl PruneStudy<'_> {
    /// Prunes each group alone by each of the shares, in the order of the criterion and with repair inside the group, and
    /// measures the output error on held out images. The most fragile group comes first.
    ///
    /// # Errors
    /// As the stages.
    pub fn sensitivity(&mut self, shares: &[f64]) -> Result<Vec<GroupSensitivity>, CompressError> {
        let mut all = Vec::new();
        self.each_group(|study, group, statistics| {
            all.push(study.alone(group, statistics, shares)?);
            Ok(())
        })?;
        all.sort_by(|a, b| b.fragility().total_cmp(&a.fragility()));
        Ok(all)
    }

    fn alone(
        &mut self,
        group: &DependencyGroup,
        statistics: &Statistics,
        shares: &[f64],
    ) -> Result<GroupSensitivity, CompressError> {
        let graph = self.observation.model.graph;
        let order = self.by_importance(group);
        let compensate = self.options.repairs(RepairStep::Reconstruct);
        let mut shrinking = PruningSweep::new(graph, group, statistics);
        let mut points: Vec<SensitivityPoint> = Vec::new();
        let mut shares = shares.to_vec();
        shares.sort_by(f64::total_cmp);
        for share in shares {
            let removed = (share * group.width() as f64).round() as usize;
            let removed = removed.min(group.width() - 1);
            let before = points.last().map_or(0, |p| p.removed);
            shrinking.remove(&order[before..removed.max(before)]);
            let output_error = match removed {
                0 => 0.0,
                _ => {
                    let pruned = shrinking.thinned(compensate).graph(graph, &self.groups)?;
                    self.reference.error(&pruned)?
                }
            };
            points.push(SensitivityPoint { share, removed, output_error });
        }
        Ok(GroupSensitivity {
            group: group.name.clone(),
            channels: group.width(),
            depth: group.depth,
            macs: group.macs(graph),
            points,
        })
    }
}
