//! Gradients as the runtime computes them against the reference interpreter's, on every instruction set.
use crate::nets;

use ir::{DataType, Graph, Tensor, TensorType, interpreter};
use kernels::Isa;
use numerics::Rng;
use runtime::{Plan, PlanOptions, Session};
use std::sync::Arc;
use train::{
    BatchGradients, Batching, OutputGradients, Statistics, Trainer, differentiate, parameters,
    weights,
};

/// Largest distance of a gradient from the reference's, relative to the length of that.
const ALLOWED: f64 = 1e-4;

/// Shorter ones count as so long: a bias receives nothing but rounding where what follows takes the mean away.
const LEAST: f64 = 0.1;

fn random(rng: &mut Rng, ty: &TensorType) -> Tensor {
    let elements: Vec<f32> = (0..ty.elements()).map(|_| rng.signed()).collect();
    Tensor::new(ty.shape.clone(), elements).expect("as many elements as the shape has")
}

fn slice(tensor: &Tensor) -> &[f32] {
    tensor.as_slice().expect("an f32 tensor")
}

fn length(vector: impl Iterator<Item = f64>) -> f64 {
    vector.map(|v| v * v).sum::<f64>().sqrt()
}

fn check(name: &str, graph: &Graph, statistics: Statistics, isa: Isa) {
    let mut rng = Rng::new(1);
    let training = differentiate(graph, &parameters(graph), statistics).expect(name);
    let values = training.graph.inputs();
    let inputs: Vec<Tensor> =
        values.iter().map(|&v| random(&mut rng, graph_type(&training.graph, v))).collect();
    let expected = interpreter::run(&training.graph, &inputs).expect(name);
    let options = PlanOptions { isa, ..PlanOptions::default() };
    let plan = Plan::compile(&training.graph, graph.outputs(), &options).expect(name);
    let slow = plan.steps().into_iter().find(|step| step.kind == "Reference");
    if name != "rarer" {
        assert!(slow.is_none(), "{name}: {slow:?} has no fast step");
    }
    let mut session = Session::new(&Arc::new(plan), 2).expect(name);
    let (images, gradients) = inputs.split_at(graph.inputs().len());
    let images: Vec<&[f32]> = images.iter().map(slice).collect();
    let mut found: Vec<Vec<f32>> = expected.iter().map(|t| vec![0.0; t.len()]).collect();
    let mut outputs: Vec<&mut [f32]> = found.iter_mut().map(Vec::as_mut_slice).collect();
    let mut supply = |_: &_| gradients.iter().map(|t| slice(t).to_vec()).collect();
    session.run_supplied(&images, &mut supply, &mut outputs).expect(name);
    for (i, (found, expected)) in found.iter().zip(&expected).enumerate() {
        let pairs = found.iter().zip(slice(expected));
        let distance = length(pairs.map(|(a, b)| f64::from(a - b)));
        let whole = length(slice(expected).iter().map(|&v| f64::from(v)));
        let error = distance / whole.max(LEAST);
        let value = &training.graph.value(training.graph.outputs()[i]).name;
        assert!(error <= ALLOWED, "{name} on {isa}: output {i} `{value}`: {error:e}");
    }
}

fn graph_type(graph: &Graph, value: ir::ValueId) -> &TensorType {
    graph.ty(value).expect("inputs are typed")
}

#[test]
fn gradients_of_small_graphs_equal_the_reference_on_every_instruction_set() {
    for (name, graph) in nets::all() {
        for isa in Isa::available() {
            check(name, &graph, Statistics::Frozen, isa);
        }
    }
}

#[test]
fn gradients_with_statistics_of_three_images_equal_the_reference_on_every_instruction_set() {
    let (name, graph) = nets::all().remove(0);
    let three = ir::with_batch(&graph, 3).expect(name);
    for isa in Isa::available() {
        check(name, &three, Statistics::OfRun, isa);
    }
}

