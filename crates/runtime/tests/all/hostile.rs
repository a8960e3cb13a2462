//! Graphs whose numbers are out of all proportion: an error that says so, and never an abort.
use ir::ops::{Concat, Conv, Expand, MaxPool, Reshape, UnaryKind};
use ir::{Graph, Tensor, ValueId, interpreter};
use runtime::{Plan, PlanOptions, RuntimeError, Session};
use std::sync::Arc;
use testkit::net::{Net, image};

fn graph(build: impl FnOnce(&mut Net) -> Vec<ValueId>) -> Graph {
    let mut graph = Graph::new(17);
    let mut net = Net::new(&graph);
    for v in build(&mut net) {
        net.edit.output(v);
    }
    graph.apply(net.edit).expect("a valid graph");
    graph
}

fn session(graph: &Graph) -> Result<Session, RuntimeError> {
    let plan = Plan::compile(graph, &[], &PlanOptions::default())?;
    Session::new(&Arc::new(plan), 1)
}

fn run(graph: &Graph, x: &[f32]) -> Vec<Tensor> {
    let mut session = session(graph).expect("it compiles");
    session.run(&[x]).expect("it runs")
}

/// What both ways of running give.
fn both(graph: &Graph) -> [Vec<Tensor>; 2] {
    let x = image(graph);
    let by_reference = interpreter::run(graph, std::slice::from_ref(&x)).expect("it runs");
    [run(graph, x.as_slice().expect("f32")), by_reference]
}

#[test]
fn concats_nested_thirty_thousand_deep_run_on_a_small_stack() {
    let nested = || {
        let graph = graph(|net| {
            let x = net.input(&[1, 1, 1, 1]);
            let mut y = net.op(UnaryKind::Relu, &[x]);
            for _ in 0..30_000 {
                let next = net.op(UnaryKind::Neg, &[x]);
                y = net.op(Concat { axis: 1 }, &[y, next]);
            }
            vec![y]
        });
        let y = run(&graph, &[2.0]).remove(0);
        assert_eq!(y.shape(), [1, 30_001, 1, 1]);
        let data = y.as_slice::<f32>().expect("f32");
        assert_eq!((data[0], data[1], data[30_000]), (2.0, -2.0, -2.0));
    };
    let small = std::thread::Builder::new().stack_size(256 << 10);
    small.spawn(nested).expect("a thread").join().expect("no overflow");
}

#[test]
fn session_of_more_memory_than_the_machine_has_says_how_much() {
    // 64 outputs of 8 GiB each.
    let graph = graph(|net| {
        let x = net.input(&[1, 1, 1, 1]);
        let repeats = vec![1, 1, 1 << 15, 1 << 16];
        let wide = net.op(Expand { repeats }, &[x]);
        (0..64).map(|_| net.op(UnaryKind::Exp, &[wide])).collect()
    });
    let refused = session(&graph).err().expect("no machine has that much");
    assert!(matches!(refused, RuntimeError::Memory { .. }), "{refused}");
    let text = refused.to_string();
    assert!(text.contains("bytes of memory") && text.contains("f32[1, 1, 32768, 65536]"), "{text}");
}

#[test]
fn halo_of_more_than_can_be_counted_is_an_error() {
    let graph = graph(|net| {
        let x = net.input(&[1, 1 << 20, 4, 4]);
        let weight = net.parameter("parameter", &[1, 1 << 20, 1, 1], 1.0);
        let conv = Conv {
            kernel_shape: [1; 2],
            strides: [1 << 16; 2],
            dilations: [1; 2],
            pads: [1 << 16; 4],
            group: 1,
        };
        vec![net.op(conv, &[x, weight])]
    });
    assert!(session(&graph).is_err());
}

#[test]
fn constants_of_constants_beyond_measure_are_an_error() {
    let graph = graph(|net| {
        let x = net.input(&[1, 1, 1, 1]);
        let one = net.parameter("parameter", &[1, 1, 1, 1], 1.0);
        let repeats = vec![1, 1, 1 << 15, 1 << 16];
        let wide = net.op(Expand { repeats }, &[one]);
        let y = net.op(UnaryKind::Exp, &[x]);
        vec![y, wide]
    });
    let refused = session(&graph).err().expect("16 GiB of f64");
    assert!(matches!(refused, RuntimeError::Constants { .. }), "{refused}");
}

#[test]
fn max_pool_window_wholly_in_the_padding_gives_the_least_number() {
    let graph = graph(|net| {
        let x = net.input(&[1, 3, 2, 2]);
        let pool = MaxPool {
            kernel_shape: [2; 2],
            strides: [1; 2],
            dilations: [3; 2],
            pads: [1; 4],
            ceil_mode: false,
        };
        vec![net.op(pool, &[x])]
    });
    // ONNX Runtime 1.32 gives -3.4028235e38 as well.
    for outputs in both(&graph) {
        assert_eq!(outputs[0].as_slice::<f32>().expect("f32"), [f32::MIN; 3]);
    }
}

#[test]
fn concat_of_a_value_with_itself_on_any_axis_is_the_value_repeated() {
    for shape in [[1, 3, 4, 5], [1, 1, 4, 1], [1, 3, 1, 1], [2, 1, 1, 5]] {
        for (axis, copies) in (0..4).flat_map(|a| [(a, 2), (a, 3)]) {
            let graph = graph(|net| {
                let x = net.input(&shape);
                let y = net.op(UnaryKind::Neg, &[x]);
                let own = net.op(Concat { axis }, &vec![x; copies]);
                let made = net.op(Concat { axis }, &vec![y; copies]);
                let mixed = net.op(Concat { axis }, &[y, x, y]);
                let twice = net.op(Concat { axis }, &[made, made]);
                vec![own, made, mixed, twice]
            });
            let [found, expected] = both(&graph);
            assert_eq!(found, expected, "{shape:?}, axis {axis}, {copies} copies");
        }
    }
}

#[test]
fn concat_of_a_reshaped_value_with_itself_is_the_value_repeated() {
    let shapes: [&[usize]; 4] = [&[1, 1, 5], &[5, 1, 1], &[1, 5, 1], &[1, 1, 1, 5]];
    for (shape, copies) in shapes.iter().flat_map(|s| [(s, 2), (s, 3)]) {
        for axis in (0..shape.len()).filter(|&a| shape[a] == 1) {
            let graph = graph(|net| {
                let x = net.input(&[1, 5]);
                let y = net.op(UnaryKind::Neg, &[x]);
                let shape = shape.to_vec();
                let tall = net.op(Reshape { shape }, &[y]);
                let own = net.op(Concat { axis }, &vec![tall; copies]);
                let other = net.op(UnaryKind::Exp, &[tall]);
                let mixed = net.op(Concat { axis }, &[other, tall, tall, other]);
                vec![own, mixed]
            });
            let [found, expected] = both(&graph);
            for (found, expected) in found.iter().zip(&expected) {
                assert_eq!(found.ty(), expected.ty());
                let pairs = found.to_f64().unwrap().into_iter().zip(expected.to_f64().unwrap());
                pairs.for_each(|(a, b)| assert!((a - b).abs() < 1e-4, "{shape:?}, axis {axis}"));
            }
        }
    }
}
