//! How far a changed model's detections, or its outputs, are from the dense one's, as one number.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use ir::{Graph, Node, NodeId, Tensor, ValueId, normalise, subgraph};
use runtime::{Plan, Session};
use yolo::{MAX_DET, nms};

use super::precision::average_precision;
use crate::activations::{Activations, Cut};
use crate::seen::{Difference, Seen};
use crate::{CompressError, Observation};

/// Lowest confidence of a detection that counts.
const CONF: f32 = 0.02;
const IOU: f32 = 0.7;

/// Hold-out images and what the dense model makes of them.
pub(crate) struct Agreement<'a> {
    observation: Observation<'a>,
    activations: Activations<'a>,
    dense: Vec<Seen>,
}

impl<'a> Agreement<'a> {
    /// Runs the dense model on images, all of them readable.
    pub(crate) fn new(
        observation: Observation<'a>,
        images: Vec<PathBuf>,
    ) -> Result<Self, CompressError> {
        let mut all = Self {
            observation,
            activations: Activations::new(observation, images),
            dense: vec![],
        };
        let nodes = observation.graph.nodes().map(|(id, _)| id).collect();
        all.dense = all.run(observation.graph, &nodes)?;
        Ok(all)
    }

    /// 0 when the detections are ranked as the dense ones, 1 when none of those are found; without a decoder the
    /// relative error of the outputs.
    ///
    /// `graph` is the dense one with other weights, or fewer, under the same ids. Only what depends on them runs; the
    /// rest is kept for the next graph, so that graphs which change one place after another cost the least.
    pub(crate) fn error(&mut self, graph: &Graph) -> Result<f64, CompressError> {
        let found = self.run(graph, &affected(self.observation.graph, graph))?;
        self.difference(&found)
    }

    fn difference(&self, found: &[Seen]) -> Result<f64, CompressError> {
        if self.observation.decoder.is_some() {
            return Ok(1.0 - average_precision(&self.dense, found));
        }
        let mut all = Difference::default();
        for (dense, found) in self.dense.iter().zip(found) {
            all = all.merge(dense.differences(found)?);
        }
        Ok(all.error())
    }

    /// Frees what is kept of the dense model's activations.
    pub(crate) fn forget(&mut self) {
        self.activations.clear();
    }

    /// What a model makes of each image, in their order, when these nodes are not as in the dense one.
    fn run(
        &mut self,
        graph: &Graph,
        affected: &BTreeSet<NodeId>,
    ) -> Result<Vec<Seen>, CompressError> {
        let cut = cut(graph, affected);
        let (part, inputs) = subgraph(graph, &cut.iter().copied().collect(), graph.outputs())?;
        let part = normalise(part)?;
        let observation = self.observation;
        let plan = Arc::new(Plan::compile(&part, &[], &observation.options)?);
        let see = |session: &mut Session, at: &Cut<'_>| {
            let given: Vec<&[f32]> = inputs.iter().map(|v| at.value(*v)).collect();
            let mut computed = session.run(&given)?.into_iter();
            let mut seen = Seen::default();
            for (i, v) in graph.outputs().iter().enumerate() {
                let output = match cut.contains(v) {
                    true => Tensor::new(graph.ty(*v)?.shape.clone(), at.value(*v).to_vec())?,
                    false => computed
                        .next()
                        .expect("a subgraph gives what was asked of it"),
                };
                seen.add((i, output), &observation, CONF)?;
            }
            seen.candidates = nms(&seen.candidates, IOU, MAX_DET);
            Ok(seen)
        };
        let dense = (observation.graph, cut.as_slice());
        self.activations
            .at(dense, || Ok(Session::new(&plan, 1)?), see)
    }
}

/// Nodes whose outputs are not those of the same node of the dense graph.
fn affected(dense: &Graph, graph: &Graph) -> BTreeSet<NodeId> {
    let before: BTreeMap<NodeId, &Node> = dense.nodes().collect();
    let mut affected = BTreeSet::new();
    let mut values: BTreeSet<ValueId> = BTreeSet::new();
    for (id, node) in graph.nodes() {
        let same = |v: &ValueId| !values.contains(v) && dense.constant(*v) == graph.constant(*v);
        if before
            .get(&id)
            .is_none_or(|b| b.op != node.op || b.inputs != node.inputs)
            || !node.inputs.iter().all(same)
        {
            affected.insert(id);
            values.extend(&node.outputs);
        }
    }
    affected
}

