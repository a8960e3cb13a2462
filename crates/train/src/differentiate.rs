//! A graph and its gradient as one graph.
use crate::backward::{Backward, is_differentiable};
use crate::batch_statistics::{self, Standardised};
use crate::gradients::gradient_of;
use crate::{Statistics, TrainError};
use ir::ops::{Binary, BinaryKind};
use ir::{Edit, Graph, ValueId};
use std::collections::{BTreeMap, BTreeSet};

/// A graph that computes what it did before and, from the gradients of its outputs, those of its parameters.
///
/// `y = conv(x, w)` becomes `y, dw = f(x, dy)`: the nodes that were there come first, then those of the gradient, which
/// read `x` and `dy`. What must be kept between the two is what the nodes of the gradient read.
#[derive(Clone, Debug)]
pub struct TrainingGraph {
    /// Its inputs are those of the original graph, then `output_gradients`; its outputs those of the original graph, then
    /// `parameter_gradients`. Values of the original graph keep their identities.
    pub graph: Graph,
    /// The gradient of a loss by each output of the original graph, in their order.
    pub output_gradients: Vec<ValueId>,
    /// The gradient of that loss by each parameter, in the order in which they were asked for.
    pub parameter_gradients: Vec<ValueId>,
}

/// The learned values of a graph, in the order in which nodes read them: weights, biases, scale and shift of normalising
/// nodes.
pub fn parameters(graph: &Graph) -> Vec<ValueId> {
    let mut parameters = Vec::new();
    for (_, node) in graph.nodes() {
        let learned = node.op.learned_inputs();
        for &value in learned.filter_map(|i| node.inputs.get(i)) {
            if is_parameter(graph, value) && !parameters.contains(&value) {
                parameters.push(value);
            }
        }
    }
    parameters
}

fn is_parameter(graph: &Graph, value: ValueId) -> bool {
    let elements = graph.value(value).elements();
    elements.is_some_and(|t| is_differentiable(t.dtype()))
}

/// Adds the gradient of any loss of the outputs by the given constants to a graph, and makes these its parameters.
///
/// # Errors
/// `InferenceOnly` and `UnsupportedGradient` for a node between a parameter and an output that has no gradient,
/// `NotAParameter` for a value that is not constant, `HeldFixed` for the statistics of BatchNormalization. With statistics of the
/// run, `UnsupportedGradient` for a BatchNormalization of other than four axes.
pub fn differentiate(
    graph: &Graph,
    parameters: &[ValueId],
    statistics: Statistics,
) -> Result<TrainingGraph, TrainError> {
    for &value in parameters {
        if !is_parameter(graph, value) {
            let value = graph.value(value).name.clone();
            return Err(TrainError::NotAParameter { value });
        }
    }
    match statistics {
        Statistics::Frozen => back_through(graph, parameters, &[]),
        Statistics::OfRun => {
            let (graph, standardised) = batch_statistics::of_run(graph)?;
            back_through(&graph, parameters, &standardised)
        }
    }
}

/// The same, with rules of their own for values that were standardised.
fn back_through(
    graph: &Graph,
    parameters: &[ValueId],
    standardised: &[Standardised],
) -> Result<TrainingGraph, TrainError> {
    let trained = depends_on(graph, parameters);
    let mut edit = graph.edit();
    let mut gradients = Gradients::default();
    let mut output_gradients = Vec::new();
    for &output in graph.outputs() {
        let name = format!("{}.gradient", graph.value(output).name);
        let gradient = edit.input(&name, graph.ty(output)?.clone());
        gradients.add(output, gradient);
        output_gradients.push(gradient);
    }
    for (id, node) in graph.nodes().rev() {
        if !node.outputs.iter().any(|v| trained.contains(v)) {
            continue;
        }
        let incoming = node.outputs.iter().map(|&v| gradients.take(v, &mut edit));
        let incoming: Vec<Option<ValueId>> = incoming.collect();
        if incoming.iter().all(Option::is_none) {
            continue;
        }
        // The nodes between, which take the statistics, receive nothing: their part is in this rule.
        if let ([Some(gradient)], Some(layer)) =
            (&incoming[..], standardised.iter().find(|layer| layer.normal == node.outputs[0]))
        {
            if trained.contains(&layer.x) {
                gradients.add(layer.x, layer.backward(&mut edit, *gradient));
            }
            continue;
        }
        let rule = gradient_of(&node.op).ok_or_else(|| TrainError::InferenceOnly {
            node: node.name.clone(),
            op_type: node.op.op_type().to_owned(),
        })?;
        let wanted: Vec<bool> = node.inputs.iter().map(|v| trained.contains(v)).collect();
        let mut backward = Backward::new(graph, id, incoming, wanted.clone(), &mut edit)?;
        let outgoing = rule.backward(&mut backward)?;
        for ((&value, gradient), wanted) in node.inputs.iter().zip(outgoing).zip(wanted) {
            if let Some(gradient) = gradient.filter(|_| wanted) {
                gradients.add(value, gradient);
            }
        }
    }
    let mut parameter_gradients = Vec::new();
    for &parameter in parameters {
        let gradient = gradients.take(parameter, &mut edit);
        parameter_gradients.push(gradient.ok_or_else(|| TrainError::HeldFixed {
            parameter: graph.value(parameter).name.clone(),
        })?);
    }
    parameter_gradients.iter().for_each(|&v| edit.output(v));
    parameters.iter().for_each(|&v| edit.make_parameter(v));
    let mut differentiated = graph.clone();
    differentiated.apply(edit)?;
    Ok(TrainingGraph { graph: differentiated, output_gradients, parameter_gradients })
}

