//! BatchNormalization with the statistics of the images that run together, as networks learn with it.
//! Source: Ioffe and Szegedy (arXiv:1502.03167), algorithm 1.
use crate::TrainError;
use ir::ops::{Binary, BinaryKind, Reduce, ReduceKind, Reshape, Unary, UnaryKind};
use ir::{DataType, Edit, Graph, NodeId, Op, Tensor, ValueId};
use numerics::parallel_map_with;
use runtime::{Plan, PlanOptions, RuntimeError, Session};
use std::collections::BTreeMap;
use std::sync::Arc;

/// By what BatchNormalization standardises while a graph learns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Statistics {
    /// By its own means and variances, which stay.
    #[default]
    Frozen,
    /// By those of the images that run together.
    OfRun,
}

/// What one BatchNormalization computes from the statistics of its own input, by their nodes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Standardised {
    /// The BatchNormalization in whose place it stands.
    node: NodeId,
    /// What is standardised, `[N, C, H, W]`.
    pub(crate) x: ValueId,
    /// `[1, C, 1, 1]`.
    mean: ValueId,
    /// Of all elements, `[1, C, 1, 1]`.
    variance: ValueId,
    /// One by the root of the variance, `[1, C, 1, 1]`.
    inverse: ValueId,
    /// Has mean 0 and variance 1.
    pub(crate) normal: ValueId,
    /// Elements of a channel.
    elements: usize,
    dtype: DataType,
}

/// The axes over which statistics are taken.
const AXES: [usize; 3] = [0, 2, 3];

/// The graph with the nodes in place of every BatchNormalization that standardise its input by its own statistics.
///
/// # Errors
/// `UnsupportedGradient` where a BatchNormalization is not of images `[N, C, H, W]`, `Graph` never.
pub(crate) fn of_run(graph: &Graph) -> Result<(Graph, Vec<Standardised>), TrainError> {
    let mut edit = graph.edit();
    let mut layers = Vec::new();
    for (id, node) in graph.nodes() {
        let Op::BatchNormalization(op) = &node.op else { continue };
        let ty = graph.ty(node.inputs[0])?;
        let &[images, channels, height, width] = ty.shape.as_slice() else {
            return Err(TrainError::UnsupportedGradient {
                node: node.name.clone(),
                op_type: node.op.op_type().to_owned(),
                feature: "a batch's statistics of other than four axes",
            });
        };
        let (x, elements) = (node.inputs[0], images * height * width);
        let mut step = Step { edit: &mut edit, name: &node.name, dtype: ty.dtype };
        let mean = step.mean(x, elements);
        let centred = step.binary(BinaryKind::Sub, x, mean);
        let squares = step.binary(BinaryKind::Mul, centred, centred);
        let variance = step.mean(squares, elements);
        let epsilon = step.number(f64::from(op.epsilon));
        let shifted = step.binary(BinaryKind::Add, variance, epsilon);
        let deviation = step.apply(Unary { kind: UnaryKind::Sqrt }, &[shifted]);
        let inverse = step.apply(Unary { kind: UnaryKind::Reciprocal }, &[deviation]);
        let normal = step.binary(BinaryKind::Mul, centred, inverse);
        let [scale, shift] = [1, 2].map(|i| {
            let shape = vec![1, channels, 1, 1];
            step.apply(Reshape { shape }, &[node.inputs[i]])
        });
        let scaled = step.binary(BinaryKind::Mul, normal, scale);
        let y = step.binary(BinaryKind::Add, scaled, shift);
        edit.replace_uses(node.outputs[0], y);
        let dtype = ty.dtype;
        layers.push(Standardised { node: id, x, mean, variance, inverse, normal, elements, dtype });
    }
    let mut standardised = graph.clone();
    standardised.apply(edit)?;
    Ok((standardised, layers))
}

impl Standardised {
    /// The gradient of what was standardised, given that of the result: what is left of it without its mean and without its
    /// part along the result, both of which the statistics take away.
    pub(crate) fn backward(&self, edit: &mut Edit, gradient: ValueId) -> ValueId {
        let mut step = Step { edit, name: "gradient", dtype: self.dtype };
        let mean = step.mean(gradient, self.elements);
        let product = step.binary(BinaryKind::Mul, gradient, self.normal);
        let along = step.mean(product, self.elements);
        let centred = step.binary(BinaryKind::Sub, gradient, mean);
        let part = step.binary(BinaryKind::Mul, self.normal, along);
        let rest = step.binary(BinaryKind::Sub, centred, part);
        step.binary(BinaryKind::Mul, rest, self.inverse)
    }
}

/// Adds the nodes of one layer.
struct Step<'a> {
    edit: &'a mut Edit,
    name: &'a str,
    dtype: DataType,
}

