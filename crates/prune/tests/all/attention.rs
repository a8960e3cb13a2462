//! Attention between convolutions (C2PSA), squeeze and excitation, and linear layers: what passes through them is pruned,
//! what has a meaning inside them stays.

use crate::close::assert_close;
use crate::dense::with_zero_columns;
use ir::ops::{
    BinaryKind, Concat, Gemm, MatMul, Reduce, ReduceKind, Reshape, Softmax, Split, Transpose,
    UnaryKind,
};
use ir::{Graph, ValueId, interpreter};
use numerics::Rng;
use prune::{Groups, PrunePlan, analyse, apply};
use testkit::net::{Net, tensor};

const SIDE: usize = 4;

/// A convolution of one pixel, or of nine in groups.
fn conv(n: &mut Net, kind: &str, x: ValueId, [from, to]: [usize; 2], group: usize) -> ValueId {
    let kernel = if group > 1 { 3 } else { 1 };
    n.named_conv(kind, x, [from, to, kernel, 1], group)
}

/// A convolution of one pixel with SiLU.
fn block(n: &mut Net, kind: &str, x: ValueId, channels: [usize; 2]) -> ValueId {
    let y = conv(n, kind, x, channels, 1);
    n.op(UnaryKind::Silu, &[y])
}

fn reshape(n: &mut Net, x: ValueId, shape: &[usize]) -> ValueId {
    let shape = shape.to_vec();
    n.op(Reshape { shape }, &[x])
}

fn split(n: &mut Net, x: ValueId, axis: usize, sizes: &[usize]) -> Vec<ValueId> {
    let split = Split { axis, sizes: sizes.to_vec() };
    n.many(split, &[x], sizes.len())
}

/// Attention over positions with `heads` heads of values of 4 and keys of 2 numbers, and its positional convolution.
fn attention(n: &mut Net, x: ValueId, heads: usize) -> ValueId {
    let (c, positions) = (heads * 4, SIDE * SIDE);
    let qkv = conv(n, "qkv", x, [c, heads * 8], 1);
    let qkv = reshape(n, qkv, &[1, heads, 8, positions]);
    let parts = split(n, qkv, 2, &[2, 2, 4]);
    let perm = vec![0, 1, 3, 2];
    let q = n.named("turn", Transpose { perm: perm.clone() }, &[parts[0]]);
    let scores = n.named("scores", MatMul::default(), &[q, parts[1]]);
    let softmax = Softmax { axis: 3, coerced: vec![] };
    let weights = n.named("softmax", softmax, &[scores]);
    let weights = n.named("turn", Transpose { perm }, &[weights]);
    let mixed = n.named("mixed", MatMul::default(), &[parts[2], weights]);
    let mixed = reshape(n, mixed, &[1, c, SIDE, SIDE]);
    let v = reshape(n, parts[2], &[1, c, SIDE, SIDE]);
    let position = conv(n, "position", v, [c, c], c);
    let sum = n.named("add", BinaryKind::Add, &[mixed, position]);
    conv(n, "proj", sum, [c, c], 1)
}

/// YOLO11's C2PSA: half of the channels go through attention and a feed-forward pair, both with a shortcut.
fn c2psa(n: &mut Net, x: ValueId, heads: usize) -> ValueId {
    let c = heads * 4;
    let x = block(n, "first", x, [3, 2 * c]);
    let halves = split(n, x, 1, &[c, c]);
    let y = attention(n, halves[1], heads);
    let y = n.named("add", BinaryKind::Add, &[halves[1], y]);
    let wide = block(n, "wide", y, [c, 2 * c]);
    let narrow = conv(n, "narrow", wide, [2 * c, c], 1);
    let y = n.named("add", BinaryKind::Add, &[y, narrow]);
    let y = n.named("concat", Concat { axis: 1 }, &[halves[0], y]);
    let y = block(n, "last", y, [2 * c, 6]);
    conv(n, "out", y, [6, 4], 1)
}