#[test]
fn activations_and_their_gradients_are_computed_where_convolutions_store_their_sums() {
    let (_, graph) =
        nets::all().into_iter().find(|(name, _)| *name == "wide").expect("in the list");
    let training =
        differentiate(&graph, &parameters(&graph), Statistics::Frozen).expect("differentiable");
    let options = PlanOptions::default();
    let plan = Plan::compile(&training.graph, graph.outputs(), &options).expect("compiles");
    let kinds: Vec<String> = plan.steps().into_iter().map(|step| step.kind).collect();
    let count = |kind: &str| kinds.iter().filter(|found| *found == kind).count();
    assert_eq!(count("Unary") + count("UnaryGradient"), 0, "{kinds:?}");
    assert_eq!(count("Conv + activation + slope"), 4, "{kinds:?}");
    assert_eq!(count("Conv + activation + slope + Add"), 1, "{kinds:?}");
    assert!(count("ConvTranspose + Add + Mul") > 0, "{kinds:?}");
    assert!(count("ConvTranspose + Mul") > 0, "{kinds:?}");
}

/// The gradients of a batch of six images by a loss that depends on the image, with so many threads.
fn batch(graph: &Graph, threads: usize, per_run: usize) -> BatchGradients {
    let parameters = parameters(graph);
    let batching = Batching { images: 6, per_run, statistics: Statistics::Frozen };
    let options = PlanOptions::default();
    let mut trainer =
        Trainer::new(graph, &parameters, &options, threads, batching).expect("a graph that trains");
    let mut weights = weights(graph, &parameters).expect("f32 parameters");
    weights.iter_mut().flat_map(|w| &mut w.elements).for_each(|w| *w *= 0.9);
    trainer.set_weights(&weights).expect("the graph's own weights");
    let ty = TensorType::new(DataType::F32, graph_type(graph, graph.inputs()[0]).shape.clone());
    let images: Vec<Vec<f32>> =
        (0..6).map(|i| slice(&random(&mut Rng::new(i), &ty)).to_vec()).collect();
    let loss = |image: usize, outputs: &[Vec<f32>]| {
        let factor = image as f32 + 1.0;
        let squares = outputs.iter().flatten().map(|y| f64::from(factor * y * y));
        OutputGradients {
            loss: squares.sum(),
            gradients: outputs
                .iter()
                .map(|o| o.iter().map(|y| 2.0 * factor * y).collect())
                .collect(),
        }
    };
    let images: Vec<&[f32]> = images.iter().map(Vec::as_slice).collect();
    let mut batch = BatchGradients::default();
    // Twice, since memory of the first time serves the second.
    for _ in 0..2 {
        trainer.gradients(&images, &loss, &mut batch).expect("finite gradients");
    }
    batch
}

#[test]
fn gradients_of_a_batch_have_the_same_bits_on_every_number_of_threads() {
    let graph = nets::all().remove(0).1;
    for per_run in [1, 2, 6] {
        let one = batch(&graph, 1, per_run);
        assert!(one.loss > 0.0);
        assert_eq!(one, batch(&graph, 2, per_run));
        assert_eq!(one, batch(&graph, 4, per_run));
    }
}

#[test]
fn gradients_of_several_images_of_a_run_are_the_sums_of_one_each() {
    for (name, graph) in nets::all() {
        let [one, several] = [1, 3].map(|per_run| batch(&graph, 2, per_run));
        assert!((one.loss - several.loss).abs() <= 1e-6 * one.loss, "{name}");
        for (a, b) in one.gradients.iter().zip(&several.gradients) {
            let distance = length(a.iter().zip(b).map(|(a, b)| f64::from(a - b)));
            let whole = length(a.iter().map(|&g| f64::from(g)));
            assert!(distance <= ALLOWED * whole.max(1e-6), "{name}: {distance:e} of {whole:e}");
        }
    }
}

#[test]
fn a_loss_that_is_no_number_is_an_error() {
    let graph = nets::all().remove(1).1;
    let batching = Batching { images: 1, per_run: 1, statistics: Statistics::Frozen };
    let options = PlanOptions::default();
    let mut trainer = Trainer::new(&graph, &parameters(&graph), &options, 1, batching)
        .expect("a graph that trains");
    let image = vec![0.5; 8 * 4 * 4];
    let loss = |_: usize, outputs: &[Vec<f32>]| OutputGradients {
        loss: f64::NAN,
        gradients: outputs.iter().map(|o| vec![0.0; o.len()]).collect(),
    };
    let error =
        trainer.gradients(&[&image], &loss, &mut BatchGradients::default()).expect_err("no number");
    assert!(error.to_string().contains("the loss"));
}
