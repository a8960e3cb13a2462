//! `reconstruction`: what the consumers lose, after their other weights have made up for it.
//! Source: Luo et al., ThiNet (arXiv:1707.06342); Frantar and Alistarh (arXiv:2208.11580).
use super::Criterion;
use crate::{DependencyGroup, PruningSweep};

/// Squared error at the consumers when the channels go one after the other, the cheapest first: the score is the
/// error of the step that removes the channel, as a share of each consumer's variance. Channels that nothing
/// reads whose inputs were seen are never chosen.
pub const RECONSTRUCTION: Criterion = Criterion {
    name: "reconstruction",
    needs_gradients: false,
    needs_writers: false,
    score: |graph, groups, statistics| {
        let score = |g: &DependencyGroup| {
            (g.name.clone(), score(g, PruningSweep::new(graph, g, statistics)))
        };
        Ok(groups.prunable().map(score).collect())
    },
};

fn score(group: &DependencyGroup, mut shrinking: PruningSweep<'_>) -> Vec<f64> {
    let mut scores = vec![f64::INFINITY; group.width()];
    if !shrinking.is_measured() {
        return scores;
    }
    // Wide groups lose several at once: costs change little between neighbours. Past three quarters the order is
    // left as it is.
    let batch = (group.width() / 64).max(1);
    let mut last = 0.0_f64;
    let mut gone = 0;
    while gone < group.width() {
        let mut ranked = shrinking.ranked();
        let rest = gone >= group.width() - group.width() / 4;
        if !rest {
            ranked.truncate(batch);
            let channels: Vec<usize> = ranked.iter().map(|(c, _)| *c).collect();
            shrinking.remove(&channels);
        }
        gone += ranked.len();
        for (channel, cost) in ranked {
            last = last.max(cost);
            scores[channel] = last;
        }
    }
    scores
}