/// The parameters, and all values that are computed from them.
fn depends_on(graph: &Graph, parameters: &[ValueId]) -> BTreeSet<ValueId> {
    let mut dependent: BTreeSet<ValueId> = parameters.iter().copied().collect();
    for (_, node) in graph.nodes() {
        if node.inputs.iter().any(|v| dependent.contains(v)) {
            dependent.extend(&node.outputs);
        }
    }
    dependent
}

/// What each value has received so far from the nodes that read it.
#[derive(Default)]
struct Gradients(BTreeMap<ValueId, Vec<ValueId>>);

impl Gradients {
    fn add(&mut self, value: ValueId, gradient: ValueId) {
        self.0.entry(value).or_default().push(gradient);
    }

    /// The sum of what a value received, in the order in which it came: the only place where gradients are accumulated.
    fn take(&mut self, value: ValueId, edit: &mut Edit) -> Option<ValueId> {
        let received = self.0.remove(&value)?;
        let add = Binary { kind: BinaryKind::Add };
        let sum = |a, b| edit.node("gradient.sum", add, &[a, b], &["gradient.sum"])[0];
        received.into_iter().reduce(sum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ir::ops::{BatchNormalization, Extremum, Split};
    use ir::{DataType, Op, Tensor, TensorType, interpreter};

    /// A graph of one input `x: [2]` and one parameter `w: [2] = [3, 5]`, and what `build` makes of them.
    fn graph(build: impl FnOnce(&mut Edit, ValueId, ValueId) -> Vec<ValueId>) -> (Graph, ValueId) {
        let mut graph = Graph::new(17);
        let mut edit = graph.edit();
        let x = edit.input("x", TensorType::new(DataType::F64, [2]));
        let w = edit.constant("w", Tensor::vector(vec![3.0, 5.0]));
        let outputs = build(&mut edit, x, w);
        outputs.iter().for_each(|&y| edit.output(y));
        graph.apply(edit).unwrap();
        (graph, w)
    }

    fn apply(edit: &mut Edit, op: impl Into<Op>, inputs: &[ValueId]) -> ValueId {
        edit.node("node", op, inputs, &["y"])[0]
    }

    const ADD: Binary = Binary { kind: BinaryKind::Add };
    const MUL: Binary = Binary { kind: BinaryKind::Mul };

    #[test]
    fn a_value_that_three_nodes_read_receives_the_sum() {
        let (graph, w) = graph(|edit, x, w| {
            let square = apply(edit, MUL, &[w, w]);
            let product = apply(edit, MUL, &[square, x]);
            vec![apply(edit, ADD, &[product, w])]
        });
        let training = differentiate(&graph, &[w], Statistics::Frozen).unwrap();
        let vector = |v: [f64; 2]| Tensor::vector(v.to_vec());
        let inputs = [vector([2.0, 1.0]), vector([1.0, 10.0])];
        let results = interpreter::run(&training.graph, &inputs).unwrap();
        // y = w² x + w, and dw = dy (2 w x + 1).
        assert_eq!(results, [vector([21.0, 30.0]), vector([13.0, 110.0])]);
    }

    #[test]
    fn an_output_that_nothing_reads_hands_back_zeros() {
        let (graph, w) = graph(|edit, _, w| {
            let sizes = vec![1, 1];
            let halves = edit.node("split", Split { axis: 0, sizes }, &[w], &["a", "b"]);
            vec![halves[1]]
        });
        let training = differentiate(&graph, &[w], Statistics::Frozen).unwrap();
        let seed = Tensor::vector(vec![7.0]);
        let results = interpreter::run(&training.graph, &[Tensor::vector(vec![0.0, 0.0]), seed]);
        assert_eq!(results.unwrap()[1], Tensor::vector(vec![0.0, 7.0]));
    }

    #[test]
    fn a_node_without_a_gradient_is_named_where_it_stands_in_the_way_only() {
        let largest = Extremum { largest: true };
        let (behind, w) = graph(|edit, x, w| {
            let product = apply(edit, MUL, &[x, w]);
            vec![edit.node("the largest", largest, &[product, x], &["y"])[0]]
        });
        let error = differentiate(&behind, &[w], Statistics::Frozen).unwrap_err();
        let expected =
            TrainError::InferenceOnly { node: "the largest".into(), op_type: "Max".into() };
        assert_eq!(error, expected);
        let (before, w) = graph(|edit, x, w| {
            let limited = apply(edit, largest, &[x, x]);
            vec![apply(edit, MUL, &[limited, w])]
        });
        assert!(differentiate(&before, &[w], Statistics::Frozen).is_ok());
    }

    #[test]
    fn a_value_that_is_not_constant_is_no_parameter() {
        let (graph, _) = graph(|edit, x, w| vec![apply(edit, ADD, &[x, w])]);
        let x = graph.inputs()[0];
        let error = differentiate(&graph, &[x], Statistics::Frozen).unwrap_err();
        assert!(matches!(error, TrainError::NotAParameter { value } if value == "x"));
    }

    #[test]
    fn statistics_of_batch_normalization_are_held_fixed() {
        let (graph, w) = graph(|edit, _, w| {
            let x = edit.constant("image", Tensor::new([1, 2, 1], vec![1.0, 2.0]).unwrap());
            let op = BatchNormalization { epsilon: 0.0 };
            vec![apply(edit, op, &[x, w, w, w, w])]
        });
        let mut apart = graph.clone();
        let mut edit = apart.edit();
        let mean = edit.constant("mean", Tensor::vector(vec![0.0, 0.0]));
        edit.replace_input(graph.nodes().next().unwrap().0, 3, mean);
        apart.apply(edit).unwrap();
        let error = differentiate(&apart, &[mean], Statistics::Frozen).unwrap_err();
        assert!(matches!(error, TrainError::HeldFixed { parameter } if parameter == "mean"));
        assert_eq!(parameters(&apart), [w]);
    }
}
