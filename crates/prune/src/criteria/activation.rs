//! `activation`: how strong a channel is where it is read.
//! Source: Molchanov et al. (arXiv:1611.06440), section 2.2, with the deviation instead of the mean.
use super::Criterion;
use crate::sweep::consumers;
use crate::{DependencyGroup, PruneError, Statistics};
use ir::Graph;

/// Standard deviation of a channel where convolutions read it, relative to the mean of the group.
///
/// The mean of a channel moves into the next bias, so that only what varies counts.
pub const ACTIVATION: Criterion = Criterion {
    name: "activation",
    needs_gradients: false,
    needs_writers: false,
    score: |graph, groups, statistics| {
        let of_group = |g: &DependencyGroup| Ok((g.name.clone(), score(graph, g, statistics)?));
        groups.prunable().map(of_group).collect()
    },
};

fn score(
    graph: &Graph,
    group: &DependencyGroup,
    statistics: &Statistics,
) -> Result<Vec<f64>, PruneError> {
    let readers = consumers(graph, group, statistics);
    if readers.is_empty() {
        return Err(PruneError::NoStatistics { group: group.name.clone() });
    }
    let mut total = vec![0.0; group.width()];
    for (node, columns) in &readers {
        let variance = statistics.layers[node].moments.covariance.diagonal();
        let deviations: Vec<f64> = columns
            .iter()
            .map(|c| (c.iter().map(|&i| variance[i]).sum::<f64>() / c.len().max(1) as f64).sqrt())
            .collect();
        super::add_relative(&mut total, &deviations);
    }
    total.iter_mut().for_each(|t| *t /= readers.len() as f64);
    Ok(total)
}
