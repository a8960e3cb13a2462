//! Edits keep a graph valid, and rewrites keep its function.
use ir::ops::{BatchNormalization, BinaryKind, Conv, UnaryKind};
use ir::{DataType, Graph, IrError, OpError, Tensor, TensorType, interpreter, rewrites};

fn ramp(shape: &[usize], step: f32) -> Tensor {
    let n: usize = shape.iter().product();
    Tensor::new(shape, (0..n).map(|i| (i % 17) as f32 * step - 0.4).collect())
        .expect("shape and data agree")
}

fn conv(group: usize) -> Conv {
    Conv { kernel_shape: [3, 3], strides: [1, 1], dilations: [1, 1], pads: [1; 4], group }
}

/// conv → BatchNorm → x * sigmoid(x), as a checkpoint with BatchNorm kept exports it.
fn block() -> Graph {
    let mut graph = Graph::new(17);
    let mut e = graph.edit();
    let x = e.input("x", TensorType::new(DataType::F32, [1, 2, 5, 4]));
    let w = e.constant("w", ramp(&[3, 2, 3, 3], 0.05));
    let y = e.node("conv", conv(1), &[x, w], &["y"])[0];
    let params: Vec<_> = [0.3, 0.1, 0.2, 0.7]
        .iter()
        .map(|&s| e.constant("p", Tensor::vector(vec![s, s + 0.5, s + 1.0])))
        .collect();
    let z = e.node(
        "bn",
        BatchNormalization { epsilon: 1e-3 },
        &[y, params[0], params[1], params[2], params[3]],
        &["z"],
    )[0];
    let s = e.node("gate", UnaryKind::Sigmoid, &[z], &["s"])[0];
    let out = e.node("mul", BinaryKind::Mul, &[z, s], &["out"])[0];
    e.output(out);
    graph.apply(e).expect("the block is valid");
    graph
}

fn assert_close(a: &Tensor, b: &Tensor) {
    assert_eq!(a.shape(), b.shape());
    for (x, y) in a.to_f64().unwrap().iter().zip(b.to_f64().unwrap()) {
        assert!((x - y).abs() < 1e-5, "{x} and {y}");
    }
}

#[test]
fn own_parameters_of_layers_that_share_vectors_keep_the_function_and_the_shared_weight() {
    let mut graph = Graph::new(17);
    let mut e = graph.edit();
    let x = e.input("x", TensorType::new(DataType::F32, [1, 3, 5, 4]));
    let w = e.constant("w", ramp(&[3, 3, 3, 3], 0.05));
    let zeros = e.constant("zeros", Tensor::vector(vec![0.1, 0.2, 0.3]));
    let y = e.node("first", conv(1), &[x, w, zeros], &["y"])[0];
    let z = e.node("second", conv(1), &[y, w, zeros], &["z"])[0];
    let out = e.node(
        "norm",
        BatchNormalization { epsilon: 1e-3 },
        &[z, zeros, zeros, zeros, zeros],
        &["out"],
    )[0];
    e.output(out);
    graph.apply(e).unwrap();
    let input = ramp(&[1, 3, 5, 4], 0.1);
    let before = interpreter::run(&graph, std::slice::from_ref(&input)).unwrap();
    assert_eq!(rewrites::apply(&mut graph, &rewrites::OWN_PARAMETERS).unwrap(), 2);
    assert_eq!(interpreter::run(&graph, &[input]).unwrap(), before);
    let readers = graph.consumers();
    let counts: Vec<usize> = graph
        .nodes()
        .flat_map(|(_, node)| node.inputs[1..].iter().map(|v| readers[v].len()))
        .collect();
    assert_eq!(counts, [2, 1, 2, 1, 1, 1, 1, 1]);
}

#[test]
fn rewrites_on_conv_batch_norm_silu_keep_the_function() {
    let dense = block();
    let input = ramp(&[1, 2, 5, 4], 0.1);
    let expected = interpreter::run(&dense, std::slice::from_ref(&input)).unwrap();
    let mut graph = dense.clone();
    for rewrite in [&rewrites::SILU, &rewrites::FOLD_BATCH_NORMALIZATION] {
        let places = rewrites::apply(&mut graph, rewrite).unwrap();
        assert_eq!(places, 1, "{}", rewrite.name);
        assert_close(
            &interpreter::run(&graph, std::slice::from_ref(&input)).unwrap()[0],
            &expected[0],
        );
    }
    let ops: Vec<&str> = graph.nodes().map(|(_, n)| n.op.op_type()).collect();
    assert_eq!(ops, ["Conv", "Silu"]);
    assert_eq!(graph.value(graph.outputs()[0]).name, "out");
}

