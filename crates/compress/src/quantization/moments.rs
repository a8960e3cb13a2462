//! Passes over a few images in which second moments of convolutions' inputs are summed.

use std::collections::{BTreeMap, BTreeSet};

use ir::ops::Conv;
use ir::{Graph, NodeId, Op, ValueId};
use observe::{ImageSet, Model, Observation};
use quant::{PatchMoments, QuantPlan};

use crate::CompressError;

/// Memory of the sums of one pass.
const PASS_BYTES: usize = 64 << 20;
/// Images that are run.
const IMAGES: usize = 24;
/// Patches of an image, for filters of one pixel or one channel.
const PATCHES_OF_SMALL: usize = 256;
/// Patches of an image, for other filters.
const PATCHES: usize = 128;
/// Elements of the largest filters whose second moments are summed.
const MOST_ELEMENTS: usize = 2304;

/// A convolution whose input's moments are summed.
struct Summed<'g> {
    id: NodeId,
    conv: &'g Conv,
    input: ValueId,
    channels: usize,
}

/// Second moments of the inputs of every planned convolution whose filters are not too large.
///
/// One image after the other, as sums of f32 depend on their order.
pub(super) fn moments(
    observation: &Observation<'_>,
    graph: &Graph,
    images: &ImageSet,
    plan: &QuantPlan,
) -> Result<BTreeMap<NodeId, PatchMoments>, CompressError> {
    let every = images.len().div_ceil(IMAGES).max(1);
    let images = images.with(images.paths.iter().step_by(every).cloned().collect());
    let observation = Observation {
        model: Model { graph, ..observation.model },
        images: &images,
        engine: observe::Engine { threads: 1, ..observation.engine },
        progress: &|_| (),
    };
    let mut all = BTreeMap::new();
    let mut pass: Vec<Summed<'_>> = Vec::new();
    let mut bytes = 0;
    for (id, node) in graph.nodes() {
        let Op::Conv(conv) = &node.op else { continue };
        let (input, weight) = (node.inputs[0], &graph.value(node.inputs[1]).name);
        let channels = graph.ty(input)?.shape[1];
        let elements = channels / conv.group * conv.kernel_shape.iter().product::<usize>();
        let is_observable = !graph.inputs().contains(&input) && graph.constant(input).is_none();
        if !plan.weights.contains_key(weight) || !is_observable || elements > MOST_ELEMENTS {
            continue;
        }
        bytes += PatchMoments::bytes(conv, channels);
        pass.push(Summed { id, conv, input, channels });
        if bytes >= PASS_BYTES {
            all.extend(sum(&observation, &pass)?);
            (bytes, pass) = (0, Vec::new());
        }
    }
    if !pass.is_empty() {
        all.extend(sum(&observation, &pass)?);
    }
    Ok(all)
}

/// One pass over the images.
fn sum(
    observation: &Observation<'_>,
    convs: &[Summed<'_>],
) -> Result<BTreeMap<NodeId, PatchMoments>, CompressError> {
    let values: BTreeSet<ValueId> = convs.iter().map(|c| c.input).collect();
    let values: Vec<ValueId> = values.into_iter().collect();
    let empty = || -> BTreeMap<NodeId, PatchMoments> {
        let moments = convs.iter().map(|c| (c.id, PatchMoments::new(c.conv, c.channels)));
        moments.collect()
    };
    let (sums, _) = observation.run(&values, empty, |moments, _, value, observed| {
        let x = observed.to_tensor()?;
        for summed in convs.iter().filter(|c| c.input == value) {
            let is_small = summed.conv.kernel_shape == [1, 1] || summed.conv.group > 1;
            if let Some(moments) = moments.get_mut(&summed.id) {
                moments.add(&x, if is_small { PATCHES_OF_SMALL } else { PATCHES });
            }
        }
        Ok(())
    })?;
    Ok(sums.into_iter().flatten().collect())
}
