//! `l1` and `l2`: norms of the filters that compute a channel.
//! Source: Li et al., Pruning Filters for Efficient ConvNets (arXiv:1608.08710).
use super::{Criterion, Importance};
use crate::{DependencyGroup, Groups, PruneError, Root};
use ir::{Graph, ValueId};
use std::collections::BTreeSet;

/// L1 norm of the filters that compute a channel, relative to the mean filter of each weight, averaged over the
/// weights of the group.
pub const L1: Criterion = Criterion {
    name: "l1",
    needs_gradients: false,
    needs_writers: false,
    score: |graph, groups, _| score(graph, groups, 1),
};

/// As [`L1`], with the L2 norm.
pub const L2: Criterion = Criterion {
    name: "l2",
    needs_gradients: false,
    needs_writers: false,
    score: |graph, groups, _| score(graph, groups, 2),
};

fn score(graph: &Graph, groups: &Groups, power: i32) -> Result<Importance, PruneError> {
    let of_group = |g: &DependencyGroup| Ok((g.name.clone(), score_group(graph, g, power)?));
    groups.prunable().map(of_group).collect()
}

fn score_group(graph: &Graph, group: &DependencyGroup, power: i32) -> Result<Vec<f64>, PruneError> {
    let mut total = vec![0.0; group.width()];
    let mut seen: BTreeSet<ValueId> = BTreeSet::new();
    for root in &group.roots {
        if !seen.insert(root.weight) {
            continue;
        }
        let norms = row_norms(graph, root, power)?;
        let mean = norms.iter().sum::<f64>() / norms.len().max(1) as f64;
        for (total, rows) in total.iter_mut().zip(group.rows(root)) {
            let norm: f64 = rows.iter().map(|&r| norms[r]).sum();
            *total += if mean > 0.0 { norm / mean } else { 0.0 };
        }
    }
    total.iter_mut().for_each(|t| *t /= seen.len() as f64);
    Ok(total)
}

/// Norm of each index of the weight's output axis.
fn row_norms(graph: &Graph, root: &Root, power: i32) -> Result<Vec<f64>, PruneError> {
    let weight = &graph.value(root.weight).name;
    let tensor = graph.constant(root.weight).ok_or_else(|| PruneError::WeightNotConstant {
        node: graph.node(root.node).name.clone(),
        weight: weight.clone(),
    })?;
    let elements =
        tensor.to_f64().map_err(|cause| PruneError::Tensor { value: weight.clone(), cause })?;
    let (shape, axis) = (tensor.shape(), root.axis);
    let inner: usize = shape[axis + 1..].iter().product();
    let mut norms = vec![0.0; shape[axis]];
    for (i, x) in elements.iter().enumerate() {
        norms[i / inner % shape[axis]] += x.abs().powi(power);
    }
    norms.iter_mut().for_each(|n| *n = n.powf(1.0 / f64::from(power)));
    if norms.iter().any(|n| !n.is_finite()) {
        return Err(PruneError::NotFinite { weight: weight.clone() });
    }
    Ok(norms)
}
