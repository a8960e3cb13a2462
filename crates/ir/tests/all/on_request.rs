//! Rewrites on request keep what they say they keep.
use ir::ops::{
    Cast, Concat, Conv, Gather, Opaque, Reduce, ReduceKind, Reshape, Slice, SliceRange, TopK,
    Transpose, UnaryKind,
};
use ir::{DataType, Edit, Graph, Op, Tensor, TensorType, ValueId, interpreter, rewrites};

const SIDES: [usize; 2] = [8, 12];

fn ramp(shape: &[usize]) -> Tensor {
    let n: usize = shape.iter().product();
    let number = |i: usize| ((i * 7919) % 101) as f32 / 50.0 - 1.0;
    Tensor::new(shape, (0..n).map(number).collect()).expect("shape and data agree")
}

fn every_second(e: &mut Edit, x: ValueId, axes: &[(usize, usize)]) -> ValueId {
    let range = |&(axis, start): &(usize, usize)| SliceRange {
        axis,
        start,
        len: SIDES[axis - 2] / 2,
        step: 2,
    };
    let ranges = axes.iter().map(range).collect();
    e.node("slice", Slice { ranges }, &[x], &["half"])[0]
}

/// A Focus stem whose slices come in the given order of corners, each in one step or in two.
fn focus(order: [[usize; 2]; 4], in_steps: bool) -> Graph {
    let mut graph = Graph::new(17);
    let mut e = graph.edit();
    let [h, w] = SIDES;
    let x = e.input("x", TensorType::new(DataType::F32, [1, 3, h, w]));
    let mut parts = vec![];
    for [dy, dx] in order {
        parts.push(if in_steps {
            let rows = every_second(&mut e, x, &[(2, dy)]);
            every_second(&mut e, rows, &[(3, dx)])
        } else {
            every_second(&mut e, x, &[(3, dx), (2, dy)])
        });
    }
    let joined = e.node("join", Concat { axis: 1 }, &parts, &["joined"])[0];
    let weight = e.constant("weight", ramp(&[5, 12, 3, 3]));
    let bias = e.constant("bias", ramp(&[5]));
    let op = Conv {
        kernel_shape: [3, 3],
        strides: [1, 2],
        dilations: [1, 1],
        pads: [1, 1, 0, 1],
        group: 1,
    };
    let y = e.node("conv", op, &[joined, weight, bias], &["y"])[0];
    let y = e.node("act", UnaryKind::Silu, &[y], &["out"])[0];
    e.output(y);
    graph.apply(e).expect("the stem is valid");
    graph
}

#[test]
fn focus_in_any_order_becomes_one_convolution() {
    let corners = [[0, 0], [1, 0], [0, 1], [1, 1]];
    for first in 0..4 {
        for in_steps in [false, true] {
            let mut order = corners;
            order.rotate_left(first);
            order.swap(0, first / 2);
            let graph = focus(order, in_steps);
            let mut one = graph.clone();
            assert_eq!(rewrites::apply(&mut one, &rewrites::FOCUS).unwrap(), 1);
            assert_eq!(one.node_count(), 2);
            assert_eq!(one.macs(), graph.macs());
            let input = [ramp(&[1, 3, SIDES[0], SIDES[1]])];
            let run = |g: &Graph| interpreter::run(g, &input).unwrap().remove(0).to_f64().unwrap();
            for (a, b) in run(&one).iter().zip(run(&graph)) {
                assert!((a - b).abs() < 1e-5, "{order:?}: {a} instead of {b}");
            }
        }
    }
}

#[test]
fn focus_with_a_corner_missing_is_left() {
    let mut graph = focus([[0, 0], [1, 0], [0, 1], [0, 1]], false);
    let before = graph.node_count();
    assert_eq!(rewrites::apply(&mut graph, &rewrites::FOCUS).unwrap(), 0);
    assert_eq!(graph.node_count(), before);
}

