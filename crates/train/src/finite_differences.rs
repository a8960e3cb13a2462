//! Every gradient of the list against central differences of the reference computation, in f64.
use crate::case::Case;
use crate::gradients::{all_cases, op_types};
use crate::{Statistics, differentiate};
use ir::{Graph, Op, Tensor, ValueId, interpreter};
use numerics::Rng;
use std::collections::BTreeSet;

/// Half the distance between two points of a difference: its error, of the order of the square, is below what is allowed, and
/// so is what rounding to f64 leaves.
const STEP: f64 = 1e-5;

/// Largest difference that is allowed, relative to 1 and to the gradient.
const TOLERANCE: f64 = 1e-7;

/// A graph of the operator alone, whose inputs are constants with these elements.
fn graph_of(op: &Op, inputs: &[Tensor]) -> (Graph, Vec<ValueId>) {
    let mut graph = Graph::new(17);
    let mut edit = graph.edit();
    let values: Vec<ValueId> = inputs.iter().map(|t| edit.constant("x", t.clone())).collect();
    let types: Vec<_> = inputs.iter().map(Tensor::ty).collect();
    let outputs = op.infer(&types.iter().collect::<Vec<_>>()).unwrap();
    let outputs = edit.node("node", op.clone(), &values, &vec!["y"; outputs.len()]);
    outputs.iter().for_each(|&y| edit.output(y));
    graph.apply(edit).unwrap();
    (graph, values)
}

fn random(rng: &mut Rng, shape: &[usize], low: f64) -> Tensor {
    let elements: usize = shape.iter().product();
    let elements: Vec<f64> = (0..elements).map(|_| low + 1.0 + f64::from(rng.signed())).collect();
    Tensor::new(shape, elements).unwrap()
}

/// Elements of the outputs at inputs that moved from `at`.
fn outputs(case: &Case, at: &[Tensor], moved: &[Tensor]) -> Vec<Vec<f64>> {
    if let Some(surrogate) = case.surrogate {
        return vec![surrogate(&case.op, at, moved)];
    }
    let outputs = case.op.forward(&moved.iter().collect::<Vec<_>>()).unwrap();
    outputs.iter().map(|y| y.to_f64().unwrap()).collect()
}

/// The loss that weighs every output element with that of `weights`.
fn loss(outputs: &[Vec<f64>], weights: &[Tensor]) -> f64 {
    let products = outputs.iter().zip(weights).map(|(y, w)| {
        let w = w.to_f64().unwrap();
        y.iter().zip(&w).map(|(y, w)| y * w).sum::<f64>()
    });
    products.sum()
}

fn check(case: &Case, seed: u64) {
    let mut rng = Rng::new(seed);
    let inputs: Vec<Tensor> =
        case.shapes.iter().map(|shape| random(&mut rng, shape, case.low)).collect();
    let (graph, values) = graph_of(&case.op, &inputs);
    let parameters: Vec<ValueId> = case.differentiated.iter().map(|&i| values[i]).collect();
    let training = differentiate(&graph, &parameters, Statistics::Frozen)
        .unwrap_or_else(|e| panic!("{case:?}: {e}"));
    let weights: Vec<Tensor> = graph
        .outputs()
        .iter()
        .map(|&y| random(&mut rng, &graph.ty(y).unwrap().shape, -1.0))
        .collect();
    let results = interpreter::run(&training.graph, &weights).unwrap();
    let gradients = &results[graph.outputs().len()..];
    for (&input, gradient) in case.differentiated.iter().zip(gradients) {
        assert_eq!(gradient.shape(), inputs[input].shape(), "{case:?}, input {input}");
        let found = gradient.to_f64().unwrap();
        for (at, &found) in found.iter().enumerate() {
            let at_distance = |distance: f64| {
                let mut moved = inputs.clone();
                let mut elements = moved[input].to_f64().unwrap();
                elements[at] += distance;
                moved[input] = Tensor::new(moved[input].shape(), elements).unwrap();
                loss(&outputs(case, &inputs, &moved), &weights)
            };
            let expected = (at_distance(STEP) - at_distance(-STEP)) / (2.0 * STEP);
            let allowed = TOLERANCE * (1.0 + expected.abs());
            assert!(
                (found - expected).abs() <= allowed,
                "{case:?}, input {input}, element {at}: {found} instead of {expected}"
            );
        }
    }
}

#[test]
fn every_gradient_of_the_list_equals_finite_differences() {
    for (name, cases) in all_cases() {
        assert!(!cases.is_empty(), "{name} has no cases");
        for (seed, case) in (1..).zip(&cases) {
            check(case, seed);
        }
    }
}

#[test]
fn every_operator_of_the_list_stands_there_once() {
    let names: Vec<&str> = op_types().collect();
    let distinct: BTreeSet<&str> = names.iter().copied().collect();
    assert_eq!(names.len(), distinct.len());
}
