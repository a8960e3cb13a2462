//! Pruning: groups, importance, a plan, and removed channels' means absorbed into the next biases.

use std::collections::{BTreeMap, BTreeSet};

use ir::{Graph, Op, ValueId};
use prune::{Budget, Groups, PrunePlan};
use yolo::BadInput;

use crate::{CompressError, Observation};

/// How much to remove.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PruneBudget {
    /// A share of the prunable channels.
    Channels(f64),
    /// A share of the model's MACs.
    Macs(f64),
}

/// A pruned detector and how it came about.
#[derive(Debug)]
pub struct Pruned {
    /// The smaller graph.
    pub graph: Graph,
    /// What was decided.
    pub plan: PrunePlan,
    /// Groups that could be pruned, and groups that are frozen.
    pub groups: Groups,
    /// Images that could not be read.
    pub bad_images: Vec<BadInput>,
}

/// Prunes by a criterion of the list; with `repair`, what the removed channels gave on average over the
/// observation's images goes into the next biases.
///
/// # Errors
/// `UnknownName` for a criterion that is not in the list; as the stages otherwise.
pub fn prune_detector(
    observation: &Observation<'_>,
    criterion: &str,
    budget: PruneBudget,
    repair: bool,
) -> Result<Pruned, CompressError> {
    let graph = observation.graph;
    let listed = prune::CRITERIA.iter().find(|c| c.name == criterion);
    let criterion = listed.ok_or_else(|| CompressError::UnknownName {
        what: "criterion",
        found: criterion.to_owned(),
        expected: prune::CRITERIA
            .iter()
            .map(|c| c.name)
            .collect::<Vec<_>>()
            .join(", "),
    })?;
    let groups = prune::analyse(graph, &[])?;
    let importance = (criterion.score)(graph, &groups)?;
    let plan = match budget {
        PruneBudget::Channels(ratio) => prune::choose(
            graph,
            &groups,
            &importance,
            &Budget {
                ratio,
                ..Budget::default()
            },
        )?,
        PruneBudget::Macs(ratio) => prune::choose_macs(
            graph,
            &groups,
            &importance,
            &Budget {
                ratio,
                ..Budget::default()
            },
        )?,
    };
    if !repair {
        let graph = prune::apply(graph, &groups, &plan)?;
        return Ok(Pruned {
            graph,
            plan,
            groups,
            bad_images: vec![],
        });
    }
    let (means, bad_images) = channel_means(observation)?;
    let graph = prune::absorb_means(graph, &groups, &plan, &means)?;
    Ok(Pruned {
        graph,
        plan,
        groups,
        bad_images,
    })
}

/// Mean of every channel, by value.
type Means = BTreeMap<ValueId, Vec<f32>>;

/// Mean of every channel of every value that a convolution reads, over the observation's images.
fn channel_means(observation: &Observation<'_>) -> Result<(Means, Vec<BadInput>), CompressError> {
    let graph = observation.graph;
    let convs = graph.nodes().filter(|(_, n)| matches!(n.op, Op::Conv(_)));
    let read: BTreeSet<ValueId> = convs
        .map(|(_, n)| n.inputs[0])
        .filter(|v| !graph.inputs().contains(v))
        .collect();
    let values: Vec<ValueId> = read.into_iter().collect();
    // Sums are kept by image and added in the order of the images, so that threads do not change a bit.
    type Sums = BTreeMap<(ValueId, usize), Vec<f64>>;
    let (watchers, bad) =
        observation.watch(&values, Sums::new, |sums, image, value, observed| {
            let shape = observed.shape();
            let pixels = shape.iter().skip(2).product::<usize>().max(1) as f64;
            let channels = sums
                .entry((value, image))
                .or_insert_with(|| vec![0.0; shape[1]]);
            observed.for_each_run(&mut |at, run| {
                for (sum, x) in channels[at[1]..].iter_mut().zip(run) {
                    *sum += f64::from(*x);
                }
            })?;
            channels.iter_mut().for_each(|sum| *sum /= pixels);
            Ok(())
        })?;
    let mut totals: BTreeMap<ValueId, (usize, Vec<f64>)> = BTreeMap::new();
    let by_image: Sums = watchers.into_iter().flatten().collect();
    for ((value, _), means) in by_image {
        let (count, total) = totals
            .entry(value)
            .or_insert_with(|| (0, vec![0.0; means.len()]));
        *count += 1;
        total.iter_mut().zip(means).for_each(|(t, m)| *t += m);
    }
    let mean = |(value, (count, total)): (ValueId, (usize, Vec<f64>))| {
        (
            value,
            total.iter().map(|t| (t / count as f64) as f32).collect(),
        )
    };
    Ok((totals.into_iter().map(mean).collect(), bad))
}
