//! Values of other types than f32 inside a graph, and what the runtime must refuse.
use ir::ops::{
    BinaryKind, Cast, Concat, Expand, GatherElements, GatherNd, Mod, Reduce, ReduceKind, Reshape,
    TopK, Transpose, UnaryKind,
};
use ir::{DataType, Edit, Graph, Tensor, TensorType, ValueId, interpreter};
use runtime::{Plan, PlanOptions, Session};
use std::sync::Arc;

const ROWS: usize = 50;
const CLASSES: usize = 7;
const K: usize = 9;

fn first(e: &mut Edit, x: ValueId) -> Vec<ValueId> {
    let op = TopK {
        k: K,
        axis: 1,
        largest: true,
        sorted: true,
    };
    e.node("top", op, &[x], &["values", "indices"])
}

fn reshape(e: &mut Edit, x: ValueId, shape: &[usize]) -> ValueId {
    let shape = shape.to_vec();
    e.node("reshape", Reshape { shape }, &[x], &["r"])[0]
}

/// The best classes of the best rows, as exporters of end-to-end detectors write it: the indices of the first choice
/// are read again after the second, so that f32 work lies between integer work.
fn end_to_end() -> Graph {
    let mut graph = Graph::new(17);
    let mut e = graph.edit();
    let shape = [1, ROWS, CLASSES];
    let scores = e.input("scores", TensorType::new(DataType::F32, shape));
    let scores = e.node("sigmoid", UnaryKind::Sigmoid, &[scores], &["s"])[0];
    let best = Reduce {
        kind: ReduceKind::Max,
        axes: vec![2],
        keepdims: false,
    };
    let best = e.node("best", best, &[scores], &["best"])[0];
    let rows = first(&mut e, best)[1];
    let wide = reshape(&mut e, rows, &[1, K, 1]);
    let repeats = vec![1, 1, CLASSES];
    let wide = e.node("wide", Expand { repeats }, &[wide], &["wide"])[0];
    let chosen = e.node(
        "chosen",
        GatherElements { axis: 1 },
        &[scores, wide],
        &["chosen"],
    )[0];
    let chosen = e.node("double", BinaryKind::Add, &[chosen, chosen], &["double"])[0];
    let flat = reshape(&mut e, chosen, &[1, K * CLASSES]);
    let top = first(&mut e, flat);
    let width = e.constant("width", Tensor::scalar(CLASSES as i64));
    let row = e.node("row", BinaryKind::Div, &[top[1], width], &["row"])[0];
    let class = e.node("class", Mod { fmod: false }, &[top[1], width], &["class"])[0];
    let row = reshape(&mut e, row, &[K, 1]);
    let rows = reshape(&mut e, rows, &[K]);
    let row = e.node(
        "which",
        GatherNd { batch_dims: 0 },
        &[rows, row],
        &["which"],
    )[0];
    let to = DataType::F32;
    let parts = [top[0], row, class].map(|v| {
        let v = e.node("cast", Cast { to }, &[v], &["f"])[0];
        reshape(&mut e, v, &[1, K, 1])
    });
    let out = e.node("join", Concat { axis: 2 }, &parts, &["output"])[0];
    e.output(out);
    graph.apply(e).unwrap();
    graph
}

#[test]
fn run_of_an_end_to_end_tail_equals_the_interpreter() {
    let graph = end_to_end();
    let x: Vec<f32> = (0..ROWS * CLASSES)
        .map(|i| ((i * 7919) % 1009) as f32 / 100.0 - 5.0)
        .collect();
    let input = Tensor::new([1, ROWS, CLASSES], x.clone()).unwrap();
    let expected = interpreter::run(&graph, &[input]).unwrap().remove(0);
    let plan = Arc::new(Plan::compile(&graph, &[], &PlanOptions::default()).unwrap());
    let found = Session::new(&plan, 1)
        .unwrap()
        .run(&[&x])
        .unwrap()
        .remove(0);
    assert_eq!(found.shape(), [1, K, 3]);
    let (found, expected) = (found.to_f64().unwrap(), expected.to_f64().unwrap());
    for (i, (f, e)) in found.iter().zip(&expected).enumerate() {
        assert!((f - e).abs() < 1e-5, "element {i}: {f} instead of {e}");
    }
}

#[test]
fn compile_of_an_integer_output_names_it() {
    let mut graph = Graph::new(17);
    let mut e = graph.edit();
    let x = e.input("x", TensorType::new(DataType::F32, [1, ROWS]));
    let top = first(&mut e, x);
    e.output(top[1]);
    graph.apply(e).unwrap();
    let error = Plan::compile(&graph, &[], &PlanOptions::default())
        .err()
        .unwrap();
    assert!(error.to_string().contains("indices"), "{error}");
}

#[test]
fn compile_of_seven_axes_is_an_error() {
    let mut graph = Graph::new(17);
    let mut e = graph.edit();
    let x = e.input("x", TensorType::new(DataType::F32, [2, 3]));
    let x = e.node("sigmoid", UnaryKind::Sigmoid, &[x], &["s"])[0];
    let x = reshape(&mut e, x, &[1, 2, 1, 3, 1, 1, 1]);
    let perm = vec![6, 5, 4, 3, 2, 1, 0];
    let x = e.node("turn", Transpose { perm }, &[x], &["t"])[0];
    let x = e.node("again", BinaryKind::Add, &[x, x], &["a"])[0];
    e.output(x);
    graph.apply(e).unwrap();
    assert!(Plan::compile(&graph, &[], &PlanOptions::default()).is_err());
}
