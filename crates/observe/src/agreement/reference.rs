//! How far a changed model's detections, or its outputs, are from those of the model it was made from, as one number.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ir::{Graph, Node, NodeId, Tensor, ValueId, normalise, subgraph};
use runtime::{Plan, Session};
use yolo::{Detection, MAX_DET, nms};

use super::outputs::OutputDifference;
use super::precision::average_precision;
use crate::{Activations, Cut, Engine, ImageSet, Model, ObserveError};

/// Lowest confidence of a detection that counts.
const CONF: f32 = 0.02;
/// Overlap above which the less confident of two boxes is suppressed.
const IOU: f32 = 0.7;

/// Images, and what the model as it was gives on them.
pub struct Reference<'a> {
    model: Model<'a>,
    engine: Engine,
    activations: Activations<'a>,
    outputs: Outputs,
}

/// What a model gives on each image, in their order.
enum Outputs {
    Detections(Vec<Vec<Detection>>),
    /// Of a model that nothing decodes.
    Tensors(Vec<Vec<Tensor>>),
}

impl<'a> Reference<'a> {
    /// Runs the model on images, all of them readable.
    ///
    /// # Errors
    /// `Runtime` when the plan complains, `Yolo` when outputs cannot be decoded.
    pub fn new(model: Model<'a>, images: ImageSet, engine: Engine) -> Result<Self, ObserveError> {
        let mut reference = Self {
            model,
            engine,
            activations: Activations::new(model.input, images, engine),
            outputs: Outputs::Tensors(vec![]),
        };
        let nodes = model.graph.nodes().map(|(id, _)| id).collect();
        reference.outputs = reference.run(model.graph, &nodes)?;
        Ok(reference)
    }

    /// 0 when the detections are ranked as those of the reference, 1 when none of those are found; without a decoder the
    /// relative error of the outputs.
    ///
    /// `graph` is the reference with other weights, or fewer, under the same ids. Only what depends on them runs; the rest
    /// is kept for the next graph, so that graphs which change one place after another cost the least.
    ///
    /// # Errors
    /// As [`Reference::new`].
    pub fn error(&mut self, graph: &Graph) -> Result<f64, ObserveError> {
        let outputs = self.run(graph, &affected(self.model.graph, graph))?;
        self.outputs.error(&outputs)
    }

    /// What a graph finds on each image, as [`Reference::error`] has it; `None` for a model that nothing decodes.
    ///
    /// # Errors
    /// As [`Reference::new`].
    pub fn detections(
        &mut self,
        graph: &Graph,
    ) -> Result<Option<Vec<Vec<Detection>>>, ObserveError> {
        Ok(match self.run(graph, &affected(self.model.graph, graph))? {
            Outputs::Detections(found) => Some(found),
            Outputs::Tensors(_) => None,
        })
    }

    /// What the model as it was finds on each image.
    pub fn own_detections(&self) -> Option<&[Vec<Detection>]> {
        match &self.outputs {
            Outputs::Detections(found) => Some(found),
            Outputs::Tensors(_) => None,
        }
    }

    /// Frees the activations that are kept.
    pub fn clear(&mut self) {
        self.activations.clear();
    }

    /// What a graph gives when these nodes are not as in the reference.
    fn run(&mut self, graph: &Graph, affected: &BTreeSet<NodeId>) -> Result<Outputs, ObserveError> {
        let cut = cut(graph, affected);
        let (part, inputs) = subgraph(graph, &cut.iter().copied().collect(), graph.outputs())?;
        let part = normalise(part)?;
        let plan = Arc::new(Plan::compile(&part, &[], &self.engine.options)?);
        let outputs = |session: &mut Session, at: &Cut<'_>| {
            let given: Vec<&[f32]> = inputs.iter().map(|v| at.value(*v)).collect();
            let mut computed = session.run(&given)?.into_iter();
            let mut outputs = Vec::new();
            for v in graph.outputs() {
                outputs.push(if cut.contains(v) {
                    Tensor::new(graph.ty(*v)?.shape.clone(), at.value(*v).to_vec())?
                } else {
                    let next = computed.next();
                    next.expect("a subgraph gives what was asked of it")
                });
            }
            Ok(outputs)
        };
        let session = || Ok(Session::new(&plan, 1)?);
        let unchanged = self.model.graph;
        let activations = &mut self.activations;
        Ok(match self.model.head.map(|head| &head.decoder) {
            None => Outputs::Tensors(activations.map(unchanged, &cut, session, outputs)?),
            Some(decoder) => {
                let detections = |session: &mut Session, at: &Cut<'_>| {
                    let candidates = decoder.decode(&outputs(session, at)?, CONF)?;
                    Ok(nms(&candidates, IOU, MAX_DET))
                };
                Outputs::Detections(activations.map(unchanged, &cut, session, detections)?)
            }
        })
    }
}

