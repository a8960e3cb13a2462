//! Rewrites on request keep what they say they keep.
use ir::ops::{Concat, Conv, Slice, SliceRange, UnaryKind};
use ir::{DataType, Edit, Graph, Tensor, TensorType, ValueId, interpreter, rewrites};

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
            let run = |g: &Graph| {
                interpreter::run(g, &input)
                    .unwrap()
                    .remove(0)
                    .to_f64()
                    .unwrap()
            };
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
    assert_eq!(
        rewrites::apply(&mut cheap, &rewrites::HARD_SWISH).unwrap(),
        1
    );
    assert_eq!(
        rewrites::apply(&mut cheap, &rewrites::HARD_SWISH).unwrap(),
        0
    );
    let input = [ramp(&[1, 3, SIDES[0], SIDES[1]])];
    let run = |g: &Graph| {
        interpreter::run(g, &input)
            .unwrap()
            .remove(0)
            .to_f64()
            .unwrap()
    };
    let pairs: Vec<(f64, f64)> = run(&cheap).into_iter().zip(run(&graph)).collect();
    assert!(pairs.iter().all(|(a, b)| (a - b).abs() < 0.143));
    assert!(pairs.iter().any(|(a, b)| a != b));
}
