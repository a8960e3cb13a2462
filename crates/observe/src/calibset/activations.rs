//! What a detector makes of images, as short vectors by which they are told apart.

use std::collections::BTreeSet;

use ir::{ValueId, find_tail};
use yolo::BadInput;

use crate::{Observation, ObserveError};

/// What the convolutions at the end of a detector read of one image: means over pixels and largest values of the channels, a group of
/// numbers for each.
pub type Activation = Vec<Vec<f32>>;

/// One value's channels in one image.
struct Pooled {
    image: usize,
    value: ValueId,
    means: Vec<f32>,
    highest: Vec<f32>,
}

/// Runs the model on every image and pools what its output convolutions read. An image that cannot be read has no groups.
///
/// # Errors
/// As [`Observation::run`].
pub fn pooled_activations(
    observation: &Observation<'_>,
) -> Result<(Vec<Activation>, Vec<BadInput>), ObserveError> {
    let graph = observation.model.graph;
    let read = find_tail(graph).output_convs.into_iter().map(|id| graph.node(id).inputs[0]);
    let values: Vec<ValueId> = read.collect::<BTreeSet<_>>().into_iter().collect();
    let (collectors, bad) =
        observation.run(&values, Vec::new, |pooled, image, value, observed| {
            let shape = observed.shape();
            let pixels = shape.iter().skip(2).product::<usize>().max(1) as f64;
            let channels = shape.get(1).copied().unwrap_or(1);
            let (mut sums, mut highest) = (vec![0f64; channels], vec![f32::NEG_INFINITY; channels]);
            observed.for_each_run(&mut |at, run| {
                let first = at.get(1).copied().unwrap_or(0);
                for (i, &x) in run.iter().enumerate() {
                    sums[first + i] += f64::from(x);
                    highest[first + i] = highest[first + i].max(x);
                }
            })?;
            let means = sums.iter().map(|s| (s / pixels) as f32).collect();
            pooled.push(Pooled { image, value, means, highest });
            Ok(())
        })?;
    let mut all: Vec<Pooled> = collectors.into_iter().flatten().collect();
    all.sort_by_key(|p| (p.image, p.value));
    let mut activations = vec![Activation::new(); observation.images.len()];
    for pooled in all {
        activations[pooled.image].extend([pooled.means, pooled.highest]);
    }
    Ok((activations, bad))
}