/// Squeeze and excitation, and a linear layer on the pooled result.
fn excited(n: &mut Net, x: ValueId, heads: usize) -> ValueId {
    let c = 4 * heads;
    let x = block(n, "first", x, [3, c]);
    let mean = |axes: Vec<usize>, keepdims| Reduce { kind: ReduceKind::Mean, axes, keepdims };
    let gate = n.named("pool", mean(vec![2, 3], true), &[x]);
    let gate = block(n, "squeeze", gate, [c, 3]);
    let gate = conv(n, "excite", gate, [3, c], 1);
    let gate = n.named("sigmoid", UnaryKind::Sigmoid, &[gate]);
    let x = n.named("mul", BinaryKind::Mul, &[x, gate]);
    let x = n.named("pool", mean(vec![2, 3], false), &[x]);
    let gemm = Gemm { alpha: 1.0, beta: 1.0, trans_a: false, trans_b: true, is_weighted: true };
    let (w, b) = (n.parameter("parameter", &[5, c], 1.0), n.parameter("parameter", &[5], 1.0));
    let x = n.named("hidden", gemm, &[x, w, b]);
    let x = n.named("relu", UnaryKind::Relu, &[x]);
    let (w, b) = (n.parameter("parameter", &[4, 5], 1.0), n.parameter("parameter", &[4], 1.0));
    n.named("linear", gemm, &[x, w, b])
}

type Block = fn(&mut Net, ValueId, usize) -> ValueId;

fn build(block: Block, heads: usize) -> Graph {
    let mut graph = Graph::new(17);
    let mut n = Net::new(&graph);
    let x = n.input(&[1, 3, SIDE, SIDE]);
    let out = block(&mut n, x, heads);
    n.edit.output(out);
    graph.apply(n.edit).expect("the net is well formed");
    graph
}

/// Some channels of some groups, never all of one.
fn random_plan(graph: &Graph, groups: &Groups, random: &mut Rng) -> PrunePlan {
    let some = |g: &prune::DependencyGroup| {
        let all = 0..g.width();
        let mut gone: Vec<usize> = all.filter(|_| random.next_u64().is_multiple_of(3)).collect();
        gone.truncate(g.width() - 1);
        (g.name.clone(), gone)
    };
    PrunePlan::new(graph, groups, groups.prunable().map(some).collect()).unwrap()
}

#[test]
fn apply_around_attention_and_excitation_equals_zeroed_consumer_columns() {
    let blocks: [(&str, Block); 2] = [("c2psa", c2psa), ("excited", excited)];
    for (name, block) in blocks {
        for heads in 1..4 {
            let graph = build(block, heads);
            let groups = analyse(&graph).unwrap();
            for seed in 0..6 {
                let plan = random_plan(&graph, &groups, &mut Rng::new(seed));
                let pruned = apply(&graph, &groups, &plan).unwrap();
                let input = [tensor(&[1, 3, SIDE, SIDE], seed + 9, 1.0)];
                let zeroed = with_zero_columns(&graph, &groups, &plan);
                assert_close(
                    &interpreter::run(&pruned, &input).unwrap(),
                    &interpreter::run(&zeroed, &input).unwrap(),
                    &format!("{name}, {heads} heads, seed {seed}"),
                );
            }
        }
    }
}

#[test]
fn analyse_of_attention_freezes_its_heads_and_leaves_what_is_around_them() {
    let graph = build(c2psa, 2);
    let groups = analyse(&graph).unwrap();
    let named = |kind: &str| groups.groups.iter().find(|g| g.name.starts_with(kind));
    for kind in ["qkv", "position", "out"] {
        let frozen = named(kind).is_none_or(|g| !g.is_prunable());
        assert!(frozen, "{kind}");
    }
    for kind in ["wide", "last", "first"] {
        assert!(named(kind).is_some_and(|g| g.is_prunable()), "{kind}");
    }
    let reason = named("qkv").and_then(|g| g.frozen.as_ref()).unwrap();
    assert!(reason.to_string().contains("fixed meaning"), "{reason}");
    // The attention's result joins the shortcut around it.
    let halves: Vec<_> = groups.prunable().filter(|g| g.name.starts_with("first")).collect();
    assert_eq!(halves.iter().map(|g| g.width()).collect::<Vec<_>>(), [8, 8]);
    let names = |g: &prune::DependencyGroup| {
        g.roots.iter().map(|r| graph.node(r.node).name.clone()).collect::<Vec<_>>()
    };
    assert!(names(halves[1]).iter().any(|n| n.starts_with("proj")));
}