/// What the affected nodes read of the others, and outputs that the others give.
fn cut(graph: &Graph, affected: &BTreeSet<NodeId>) -> Vec<ValueId> {
    let kept = |v: &ValueId| {
        let given = graph.producer(*v).is_none_or(|n| !affected.contains(&n));
        given && graph.constant(*v).is_none()
    };
    let nodes = graph.nodes().filter(|(id, _)| affected.contains(id));
    let read = nodes.flat_map(|(_, n)| n.inputs.iter().copied());
    let cut: BTreeSet<ValueId> = read
        .chain(graph.outputs().iter().copied())
        .filter(kept)
        .collect();
    cut.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use ir::ops::{BinaryKind, Conv, UnaryKind};
    use ir::{DataType, Edit, Op, TensorType};
    use yolo::families::LETTERBOX;
    use yolo::{ModelInput, Streams};

    use super::*;

    const SIDE: u32 = 16;

    fn op(edit: &mut Edit, name: &str, op: impl Into<Op>, inputs: &[ValueId]) -> ValueId {
        edit.node(name, op, inputs, &[&format!("{name}.out")])[0]
    }

    fn conv(edit: &mut Edit, name: &str, x: ValueId, [from, to]: [usize; 2]) -> ValueId {
        let weights = (0..to * from * 9).map(|i| ((i * 37 % 101) as f32 - 50.0) / 300.0);
        let weight = Tensor::new([to, from, 3, 3], weights.collect()).unwrap();
        let weight = edit.constant(&format!("{name}.weight"), weight);
        let conv = Conv {
            kernel_shape: [3; 2],
            strides: [1; 2],
            dilations: [1; 2],
            pads: [1; 4],
            group: 1,
        };
        let y = op(edit, name, conv, &[x, weight]);
        op(edit, &format!("{name}.silu"), UnaryKind::Silu, &[y])
    }

    /// Three layers, the first of which is added to the third, and one more.
    fn network() -> Graph {
        let mut graph = Graph::new(17);
        let mut edit = graph.edit();
        let ty = TensorType::new(DataType::F32, [1, 3, SIDE as usize, SIDE as usize]);
        let x = edit.input("images", ty);
        let stem = conv(&mut edit, "stem", x, [3, 8]);
        let inner = conv(&mut edit, "inner", stem, [8, 12]);
        let outer = conv(&mut edit, "outer", inner, [12, 8]);
        let sum = op(&mut edit, "sum", BinaryKind::Add, &[stem, outer]);
        let last = conv(&mut edit, "last", sum, [8, 8]);
        let output = conv(&mut edit, "head", last, [8, 4]);
        edit.output(output);
        graph.apply(edit).unwrap();
        graph
    }

    #[test]
    fn error_from_what_lies_behind_the_change_is_that_of_the_whole_network() {
        let folder = tempfile::tempdir().unwrap();
        let save = |i: u32| {
            let path = folder.path().join(format!("{i}.png"));
            let pixel = |x: u32, y: u32| image::Rgb([x * 13 + i, y * 11, x * y].map(|v| v as u8));
            image::RgbImage::from_fn(SIDE, SIDE, pixel)
                .save(&path)
                .unwrap();
            path
        };
        let images: Vec<PathBuf> = (0..3).map(save).collect();
        let graph = network();
        let observation = Observation {
            graph: &graph,
            input: &ModelInput::new(&graph, LETTERBOX).unwrap(),
            streams: &Streams::default(),
            decoder: None,
            images: &images,
            options: Default::default(),
            threads: 2,
            progress: &|_| (),
        };
        let mut agreement = Agreement::new(observation, images.clone()).unwrap();
        let groups = prune::analyse(&graph, &[]).unwrap();
        let names = groups.prunable().map(|g| g.name.as_str());
        let names: Vec<&str> = names.collect();
        assert_eq!(names, ["stem", "inner", "last"]);
        // Forwards and back, so that what is kept is of use and of none.
        for name in ["stem", "inner", "last", "inner"] {
            let removed = [(name.to_owned(), vec![1, 2])].into();
            let plan = prune::PrunePlan::new(&graph, &groups, removed).unwrap();
            let pruned = prune::apply(&graph, &groups, &plan).unwrap();
            let error = agreement.error(&pruned).unwrap();
            let nodes: BTreeSet<NodeId> = pruned.nodes().map(|(id, _)| id).collect();
            let some = affected(&graph, &pruned).len();
            assert_eq!(some < nodes.len(), name != "stem", "{name}");
            let whole = agreement.run(&pruned, &nodes).unwrap();
            let expected = agreement.difference(&whole).unwrap();
            assert!(expected > 1e-3, "{name} matters");
            assert!((error - expected).abs() < 1e-5 * expected, "{name}");
        }
        assert_eq!(agreement.error(&graph).unwrap(), 0.0);
    }
}