#[test]
fn hard_swish_replaces_every_silu_and_stays_near_it() {
    let graph = focus([[0, 0], [1, 0], [0, 1], [1, 1]], false);
    let mut cheap = graph.clone();
    assert_eq!(rewrites::apply(&mut cheap, &rewrites::HARD_SWISH).unwrap(), 1);
    assert_eq!(rewrites::apply(&mut cheap, &rewrites::HARD_SWISH).unwrap(), 0);
    let input = [ramp(&[1, 3, SIDES[0], SIDES[1]])];
    let run = |g: &Graph| interpreter::run(g, &input).unwrap().remove(0).to_f64().unwrap();
    let pairs: Vec<(f64, f64)> = run(&cheap).into_iter().zip(run(&graph)).collect();
    assert!(pairs.iter().all(|(a, b)| (a - b).abs() < 0.143));
    assert!(pairs.iter().any(|(a, b)| a != b));
}

/// Corners and scores of 20 positions as inputs, and the 5 best of them as output.
fn picking() -> Graph {
    let mut graph = Graph::new(17);
    let mut e = graph.edit();
    let boxes = e.input("boxes", TensorType::new(DataType::F32, [1, 20, 4]));
    let scores = e.input("scores", TensorType::new(DataType::F32, [1, 20, 3]));
    let scores = e.node("sigmoid", UnaryKind::Sigmoid, &[scores], &["s"])[0];
    let best = Reduce { kind: ReduceKind::Max, axes: vec![2], keepdims: false };
    let best = e.node("best", best, &[scores], &["best"])[0];
    let first = TopK { k: 5, axis: 1, largest: true, sorted: true };
    let top = e.node("top", first, &[best], &["score", "index"]);
    let flat = e.node("flat", Reshape { shape: vec![5] }, &[top[1]], &["flat"])[0];
    let boxes = e.node("pick", Gather { axis: 1 }, &[boxes, flat], &["picked"])[0];
    let class = e.node("class", Cast { to: DataType::F32 }, &[top[1]], &["class"])[0];
    let column = |e: &mut Edit, v| {
        let shape = vec![1, 5, 1];
        e.node("column", Reshape { shape }, &[v], &["column"])[0]
    };
    let parts = [boxes, column(&mut e, top[0]), column(&mut e, class)];
    let out = e.node("join", Concat { axis: 2 }, &parts, &["output0"])[0];
    e.output(out);
    graph.apply(e).expect("the tail is valid");
    graph
}

#[test]
fn dense_output_holds_what_was_picked_from() {
    let graph = picking();
    let mut dense = graph.clone();
    assert_eq!(rewrites::apply(&mut dense, &rewrites::DENSE_OUTPUT), Ok(1));
    let input = [ramp(&[1, 20, 4]), ramp(&[1, 20, 3])];
    let run = |g: &Graph| interpreter::run(g, &input).unwrap().remove(0);
    let (picked, all) = (run(&graph), run(&dense));
    assert_eq!(all.shape(), [1, 7, 20]);
    let (picked, all) = (picked.to_f64().unwrap(), all.to_f64().unwrap());
    for row in picked.chunks_exact(6) {
        let at = |k: usize| all[k * 20 + row[5] as usize];
        let best = at(4).max(at(5)).max(at(6));
        let corners = [0, 1].map(|k| at(k) - at(k + 2) / 2.0);
        assert!((best - row[4]).abs() < 1e-6);
        assert!((corners[0] - row[0]).abs() < 1e-6 && (corners[1] - row[1]).abs() < 1e-6);
    }
}

