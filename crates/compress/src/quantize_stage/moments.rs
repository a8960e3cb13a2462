//! Passes over a few images in which second moments of convolutions' inputs are summed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use ir::ops::Conv;
use ir::{Graph, NodeId, Op, ValueId};
use quant::{Moments, QuantPlan};

use crate::{CompressError, Observation};

/// Memory of the sums of one pass.
const PASS_BYTES: usize = 64 << 20;
/// Images looked at.
const IMAGES: usize = 24;
/// Patches of an image, for filters of one pixel or one channel, and for others.
const PATCHES: [usize; 2] = [256, 128];

/// Moments of every planned convolution whose filters have at most `most_elements` elements.
///
/// One image after the other, as sums of f32 depend on their order.
pub(super) fn moments(
    observation: &Observation<'_>,
    (graph, images): (&Graph, &[PathBuf]),
    plan: &QuantPlan,
    most_elements: usize,
) -> Result<BTreeMap<NodeId, Moments>, CompressError> {
    let mut all = BTreeMap::new();
    let mut pass: Vec<(NodeId, &Conv, ValueId, usize)> = Vec::new();
    let mut bytes = 0;
    for (id, node) in graph.nodes() {
        let Op::Conv(conv) = &node.op else { continue };
        let (x, weight) = (node.inputs[0], &graph.value(node.inputs[1]).name);
        let channels = graph.ty(x)?.shape[1];
        let elements = channels / conv.group * conv.kernel_shape.iter().product::<usize>();
        let observable = !graph.inputs().contains(&x) && graph.constant(x).is_none();
        if !plan.weights.contains_key(weight) || !observable || elements > most_elements {
            continue;
        }
        bytes += Moments::bytes(conv, channels);
        pass.push((id, conv, x, channels));
        if bytes >= PASS_BYTES {
            all.extend(one_pass(observation, (graph, images), &pass)?);
            (bytes, pass) = (0, Vec::new());
        }
    }
    if !pass.is_empty() {
        all.extend(one_pass(observation, (graph, images), &pass)?);
    }
    Ok(all)
}

fn one_pass(
    observation: &Observation<'_>,
    (graph, images): (&Graph, &[PathBuf]),
    convs: &[(NodeId, &Conv, ValueId, usize)],
) -> Result<BTreeMap<NodeId, Moments>, CompressError> {
    let values: BTreeSet<ValueId> = convs.iter().map(|c| c.2).collect();
    let values: Vec<ValueId> = values.into_iter().collect();
    let every = images.len().div_ceil(IMAGES).max(1);
    let images: Vec<PathBuf> = images.iter().step_by(every).cloned().collect();
    let pass = Observation {
        graph,
        images: &images,
        threads: 1,
        progress: &|_| (),
        ..*observation
    };
    let empty = || -> BTreeMap<NodeId, Moments> {
        let moments = convs.iter().map(|c| (c.0, Moments::new(c.1, c.3)));
        moments.collect()
    };
    let (found, _) = pass.watch(&values, empty, |moments, _, value, observed| {
        let x = observed.to_tensor()?;
        for (id, conv, ..) in convs.iter().filter(|c| c.2 == value) {
            let few = conv.kernel_shape == [1, 1] || conv.group > 1;
            let count = PATCHES[usize::from(!few)];
            if let Some(moments) = moments.get_mut(id) {
                moments.add(&x, count);
            }
        }
        Ok(())
    })?;
    Ok(found.into_iter().flatten().collect())
}
