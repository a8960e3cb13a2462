//! Attention between convolutions (C2PSA), squeeze and excitation, and linear layers: what passes through them is pruned,
//! what has a meaning inside them stays.
mod close;
mod dense;

use close::assert_close;
use dense::with_zero_columns;
use ir::ops::{
    BinaryKind, Concat, Conv, Gemm, MatMul, Reduce, ReduceKind, Reshape, Softmax, Split, Transpose,
    UnaryKind,
};
use ir::{DataType, Edit, Graph, Op, Tensor, TensorType, ValueId, interpreter};
use prune::{Groups, PrunePlan, analyse, apply};

/// A linear congruential generator: the same numbers on every machine.
struct Seeded(u64);

impl Seeded {
    fn next(&mut self) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        self.0 >> 33
    }

    fn tensor(&mut self, shape: &[usize]) -> Tensor {
        let n = shape.iter().product();
        let number = |_| (self.next() % 2001) as f32 / 2000.0 - 0.5;
        Tensor::new(shape, (0..n).map(number).collect())
            .expect("as many numbers as the shape holds")
    }
}

struct Net {
    edit: Edit,
    random: Seeded,
    count: usize,
}

const SIDE: usize = 4;

impl Net {
    fn op(&mut self, kind: &str, op: impl Into<Op>, inputs: &[ValueId]) -> ValueId {
        self.count += 1;
        let name = format!("{kind}{}", self.count);
        self.edit.node(&name, op, inputs, &[&format!("{name}.out")])[0]
    }

    fn parameter(&mut self, shape: &[usize]) -> ValueId {
        let tensor = self.random.tensor(shape);
        self.edit.constant("parameter", tensor)
    }

    fn conv(&mut self, kind: &str, x: ValueId, [from, to]: [usize; 2], group: usize) -> ValueId {
        let kernel = if group > 1 { 3 } else { 1 };
        let w = self.parameter(&[to, from / group, kernel, kernel]);
        let b = self.parameter(&[to]);
        let conv = Conv {
            kernel_shape: [kernel; 2],
            strides: [1; 2],
            dilations: [1; 2],
            pads: [kernel / 2; 4],
            group,
        };
        self.op(kind, conv, &[x, w, b])
    }

    fn block(&mut self, kind: &str, x: ValueId, channels: [usize; 2]) -> ValueId {
        let y = self.conv(kind, x, channels, 1);
        self.op("silu", UnaryKind::Silu, &[y])
    }

    fn reshape(&mut self, x: ValueId, shape: &[usize]) -> ValueId {
        let shape = shape.to_vec();
        self.op("reshape", Reshape { shape }, &[x])
    }

    fn split(&mut self, x: ValueId, axis: usize, sizes: &[usize]) -> Vec<ValueId> {
        let names: Vec<String> = (0..sizes.len())
            .map(|i| format!("part{}_{i}", self.count))
            .collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let sizes = sizes.to_vec();
        self.edit.node("split", Split { axis, sizes }, &[x], &names)
    }

    /// Attention over positions with `heads` heads of values of 4 and keys of 2 numbers, and its positional convolution.
    fn attention(&mut self, x: ValueId, heads: usize) -> ValueId {
        let (c, n) = (heads * 4, SIDE * SIDE);
        let qkv = self.conv("qkv", x, [c, heads * 8], 1);
        let qkv = self.reshape(qkv, &[1, heads, 8, n]);
        let parts = self.split(qkv, 2, &[2, 2, 4]);
        let perm = vec![0, 1, 3, 2];
        let q = self.op("turn", Transpose { perm: perm.clone() }, &[parts[0]]);
        let scores = self.op("scores", MatMul::default(), &[q, parts[1]]);
        let softmax = Softmax {
            axis: 3,
            coerced: vec![],
        };
        let weights = self.op("softmax", softmax, &[scores]);
        let weights = self.op("turn", Transpose { perm }, &[weights]);
        let mixed = self.op("mixed", MatMul::default(), &[parts[2], weights]);
        let mixed = self.reshape(mixed, &[1, c, SIDE, SIDE]);
        let v = self.reshape(parts[2], &[1, c, SIDE, SIDE]);
        let position = self.conv("position", v, [c, c], c);
        let sum = self.op("add", BinaryKind::Add, &[mixed, position]);
        self.conv("proj", sum, [c, c], 1)
    }
}