impl Step<'_> {
    fn apply(&mut self, op: impl Into<Op>, inputs: &[ValueId]) -> ValueId {
        self.edit.node(self.name, op, inputs, &[self.name])[0]
    }

    fn binary(&mut self, kind: BinaryKind, a: ValueId, b: ValueId) -> ValueId {
        self.apply(Binary { kind }, &[a, b])
    }

    fn number(&mut self, number: f64) -> ValueId {
        let tensor = Tensor::from_f64(self.dtype, [1, 1, 1, 1], &[number]);
        self.edit.constant(self.name, tensor.expect("one element of one"))
    }

    /// The mean of each channel, whose elements are so many.
    fn mean(&mut self, value: ValueId, elements: usize) -> ValueId {
        let sum = Reduce { kind: ReduceKind::Sum, axes: AXES.to_vec(), keepdims: true };
        let sum = self.apply(sum, &[value]);
        let share = self.number(1.0 / elements.max(1) as f64);
        self.binary(BinaryKind::Mul, sum, share)
    }
}

/// Mean and variance of what reaches one BatchNormalization.
#[derive(Clone, Debug, PartialEq)]
pub struct ChannelStatistics {
    node: NodeId,
    /// Of each channel.
    pub mean: Vec<f32>,
    /// Of each channel.
    pub variance: Vec<f32>,
}

/// What reaches each BatchNormalization of a graph of one image when so many images run together and are standardised by their own
/// statistics: mean and variance over all images, `[1, C, H, W]` each. Images that fill no run are left out.
///
/// Source: Wu and Johnson, "Rethinking 'Batch' in BatchNorm" (arXiv:2105.07576), section 3.
///
/// # Errors
/// `Batch` where an operator holds on to the number of images, `UnsupportedGradient` for a BatchNormalization that is not of images,
/// `Runtime` when the graph cannot be run.
pub fn population_statistics(
    graph: &Graph,
    images: &[&[f32]],
    per_run: usize,
    options: &PlanOptions,
    threads: usize,
) -> Result<Vec<ChannelStatistics>, TrainError> {
    let batched = ir::with_batch(graph, per_run);
    let batched = batched.map_err(|reason| TrainError::Batch { images: per_run, reason })?;
    let (mut graph, layers) = of_run(&batched)?;
    let mut edit = graph.edit();
    let outputs: Vec<ValueId> = layers.iter().flat_map(|l| [l.mean, l.variance]).collect();
    edit.set_outputs(&outputs);
    graph.apply(edit)?;
    let plan = Arc::new(Plan::compile(&graph, &[], options)?);
    let sessions = (0..threads.max(1)).map(|_| Session::new(&plan, 1));
    let mut sessions: Vec<Session> = sessions.collect::<Result<_, _>>()?;
    let runs = images.chunks_exact(per_run);
    let found =
        parallel_map_with(&mut sessions, runs, |session, run| session.run(&[&run.concat()]));
    let found: Vec<Vec<Tensor>> = found.into_iter().collect::<Result<_, RuntimeError>>()?;
    let layer = |(at, layer): (usize, &Standardised)| {
        let of_run = |run: &Vec<Tensor>| [2 * at, 2 * at + 1].map(|i| run[i].to_f64());
        let runs = found.iter().map(of_run);
        let runs = runs.map(|[mean, variance]| Ok([mean?, variance?]));
        let runs: Result<Vec<[Vec<f64>; 2]>, ir::OpError> = runs.collect();
        let runs = runs.map_err(|error| TrainError::Parameter {
            parameter: batched.node(layer.node).name.clone(),
            error,
        })?;
        Ok(ChannelStatistics::over(layer.node, &runs))
    };
    layers.iter().enumerate().map(layer).collect()
}

impl ChannelStatistics {
    /// Of all runs together, given mean and variance of each.
    fn over(node: NodeId, runs: &[[Vec<f64>; 2]]) -> Self {
        let channels = runs.first().map_or(0, |[mean, _]| mean.len());
        let average = |f: &dyn Fn(&[Vec<f64>; 2]) -> f64| {
            runs.iter().map(f).sum::<f64>() / runs.len().max(1) as f64
        };
        let moments = (0..channels).map(|c| {
            let mean = average(&|[mean, _]| mean[c]);
            let square = average(&|[mean, variance]| variance[c] + mean[c] * mean[c]);
            (mean as f32, (square - mean * mean).max(0.0) as f32)
        });
        let (mean, variance) = moments.unzip();
        Self { node, mean, variance }
    }
}