#[test]
fn mish_in_three_nodes_becomes_one_of_the_same_function() {
    for swapped in [false, true] {
        let mut graph = Graph::new(17);
        let mut e = graph.edit();
        let x = e.input("x", TensorType::new(DataType::F32, [1, 2, 5, 4]));
        let y = e.node("softplus", UnaryKind::Softplus, &[x], &["y"])[0];
        let y = e.node("tanh", UnaryKind::Tanh, &[y], &["z"])[0];
        let factors = if swapped { [y, x] } else { [x, y] };
        let y = e.node("mul", BinaryKind::Mul, &factors, &["out"])[0];
        e.output(y);
        graph.apply(e).unwrap();
        let input = ramp(&[1, 2, 5, 4], 0.3);
        let expected = interpreter::run(&graph, std::slice::from_ref(&input)).unwrap();
        assert_eq!(rewrites::apply(&mut graph, &rewrites::MISH).unwrap(), 1);
        let ops: Vec<&str> = graph.nodes().map(|(_, n)| n.op.op_type()).collect();
        assert_eq!(ops, ["Mish"]);
        let found = interpreter::run(&graph, std::slice::from_ref(&input)).unwrap();
        assert_close(&found[0], &expected[0]);
    }
}

#[test]
fn fold_batch_normalization_when_the_convolution_is_read_twice_leaves_it() {
    let mut graph = block();
    let y = graph.value_named("y").unwrap();
    let mut e = graph.edit();
    e.output(y);
    graph.apply(e).unwrap();
    assert_eq!(rewrites::apply(&mut graph, &rewrites::FOLD_BATCH_NORMALIZATION).unwrap(), 0);
}

#[test]
fn apply_of_a_cycle_names_the_node_and_changes_nothing() {
    let mut graph = block();
    let (conv_id, _) = graph.nodes().find(|(_, n)| n.name == "conv").unwrap();
    let s = graph.value_named("s").unwrap();
    let mut e = graph.edit();
    e.replace_input(conv_id, 0, s);
    assert!(matches!(graph.apply(e), Err(IrError::Cycle { .. })));
    assert_eq!(graph.node_count(), 4);
    assert!(graph.value_named("x").is_some());
}

#[test]
fn apply_of_channels_that_do_not_fit_names_node_axis_and_counts() {
    let mut graph = Graph::new(17);
    let mut e = graph.edit();
    let x = e.input("x", TensorType::new(DataType::F32, [1, 4, 8, 8]));
    let w = e.constant("w", ramp(&[8, 3, 3, 3], 0.1));
    let y = e.node("stem", conv(1), &[x, w], &["y"])[0];
    e.output(y);
    let text = graph.apply(e).unwrap_err().to_string();
    assert!(text.contains("stem") && text.contains("axis 1: expected length 3, found 4"), "{text}");
}

#[test]
fn tensor_of_an_impossible_shape_is_refused_without_allocation() {
    let huge = Tensor::new(vec![1usize << 20, 1 << 20], Vec::<f32>::new());
    assert_eq!(huge.unwrap_err(), OpError::TooLarge { shape: vec![1 << 20, 1 << 20] });
}

#[test]
fn macs_and_params_of_a_block_count_the_convolution() {
    let graph = block();
    assert_eq!(graph.macs(), 3 * 5 * 4 * 2 * 9);
    assert_eq!(graph.params(), 3 * 2 * 9 + 2 * 3);
}

#[test]
fn parameter_is_known_but_nothing_is_folded_into_it() {
    let mut graph = Graph::new(17);
    let mut e = graph.edit();
    let x = e.input("x", TensorType::new(DataType::F32, [1, 2, 4, 4]));
    let weight = e.constant("weight", ramp(&[3, 2, 1, 1], 0.5));
    let conv =
        Conv { kernel_shape: [1, 1], strides: [1, 1], dilations: [1, 1], pads: [0; 4], group: 1 };
    let y = e.node("conv", conv, &[x, weight], &["y"])[0];
    let statistics = ["scale", "bias", "mean", "var"].map(|name| e.constant(name, ramp(&[3], 0.1)));
    let inputs: Vec<_> = [y].into_iter().chain(statistics).collect();
    let norm = BatchNormalization { epsilon: 1.0 };
    let y = e.node("bn", norm, &inputs, &["z"])[0];
    e.output(y);
    graph.apply(e).unwrap();
    let input = ramp(&[1, 2, 4, 4], 0.3);
    let expected = interpreter::run(&graph, std::slice::from_ref(&input)).unwrap();
    let parameters = graph.params();
    let mut e = graph.edit();
    e.make_parameter(weight);
    graph.apply(e).unwrap();
    assert!(graph.constant(weight).is_none() && graph.parameter(weight).is_some());
    assert_eq!(graph.params(), parameters);
    let fold = &rewrites::FOLD_BATCH_NORMALIZATION;
    assert_eq!(rewrites::apply(&mut graph, fold).unwrap(), 0);
    assert_eq!(interpreter::run(&graph, &[input]).unwrap(), expected);
    let mut e = graph.edit();
    e.set_constant(weight, ramp(&[3, 2, 1, 1], 0.7));
    graph.apply(e).unwrap();
    assert!(graph.parameter(weight).is_none());
    assert_eq!(rewrites::apply(&mut graph, fold).unwrap(), 1);
}