/// Corners of boxes for suppression, and half the scores: neither is what the model's own output holds.
fn suppressed(e: &mut Edit, rows: ValueId, op_type: &str) {
    let half = |e: &mut Edit, start: usize, len: usize| {
        let ranges = vec![SliceRange { axis: 2, start, len, step: 1 }];
        e.node("part", Slice { ranges }, &[rows], &["part"])[0]
    };
    let (boxes, scores) = (half(e, 0, 4), half(e, 4, 3));
    let boxes = e.node("corners", UnaryKind::Abs, &[boxes], &["corners"])[0];
    let scores = e.node("scores", UnaryKind::Sigmoid, &[scores], &["sigmoid"])[0];
    let op = Opaque {
        op_type: op_type.into(),
        domain: String::new(),
        reason: "the operator is not known".into(),
        proto: vec![],
    };
    let count = e.constant("count", Tensor::scalar(100i64));
    let given = [boxes, scores, count];
    let picked = e.node_typed("nms", op, &given, &[("picked", None)])[0];
    e.set_outputs(&[picked, boxes]);
}

/// Boxes and scores of two scales as inputs, joined by channels and then by cells, or the other way round.
fn joined(e: &mut Edit, channels_last: bool) -> ValueId {
    let mut parts = vec![];
    for name in ["near", "far"] {
        let of = |channels: usize| TensorType::new(DataType::F32, [1, channels, 6]);
        let pair =
            [e.input(&format!("{name}.boxes"), of(4)), e.input(&format!("{name}.scores"), of(3))];
        parts.push(pair);
    }
    let (outer, inner) = if channels_last { (1, 2) } else { (2, 1) };
    let groups: Vec<[ValueId; 2]> = if channels_last {
        vec![[parts[0][0], parts[1][0]], [parts[0][1], parts[1][1]]]
    } else {
        parts
    };
    let mut joined = vec![];
    for group in groups {
        joined.push(e.node("inner", Concat { axis: inner }, &group, &["inner"])[0]);
    }
    e.node("outer", Concat { axis: outer }, &joined, &["dense"])[0]
}

#[test]
fn cut_nms_leaves_the_value_from_which_boxes_and_scores_were_taken() {
    for op_type in rewrites::SUPPRESSIONS {
        for (channels_last, expected) in [(true, [1, 7, 12]), (false, [1, 12, 7])] {
            let mut graph = Graph::new(17);
            let mut e = graph.edit();
            let dense = joined(&mut e, channels_last);
            let perm = vec![0, 2, 1];
            let rows = e.node("rows", Transpose { perm }, &[dense], &["rows"])[0];
            suppressed(&mut e, rows, op_type);
            graph.apply(e).expect("the tail is valid");
            assert_eq!(rewrites::apply(&mut graph, &rewrites::CUT_NMS), Ok(1));
            assert_eq!(graph.outputs().len(), 1);
            assert_eq!(graph.ty(graph.outputs()[0]).unwrap().shape, expected);
            assert!(graph.nodes().all(|(_, n)| !matches!(n.op, Op::Opaque(_))));
        }
    }
}

#[test]
fn cut_nms_of_boxes_and_scores_that_were_never_joined_leaves_both() {
    let mut graph = Graph::new(17);
    let mut e = graph.edit();
    let of = |n: usize| TensorType::new(DataType::F32, [1, 12, n]);
    let (boxes, scores) = (e.input("boxes", of(4)), e.input("scores", of(3)));
    let boxes = e.node("corners", UnaryKind::Abs, &[boxes], &["corners"])[0];
    let scores = e.node("sure", UnaryKind::Abs, &[scores], &["sure"])[0];
    let op = Opaque {
        op_type: "EfficientNMS_TRT".into(),
        domain: "TRT".into(),
        reason: "its domain `TRT` is not known".into(),
        proto: vec![],
    };
    let picked = e.node_typed("nms", op, &[boxes, scores], &[("picked", None)])[0];
    e.output(picked);
    graph.apply(e).expect("the tail is valid");
    assert_eq!(rewrites::apply(&mut graph, &rewrites::CUT_NMS), Ok(1));
    let shapes = graph.outputs().iter().map(|v| &graph.ty(*v).unwrap().shape);
    assert_eq!(shapes.collect::<Vec<_>>(), [&[1, 12, 4], &[1, 12, 3]]);
    assert!(graph.nodes().all(|(_, n)| !matches!(n.op, Op::Opaque(_))));
}