/// YOLO11's C2PSA: half of the channels go through attention and a feed-forward pair, both with a shortcut.
fn c2psa(n: &mut Net, x: ValueId, heads: usize) -> ValueId {
    let c = heads * 4;
    let x = n.block("first", x, [3, 2 * c]);
    let halves = n.split(x, 1, &[c, c]);
    let y = n.attention(halves[1], heads);
    let y = n.op("add", BinaryKind::Add, &[halves[1], y]);
    let wide = n.block("wide", y, [c, 2 * c]);
    let narrow = n.conv("narrow", wide, [2 * c, c], 1);
    let y = n.op("add", BinaryKind::Add, &[y, narrow]);
    let y = n.op("concat", Concat { axis: 1 }, &[halves[0], y]);
    let y = n.block("last", y, [2 * c, 6]);
    n.conv("out", y, [6, 4], 1)
}

/// Squeeze and excitation, and a linear layer on the pooled result.
fn excited(n: &mut Net, x: ValueId, heads: usize) -> ValueId {
    let c = 4 * heads;
    let x = n.block("first", x, [3, c]);
    let mean = |axes: Vec<usize>, keepdims| Reduce {
        kind: ReduceKind::Mean,
        axes,
        keepdims,
    };
    let gate = n.op("pool", mean(vec![2, 3], true), &[x]);
    let gate = n.block("squeeze", gate, [c, 3]);
    let gate = n.conv("excite", gate, [3, c], 1);
    let gate = n.op("sigmoid", UnaryKind::Sigmoid, &[gate]);
    let x = n.op("mul", BinaryKind::Mul, &[x, gate]);
    let x = n.op("pool", mean(vec![2, 3], false), &[x]);
    let gemm = Gemm {
        alpha: 1.0,
        beta: 1.0,
        trans_a: false,
        trans_b: true,
        is_weighted: true,
    };
    let (w, b) = (n.parameter(&[5, c]), n.parameter(&[5]));
    let x = n.op("hidden", gemm, &[x, w, b]);
    let x = n.op("relu", UnaryKind::Relu, &[x]);
    let (w, b) = (n.parameter(&[4, 5]), n.parameter(&[4]));
    n.op("linear", gemm, &[x, w, b])
}

type Block = fn(&mut Net, ValueId, usize) -> ValueId;

fn build(block: Block, heads: usize) -> Graph {
    let mut graph = Graph::new(17);
    let mut n = Net {
        edit: graph.edit(),
        random: Seeded(7 + heads as u64),
        count: 0,
    };
    let ty = TensorType::new(DataType::F32, [1, 3, SIDE, SIDE]);
    let x = n.edit.input("images", ty);
    let out = block(&mut n, x, heads);
    n.edit.output(out);
    graph.apply(n.edit).expect("the net is well formed");
    graph
}

/// Some channels of some groups, never all of one.
fn random_plan(graph: &Graph, groups: &Groups, random: &mut Seeded) -> PrunePlan {
    let some = |g: &prune::DependencyGroup| {
        let all = 0..g.width();
        let mut gone: Vec<usize> = all.filter(|_| random.next().is_multiple_of(3)).collect();
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
                let plan = random_plan(&graph, &groups, &mut Seeded(seed));
                let pruned = apply(&graph, &groups, &plan).unwrap();
                let input = [Seeded(seed + 9).tensor(&[1, 3, SIDE, SIDE])];
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
    let halves: Vec<_> = groups
        .prunable()
        .filter(|g| g.name.starts_with("first"))
        .collect();
    assert_eq!(halves.iter().map(|g| g.width()).collect::<Vec<_>>(), [8, 8]);
    let names = |g: &prune::DependencyGroup| {
        g.roots
            .iter()
            .map(|r| graph.node(r.node).name.clone())
            .collect::<Vec<_>>()
    };
    assert!(names(halves[1]).iter().any(|n| n.starts_with("proj")));
}
