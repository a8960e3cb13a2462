//! `taylor`: how a loss changes when the channel goes away, by its gradient.
//! Source: Molchanov et al., "Importance estimation for neural network pruning" (arXiv:1906.10771), equation 8; for the slices that
//! read a channel the sum is that of arXiv:1611.06440, equation 8: gradient times activation.
use super::Criterion;
use crate::{DependencyGroup, PruneError, Sensitivity, Statistics};

/// The square of the first-order change of a loss when all slices of parameters that carry the channel become 0, mean over the
/// images.
pub const TAYLOR: Criterion = Criterion {
    name: "taylor",
    needs_gradients: true,
    needs_writers: false,
    score: |_, groups, statistics| {
        let of_group = |g: &DependencyGroup| Ok((g.name.clone(), score(g, statistics)?));
        groups.prunable().map(of_group).collect()
    },
};

fn score(group: &DependencyGroup, statistics: &Statistics) -> Result<Vec<f64>, PruneError> {
    let mut total = vec![0.0; group.width()];
    let mut is_seen = false;
    for sensitivity in &statistics.sensitivities {
        let carriers: Vec<(usize, &Vec<f64>)> = carriers(group, sensitivity).collect();
        is_seen |= !carriers.is_empty();
        for (total, indices) in total.iter_mut().zip(&group.channels) {
            let of_carrier = |(at, changes): &(usize, &Vec<f64>)| {
                indices[*at].iter().map(|&index| changes[index]).sum::<f64>()
            };
            *total += carriers.iter().map(of_carrier).sum::<f64>().powi(2);
        }
    }
    if !is_seen {
        return Err(PruneError::NoGradients { group: group.name.clone() });
    }
    let images = statistics.sensitivities.len() as f64;
    Ok(total.into_iter().map(|squares| squares / images).collect())
}

/// The group's members that are parameters with a gradient, by position.
fn carriers<'a>(
    group: &'a DependencyGroup,
    sensitivity: &'a Sensitivity,
) -> impl Iterator<Item = (usize, &'a Vec<f64>)> {
    let members = group.members.iter().enumerate();
    members.filter_map(|(at, member)| Some((at, sensitivity.get(member)?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Member, analyse};
    use std::collections::BTreeMap;
    use testkit::net::Net;

    #[test]
    fn changes_of_all_slices_of_a_channel_add_up_and_images_do_not_cancel() {
        let mut graph = ir::Graph::new(17);
        let mut net = Net::new(&graph);
        let x = net.input(&[1, 3, 4, 4]);
        let hidden = net.conv(x, [3, 2, 1, 1], 1);
        let y = net.conv(hidden, [2, 4, 1, 1], 1);
        net.edit.output(y);
        graph.apply(net.edit).unwrap();
        let groups = analyse(&graph).unwrap();
        let group = groups.prunable().next().unwrap();
        let weights: Vec<_> = graph.nodes().map(|(_, node)| node.inputs[1]).collect();
        let written = Member { value: weights[0], axis: 0 };
        let read = Member { value: weights[1], axis: 1 };
        let image =
            |sign: f64| BTreeMap::from([(written, vec![sign, 2.0]), (read, vec![sign, -2.0])]);
        let mut statistics = Statistics::default();
        let refused = (TAYLOR.score)(&graph, &groups, &statistics).unwrap_err();
        assert_eq!(refused, PruneError::NoGradients { group: group.name.clone() });
        statistics.sensitivities = vec![image(1.0), image(-1.0)];
        let scores = (TAYLOR.score)(&graph, &groups, &statistics).unwrap();
        assert_eq!(scores[&group.name], [4.0, 0.0]);
    }
}
