//! Values of other types than f32 inside a graph, and what the runtime must refuse.
use ir::ops::{
    BinaryKind, Cast, Concat, DequantizeLinear, Expand, GatherElements, GatherNd, Mod,
    QuantizeLinear, Reduce, ReduceKind, Reshape, TopK, Transpose, UnaryKind,
};
use ir::{DataType, Edit, Graph, QuantParams, Tensor, TensorType, ValueId, interpreter};
use runtime::{Plan, PlanOptions, Session};
use std::sync::Arc;

const ROWS: usize = 50;
const CLASSES: usize = 7;
const K: usize = 9;

fn first(e: &mut Edit, x: ValueId) -> Vec<ValueId> {
    let op = TopK { k: K, axis: 1, largest: true, sorted: true };
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
    let best = Reduce { kind: ReduceKind::Max, axes: vec![2], keepdims: false };
    let best = e.node("best", best, &[scores], &["best"])[0];
    let rows = first(&mut e, best)[1];
    let wide = reshape(&mut e, rows, &[1, K, 1]);
    let repeats = vec![1, 1, CLASSES];
    let wide = e.node("wide", Expand { repeats }, &[wide], &["wide"])[0];
    let chosen = e.node("chosen", GatherElements { axis: 1 }, &[scores, wide], &["chosen"])[0];
    let chosen = e.node("double", BinaryKind::Add, &[chosen, chosen], &["double"])[0];
    let flat = reshape(&mut e, chosen, &[1, K * CLASSES]);
    let top = first(&mut e, flat);
    let width = e.constant("width", Tensor::scalar(CLASSES as i64));
    let row = e.node("row", BinaryKind::Div, &[top[1], width], &["row"])[0];
    let class = e.node("class", Mod { fmod: false }, &[top[1], width], &["class"])[0];
    let row = reshape(&mut e, row, &[K, 1]);
    let rows = reshape(&mut e, rows, &[K]);
    let row = e.node("which", GatherNd { batch_dims: 0 }, &[rows, row], &["which"])[0];
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
    let x: Vec<f32> =
        (0..ROWS * CLASSES).map(|i| ((i * 7919) % 1009) as f32 / 100.0 - 5.0).collect();
    let input = Tensor::new([1, ROWS, CLASSES], x.clone()).unwrap();
    let expected = interpreter::run(&graph, &[input]).unwrap().remove(0);
    let plan = Arc::new(Plan::compile(&graph, &[], &PlanOptions::default()).unwrap());
    let found = Session::new(&plan, 1).unwrap().run(&[&x]).unwrap().remove(0);
    assert_eq!(found.shape(), [1, K, 3]);
    let (found, expected) = (found.to_f64().unwrap(), expected.to_f64().unwrap());
    for (i, (f, e)) in found.iter().zip(&expected).enumerate() {
        assert!((f - e).abs() < 1e-5, "element {i}: {f} instead of {e}");
    }
}

#[test]
fn run_of_an_integer_output_gives_its_numbers_as_f32() {
    let mut graph = Graph::new(17);
    let mut e = graph.edit();
    let x = e.input("x", TensorType::new(DataType::F32, [1, 4]));
    let op = TopK { k: 2, axis: 1, largest: true, sorted: true };
    let top = e.node("top", op, &[x], &["values", "indices"]);
    e.output(top[1]);
    graph.apply(e).unwrap();
    let found = run(&graph, &[0.5, 3.0, -1.0, 2.0]);
    assert_eq!(found, Tensor::new([1, 2], vec![1f32, 3.0]).unwrap());
}

fn run(graph: &Graph, x: &[f32]) -> Tensor {
    let plan = Arc::new(Plan::compile(graph, &[], &PlanOptions::default()).unwrap());
    Session::new(&plan, 1).unwrap().run(&[x]).unwrap().remove(0)
}

#[test]
fn run_of_an_input_of_bytes_takes_its_numbers_as_f32() {
    let mut graph = Graph::new(17);
    let mut e = graph.edit();
    let x = e.input("x", TensorType::new(DataType::U8, [1, 3]));
    let params = QuantParams::per_tensor(0.5, 10, DataType::U8).unwrap();
    let real = e.node("dequantize", DequantizeLinear { params }, &[x], &["real"])[0];
    let same = e.node("cast", Cast { to: DataType::F32 }, &[x], &["cast"])[0];
    let y = e.node("add", BinaryKind::Add, &[real, same], &["y"])[0];
    e.output(y);
    graph.apply(e).unwrap();
    let found = run(&graph, &[0.0, 10.0, 255.0]);
    assert_eq!(found, Tensor::new([1, 3], vec![-5f32, 10.0, 377.5]).unwrap());
}

/// Quantized values that an operator computes with which has no real form here: in their own type, as the interpreter does.
#[test]
fn run_of_quantized_values_between_quantize_and_an_integer_operator_equals_the_interpreter() {
    let mut graph = Graph::new(17);
    let mut e = graph.edit();
    let x = e.input("x", TensorType::new(DataType::F32, [1, 3]));
    let grid = |scale| QuantParams::per_tensor(scale, 3, DataType::U8).unwrap();
    let q = QuantizeLinear { params: grid(0.25) };
    let quantized = e.node("quantize", q, &[x], &["quantized"])[0];
    let one = e.constant("one", Tensor::vector(vec![1u8; 3]));
    let more = e.node("add", BinaryKind::Add, &[quantized, one], &["more"])[0];
    let dequantize = |params| DequantizeLinear { params };
    let y = e.node("dequantize", dequantize(grid(0.5)), &[more], &["y"])[0];
    let z = e.node("apart", dequantize(grid(0.25)), &[quantized], &["z"])[0];
    let sum = e.node("sum", BinaryKind::Add, &[y, z], &["sum"])[0];
    e.output(sum);
    graph.apply(e).unwrap();
    let x = [0.3f32, -0.1, 1.0];
    let input = Tensor::new([1, 3], x.to_vec()).unwrap();
    let expected = interpreter::run(&graph, &[input]).unwrap().remove(0);
    assert_eq!(run(&graph, &x), expected);
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

/// Indices of one kind stand between those of another: a subgraph within a subgraph.
#[test]
fn run_of_interleaved_integer_values_equals_the_interpreter() {
    let mut graph = Graph::new(17);
    let mut e = graph.edit();
    let x = e.input("x", TensorType::new(DataType::F32, [1, 4]));
    let top = |largest| TopK { k: 4, axis: 1, largest, sorted: true };
    let first = e.node("largest", top(true), &[x], &["l", "li"]);
    let second = e.node("smallest", top(false), &[x], &["s", "si"]);
    let gather = GatherElements { axis: 1 };
    let mixed = e.node("mixed", gather, &[second[0], first[1]], &["m"])[0];
    let half = e.node("half", UnaryKind::Sigmoid, &[mixed], &["h"])[0];
    let y = e.node("y", gather, &[half, second[1]], &["y"])[0];
    e.output(y);
    graph.apply(e).unwrap();
    let x = [0.1f32, 0.5, 0.4, 9.0];
    let input = Tensor::new([1, 4], x.to_vec()).unwrap();
    let expected = interpreter::run(&graph, &[input]).unwrap().remove(0);
    assert_eq!(run(&graph, &x), expected);
}