/// The graph with these means and variances as those of its BatchNormalization.
///
/// # Errors
/// As [`Graph::apply`].
pub fn with_statistics(
    graph: &Graph,
    statistics: &[ChannelStatistics],
) -> Result<Graph, TrainError> {
    let mut changed = graph.clone();
    let mut edit = changed.edit();
    let readers: BTreeMap<ValueId, usize> =
        graph.consumers().into_iter().map(|(value, readers)| (value, readers.len())).collect();
    for layer in statistics {
        for (input, numbers) in [(3, &layer.mean), (4, &layer.variance)] {
            let value = graph.node(layer.node).inputs[input];
            let tensor = Tensor::vector(numbers.clone());
            // What several layers share is not theirs alone to change.
            if readers.get(&value) == Some(&1) {
                edit.set_constant(value, tensor);
            } else {
                let own = edit.constant(&graph.value(value).name, tensor);
                edit.replace_input(layer.node, input, own);
            }
        }
    }
    changed.apply(edit)?;
    Ok(changed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{differentiate, parameters};
    use ir::TensorType;
    use ir::interpreter;
    use ir::ops::BatchNormalization;
    use numerics::Rng;

    /// Two layers, one behind the other, that share their variance: of images `[N, 2, 2, 3]`.
    fn two_layers(dtype: DataType, images: usize) -> Graph {
        let mut graph = Graph::new(17);
        let mut edit = graph.edit();
        let x = edit.input("x", TensorType::new(dtype, [images, 2, 2, 3]));
        let mut channels =
            |numbers: [f64; 2]| edit.constant("c", Tensor::from_f64(dtype, [2], &numbers).unwrap());
        let variance = channels([4.0, 9.0]);
        let first = [channels([0.5, -2.0]), channels([1.0, 2.0]), channels([3.0, 4.0]), variance];
        let second = [channels([1.5, 0.7]), channels([-1.0, 0.1]), channels([0.0, 1.0]), variance];
        let op = BatchNormalization { epsilon: 1e-3 };
        let mut y = x;
        for layer in [first, second] {
            y = edit.node("norm", op, &[&[y], &layer[..]].concat(), &["y"])[0];
            y = edit.node("silu", Unary { kind: UnaryKind::Silu }, &[y], &["y"])[0];
        }
        edit.output(y);
        graph.apply(edit).unwrap();
        graph
    }

    fn random(dtype: DataType, shape: [usize; 4], seed: u64) -> Tensor {
        let mut rng = Rng::new(seed);
        let elements: Vec<f64> =
            (0..shape.iter().product()).map(|_| f64::from(rng.signed())).collect();
        Tensor::from_f64(dtype, shape, &elements).unwrap()
    }

    #[test]
    fn gradients_with_statistics_of_the_run_equal_central_differences() {
        let graph = two_layers(DataType::F64, 3);
        let learned = parameters(&graph);
        assert_eq!(learned.len(), 4);
        let [x, dy] = [1, 2].map(|seed| random(DataType::F64, [3, 2, 2, 3], seed));
        let loss = |graph: &Graph| {
            let (graph, _) = of_run(graph).unwrap();
            let y = interpreter::run(&graph, std::slice::from_ref(&x)).unwrap().remove(0);
            let products = y.to_f64().unwrap().into_iter().zip(dy.to_f64().unwrap());
            products.map(|(y, dy)| y * dy).sum::<f64>()
        };
        let training = differentiate(&graph, &learned, Statistics::OfRun).unwrap();
        let found = interpreter::run(&training.graph, &[x.clone(), dy.clone()]).unwrap();
        for (parameter, found) in learned.iter().zip(&found[1..]) {
            let at = graph.constant(*parameter).unwrap().to_f64().unwrap();
            for (i, found) in found.to_f64().unwrap().into_iter().enumerate() {
                let moved = |step: f64| {
                    let mut elements = at.clone();
                    elements[i] += step;
                    let mut moved = graph.clone();
                    let mut edit = moved.edit();
                    edit.set_constant(*parameter, Tensor::vector(elements));
                    moved.apply(edit).unwrap();
                    loss(&moved)
                };
                let expected = (moved(1e-5) - moved(-1e-5)) / 2e-5;
                assert!((found - expected).abs() < 1e-7, "{found} instead of {expected}");
            }
        }
    }

    #[test]
    fn statistics_of_one_run_make_what_the_run_gave() {
        let graph = two_layers(DataType::F32, 1);
        let images: Vec<Tensor> =
            (0..4).map(|seed| random(DataType::F32, [1, 2, 2, 3], seed)).collect();
        let slices: Vec<&[f32]> = images.iter().map(|t| t.as_slice().unwrap()).collect();
        let options = PlanOptions::default();
        let statistics = population_statistics(&graph, &slices, 4, &options, 1).unwrap();
        let settled = with_statistics(&graph, &statistics).unwrap();
        let (together, _) = of_run(&ir::with_batch(&graph, 4).unwrap()).unwrap();
        let all = Tensor::new([4, 2, 2, 3], slices.concat()).unwrap();
        let together = interpreter::run(&together, &[all]).unwrap().remove(0).to_f64().unwrap();
        let alone = images.iter().flat_map(|image| {
            let y = interpreter::run(&settled, std::slice::from_ref(image)).unwrap().remove(0);
            y.to_f64().unwrap()
        });
        for (alone, together) in alone.zip(together) {
            assert!((alone - together).abs() < 1e-5, "{alone} instead of {together}");
        }
    }

    #[test]
    fn statistics_of_two_runs_are_those_of_all_images_together() {
        let runs = [[vec![1.0], vec![4.0]], [vec![3.0], vec![6.0]]];
        let node = two_layers(DataType::F32, 1).nodes().next().unwrap().0;
        let found = ChannelStatistics::over(node, &runs);
        // Means 1 and 3 lie 1 from their mean, so that 1 is added to the mean variance of 5.
        assert_eq!((found.mean, found.variance), (vec![2.0], vec![6.0]));
    }
}