impl Outputs {
    fn error(&self, found: &Self) -> Result<f64, ObserveError> {
        match (self, found) {
            (Self::Detections(expected), Self::Detections(found)) => {
                Ok(1.0 - average_precision(expected, found))
            }
            (Self::Tensors(expected), Self::Tensors(found)) => {
                let mut difference = OutputDifference::default();
                for (expected, found) in expected.iter().zip(found) {
                    difference.add(expected, found)?;
                }
                Ok(difference.error())
            }
            _ => unreachable!("a model either has a decoder or has none"),
        }
    }
}

/// Nodes whose outputs are not those of the same node of the reference.
fn affected(reference: &Graph, graph: &Graph) -> BTreeSet<NodeId> {
    let before: BTreeMap<NodeId, &Node> = reference.nodes().collect();
    let mut affected = BTreeSet::new();
    let mut values: BTreeSet<ValueId> = BTreeSet::new();
    for (id, node) in graph.nodes() {
        let same =
            |v: &ValueId| !values.contains(v) && reference.constant(*v) == graph.constant(*v);
        if before.get(&id).is_none_or(|b| b.op != node.op || b.inputs != node.inputs)
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
    let cut: BTreeSet<ValueId> = read.chain(graph.outputs().iter().copied()).filter(kept).collect();
    cut.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use ir::ops::{BinaryKind, Conv, UnaryKind};
    use ir::{DataType, Edit, Op, TensorType};
    use yolo::LETTERBOX;
    use yolo::ModelInput;

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
            image::RgbImage::from_fn(SIDE, SIDE, pixel).save(&path).unwrap();
            path
        };
        let graph = network();
        let input = ModelInput::new(&graph, LETTERBOX).unwrap();
        let model = Model { graph: &graph, input: &input, head: None };
        let engine = Engine { threads: 2, ..Engine::default() };
        let images = ImageSet { paths: (0..3).map(save).collect(), ..ImageSet::default() };
        let mut reference = Reference::new(model, images, engine).unwrap();
        let groups = prune::analyse(&graph).unwrap();
        let names = groups.prunable().map(|g| g.name.as_str());
        let names: Vec<&str> = names.collect();
        assert_eq!(names, ["stem", "inner", "last"]);
        // Forwards and back, so that what is kept is of use and of none.
        for name in ["stem", "inner", "last", "inner"] {
            let removed = [(name.to_owned(), vec![1, 2])].into();
            let plan = prune::PrunePlan::new(&graph, &groups, removed).unwrap();
            let pruned = prune::apply(&graph, &groups, &plan).unwrap();
            let error = reference.error(&pruned).unwrap();
            let nodes: BTreeSet<NodeId> = pruned.nodes().map(|(id, _)| id).collect();
            let some = affected(&graph, &pruned).len();
            assert_eq!(some < nodes.len(), name != "stem", "{name}");
            let whole = reference.run(&pruned, &nodes).unwrap();
            let expected = reference.outputs.error(&whole).unwrap();
            assert!(expected > 1e-3, "{name} matters");
            assert!((error - expected).abs() < 1e-5 * expected, "{name}");
        }
        assert_eq!(reference.error(&graph).unwrap(), 0.0);
    }
}
