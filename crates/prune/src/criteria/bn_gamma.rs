//! `bn_gamma`: the scale that BatchNormalization gives a channel.
//! Source: Liu et al., Network Slimming (arXiv:1708.06519).
use super::{Criterion, Importance};
use crate::{DependencyGroup, Groups, Member, PruneError, Statistics};
use ir::{Graph, Op, ValueId};
use ndarray::Axis;
use std::collections::BTreeSet;

/// |γ| of a channel, relative to the mean |γ| of each BatchNormalization, averaged over those of the group.
///
/// Where a group has none because it was folded, |γ| is recovered: a BatchNormalization's output has standard
/// deviation |γ| on data like that of training, so the deviation of the convolution's output stands for it.
pub const BN_GAMMA: Criterion =
    Criterion { name: "bn_gamma", needs_gradients: false, needs_writers: true, score };

fn score(
    graph: &Graph,
    groups: &Groups,
    statistics: &Statistics,
) -> Result<Importance, PruneError> {
    let norms = graph.nodes().filter_map(|(_, n)| match n.op {
        Op::BatchNormalization(_) => n.inputs.get(1).copied(),
        _ => None,
    });
    let gammas: BTreeSet<ValueId> = norms.collect();
    let of_group =
        |g: &DependencyGroup| Ok((g.name.clone(), score_group(graph, statistics, g, &gammas)?));
    groups.prunable().map(of_group).collect()
}

fn score_group(
    graph: &Graph,
    statistics: &Statistics,
    group: &DependencyGroup,
    gammas: &BTreeSet<ValueId>,
) -> Result<Vec<f64>, PruneError> {
    let mut total = vec![0.0; group.width()];
    let mut count = 0;
    for (at, member) in group.members.iter().enumerate() {
        if !gammas.contains(&member.value) {
            continue;
        }
        let gamma = magnitudes(graph, group, member)?;
        let sum = |c: &Vec<Vec<usize>>| c[at].iter().map(|&i| gamma[i]).sum();
        let of_channels: Vec<f64> = group.channels.iter().map(sum).collect();
        super::add_relative(&mut total, &of_channels);
        count += 1;
    }
    if count == 0 {
        count = add_recovered(&mut total, group, statistics);
    }
    if count == 0 {
        return Err(PruneError::NoBatchNormalization { group: group.name.clone() });
    }
    total.iter_mut().for_each(|t| *t /= f64::from(count));
    Ok(total)
}

/// Adds the deviations of what the group's convolutions give; how many were seen.
fn add_recovered(total: &mut [f64], group: &DependencyGroup, statistics: &Statistics) -> i32 {
    let mut count = 0;
    for root in &group.roots {
        let Some(seen) = statistics.layers.get(&root.node) else {
            continue;
        };
        let w = &seen.layer.weight;
        let products = seen.moments.covariance.multiplied(w, statistics.threads);
        let variance = (products * w).sum_axis(Axis(1));
        let sum = |rows: &[usize]| rows.iter().map(|&r| variance[r].max(0.0).sqrt()).sum();
        let of_channels: Vec<f64> = group.rows(root).map(sum).collect();
        super::add_relative(total, &of_channels);
        count += 1;
    }
    count
}

fn magnitudes(
    graph: &Graph,
    group: &DependencyGroup,
    member: &Member,
) -> Result<Vec<f64>, PruneError> {
    let name = || graph.value(member.value).name.clone();
    let tensor = graph.constant(member.value).ok_or_else(|| PruneError::WeightNotConstant {
        node: group.name.clone(),
        weight: name(),
    })?;
    let gamma = tensor.to_f64().map_err(|cause| PruneError::Tensor { value: name(), cause })?;
    if gamma.iter().any(|g| !g.is_finite()) {
        return Err(PruneError::NotFinite { weight: name() });
    }
    Ok(gamma.into_iter().map(f64::abs).collect())
}
