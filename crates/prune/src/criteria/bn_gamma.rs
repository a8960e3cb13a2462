//! `bn_gamma`: the scale that BatchNormalization gives a channel.
//! Source: Liu et al., Network Slimming (arXiv:1708.06519).
use super::{Criterion, Importance};
use crate::{DependencyGroup, Groups, Member, PruneError};
use ir::{Graph, Op, ValueId};
use std::collections::BTreeSet;

/// |γ| of a channel, relative to the mean |γ| of each BatchNormalization, averaged over those of the group.
///
/// For models exported with BatchNormalization kept: a group without one is an error.
pub const BN_GAMMA: Criterion = Criterion {
    name: "bn_gamma",
    score,
};

fn score(graph: &Graph, groups: &Groups) -> Result<Importance, PruneError> {
    let norms = graph.nodes().filter_map(|(_, n)| match n.op {
        Op::BatchNormalization(_) => n.inputs.get(1).copied(),
        _ => None,
    });
    let gammas: BTreeSet<ValueId> = norms.collect();
    let of_group = |g: &DependencyGroup| Ok((g.name.clone(), score_group(graph, g, &gammas)?));
    groups.prunable().map(of_group).collect()
}

fn score_group(
    graph: &Graph,
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
        let mean = gamma.iter().sum::<f64>() / gamma.len().max(1) as f64;
        for (total, indices) in total.iter_mut().zip(&group.channels) {
            let sum: f64 = indices[at].iter().map(|&i| gamma[i]).sum();
            *total += if mean > 0.0 { sum / mean } else { 0.0 };
        }
        count += 1;
    }
    if count == 0 {
        return Err(PruneError::NoBatchNormalization {
            group: group.name.clone(),
        });
    }
    total.iter_mut().for_each(|t| *t /= f64::from(count));
    Ok(total)
}

fn magnitudes(
    graph: &Graph,
    group: &DependencyGroup,
    member: &Member,
) -> Result<Vec<f64>, PruneError> {
    let name = || graph.value(member.value).name.clone();
    let tensor = graph
        .constant(member.value)
        .ok_or_else(|| PruneError::WeightNotConstant {
            node: group.name.clone(),
            weight: name(),
        })?;
    let gamma = tensor.to_f64().map_err(|source| PruneError::Tensor {
        value: name(),
        source,
    })?;
    if gamma.iter().any(|g| !g.is_finite()) {
        return Err(PruneError::NotFinite { weight: name() });
    }
    Ok(gamma.into_iter().map(f64::abs).collect())
}
