//! How many channels each group loses: the cheapest first, by measured output error.

use std::collections::BTreeMap;

use ir::{Graph, Op};
use prune::{DependencyGroup, Limits, Member};

use super::curves::Curve;

/// A layer's cost, and for both sides of its weight the share that one channel of each group carries.
struct Layer {
    macs: f64,
    sides: [Vec<(usize, f64)>; 2],
}

/// What is saved as a function of the channels that are gone.
pub(crate) struct Saving {
    layers: Vec<Layer>,
    total: f64,
}

impl Saving {
    /// In MACs of the graph; groups count by their position.
    pub(crate) fn of_macs(graph: &Graph, groups: &[&DependencyGroup]) -> Self {
        let share = |value, axis, len: usize| -> Vec<(usize, f64)> {
            let member = Member { value, axis };
            let share = |(g, group): (usize, &&DependencyGroup)| {
                let position = group.members.binary_search(&member).ok()?;
                let channels = group.channels.iter();
                let indices: usize = channels.map(|c| c[position].len()).sum();
                Some((g, indices as f64 / group.width() as f64 / len.max(1) as f64))
            };
            groups.iter().enumerate().filter_map(share).collect()
        };
        let mut layers = Vec::new();
        for (id, node) in graph.nodes() {
            if let (Op::Conv(_), Ok(ty)) =
                (&node.op, graph.ty(node.inputs[node.inputs.len().min(2) - 1]))
            {
                layers.push(Layer {
                    macs: graph.node_macs(id) as f64,
                    sides: [0, 1].map(|axis| share(node.inputs[1], axis, ty.shape[axis])),
                });
            }
        }
        Self { total: graph.macs() as f64, layers }
    }

    /// In channels.
    pub(crate) fn of_channels(groups: &[&DependencyGroup]) -> Self {
        let layer = |(g, group): (usize, &&DependencyGroup)| Layer {
            macs: group.width() as f64,
            sides: [vec![(g, 1.0 / group.width() as f64)], vec![]],
        };
        let layers: Vec<Layer> = groups.iter().enumerate().map(layer).collect();
        Self { total: layers.iter().map(|l| l.macs).sum(), layers }
    }

    /// Share that is gone when each group has lost so many channels.
    pub(crate) fn share(&self, lost: &[usize]) -> f64 {
        let left = |side: &Vec<(usize, f64)>| {
            1.0 - side.iter().map(|&(g, s)| s * lost[g] as f64).sum::<f64>()
        };
        let saved = |l: &Layer| l.macs * (1.0 - left(&l.sides[0]) * left(&l.sides[1]));
        self.layers.iter().map(saved).sum::<f64>() / self.total.max(1.0)
    }
}

/// How the errors of several groups add up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Addition {
    /// As they are.
    Plain,
    /// As squares, as independent disturbances do.
    Squares,
}

impl Addition {
    /// All ways.
    pub(crate) const ALL: [Self; 2] = [Self::Squares, Self::Plain];

    /// Name, for reports.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Plain => "sum of errors",
            Self::Squares => "sum of squared errors",
        }
    }

    fn price(self, error: f64) -> f64 {
        match self {
            Self::Plain => error,
            Self::Squares => error * error,
        }
    }
}

/// Channels that each group loses until a share `ratio` is saved, within limits.
///
/// Takes the step with the least error for what it saves, again and again; a step may be several blocks, because
/// curves are not convex. The last step is cut back to the fewest blocks that reach the ratio.
pub(crate) fn allocate(
    saving: &Saving,
    curves: &[Curve],
    limits: &Limits,
    ratio: f64,
    addition: Addition,
) -> Vec<usize> {
    let stops: Vec<Vec<usize>> = curves.iter().map(|c| c.stops(limits)).collect();
    let mut lost = vec![0; curves.len()];
    loop {
        let before = saving.share(&lost);
        if before >= ratio {
            return lost;
        }
        let mut best: Option<(f64, usize, usize)> = None;
        for (g, curve) in curves.iter().enumerate() {
            let now = addition.price(curve.error(lost[g]));
            for &stop in stops[g].iter().filter(|s| **s > lost[g]) {
                let mut next = lost.clone();
                next[g] = stop;
                let saved = saving.share(&next) - before;
                let price = (addition.price(curve.error(stop)) - now).max(1e-9) / saved.max(1e-12);
                if best.is_none_or(|b| price < b.0) {
                    best = Some((price, g, stop));
                }
            }
        }
        let Some((_, g, stop)) = best else {
            return lost;
        };
        let from = lost[g];
        let enough = |n: &usize| {
            let mut next = lost.clone();
            next[g] = *n;
            saving.share(&next) >= ratio
        };
        let first = stops[g].iter().copied().find(|n| *n > from && enough(n));
        lost[g] = first.map_or(stop, |f| f.min(stop));
    }
}

/// The channels behind the counts.
pub(crate) fn removed(curves: &[Curve], lost: &[usize]) -> BTreeMap<String, Vec<usize>> {
    let of_group = |(curve, &n): (&Curve, &usize)| {
        let mut channels = curve.order[..n].to_vec();
        channels.sort_unstable();
        (curve.group.clone(), channels)
    };
    curves.iter().zip(lost).map(of_group).filter(|(_, c)| !c.is_empty()).collect()
}
