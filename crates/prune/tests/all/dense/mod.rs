//! The oracle: what a pruned graph must compute, said with the dense graph.
use ir::{Graph, Tensor, ValueId};
use prune::{Groups, PrunePlan};
use std::collections::{BTreeMap, BTreeSet};

/// The dense graph with the removed columns of every full convolution set to zero.
pub(crate) fn with_zero_columns(graph: &Graph, groups: &Groups, plan: &PrunePlan) -> Graph {
    let mut columns: BTreeMap<ValueId, BTreeSet<usize>> = BTreeMap::new();
    for (name, channels) in &plan.removed {
        let group = groups.get(name).unwrap();
        for c in channels {
            for (member, indices) in group.members.iter().zip(&group.channels[*c]) {
                if member.axis == 1 && graph.constant(member.value).is_some() {
                    columns.entry(member.value).or_default().extend(indices);
                }
            }
        }
    }
    let mut edit = graph.edit();
    for (weight, columns) in columns {
        let tensor = graph.constant(weight).unwrap();
        let shape = tensor.shape().to_vec();
        let inner: usize = shape[2..].iter().product();
        let mut data = tensor.as_slice::<f32>().unwrap().to_vec();
        for (i, w) in data.iter_mut().enumerate() {
            if columns.contains(&(i / inner % shape[1])) {
                *w = 0.0;
            }
        }
        edit.set_constant(weight, Tensor::new(shape, data).unwrap());
    }
    let mut zeroed = graph.clone();
    zeroed.apply(edit).unwrap();
    zeroed
}
