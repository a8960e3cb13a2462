//! Quantized graphs on integers: the same bits everywhere, and what imitated quantization gives.
use ir::ops::{
    BinaryKind, CoordinateMode, Extent, NearestMode, Reshape, Resize, ResizeMode, Slice,
    SliceRange, Split, Transpose, UnaryKind,
};
use ir::{DataType, Graph, Tensor, ValueId};
use kernels::Isa;
use runtime::{Plan, PlanOptions, Session};
use std::sync::Arc;
use testkit::net::{Net, image};

fn input(net: &mut Net, shape: &[usize]) -> ValueId {
    let x = net.input(shape);
    net.qdq(x, 4.0 / 255.0, 128)
}

fn plain(net: &mut Net) -> Vec<ValueId> {
    let x = input(net, &[1, 3, 9, 11]);
    let y = net.block(x, [3, 16, 3, 2], 0.01, 28);
    vec![y]
}

fn activations(net: &mut Net) -> Vec<ValueId> {
    let mut x = input(net, &[1, 3, 9, 11]);
    let mut channels = 3;
    for kind in [
        UnaryKind::Relu,
        UnaryKind::LeakyRelu { alpha: 0.1 },
        UnaryKind::HardSwish,
        UnaryKind::Sigmoid,
        UnaryKind::Clip { min: 0.0, max: 0.5 },
        UnaryKind::Tanh,
    ] {
        let y = net.quantized_conv(x, [channels, 8, 1, 1], 1);
        let y = net.op(kind, &[y]);
        x = net.qdq(y, 0.01, 60);
        channels = 8;
    }
    vec![x]
}

fn residual(net: &mut Net) -> Vec<ValueId> {
    let x = input(net, &[1, 5, 9, 11]);
    let x = net.block(x, [5, 16, 3, 1], 0.012, 30);
    let y = net.block(x, [16, 16, 3, 1], 0.011, 28);
    let y = net.quantized_conv(y, [16, 16, 3, 1], 1);
    let y = net.op(UnaryKind::Silu, &[y]);
    let y = net.op(BinaryKind::Add, &[x, y]);
    vec![net.qdq(y, 0.02, 40)]
}

fn gated_residual(net: &mut Net) -> Vec<ValueId> {
    let x = input(net, &[1, 5, 9, 11]);
    let x = net.gated_block(x, [5, 16, 3, 1], 0.012, 30);
    let y = net.gated_block(x, [16, 16, 3, 1], 0.011, 28);
    let y = net.op(BinaryKind::Add, &[x, y]);
    vec![net.qdq(y, 0.02, 40)]
}

fn c2f(net: &mut Net) -> Vec<ValueId> {
    let x = input(net, &[1, 8, 10, 10]);
    let y = net.block(x, [8, 32, 1, 1], 0.012, 30);
    let split = Split { axis: 1, sizes: vec![16, 16] };
    let halves = net.many(split, &[y], 2);
    let a = net.block(halves[1], [16, 16, 3, 1], 0.011, 28);
    let b = net.block(a, [16, 16, 3, 1], 0.014, 25);
    let y = net.concat(1, &[halves[0], halves[1], a, b]);
    let y = net.qdq(y, 0.013, 27);
    let y = net.quantized_conv(y, [64, 24, 1, 1], 1);
    vec![y]
}

fn sppf(net: &mut Net) -> Vec<ValueId> {
    let x = input(net, &[1, 4, 8, 8]);
    let x = net.block(x, [4, 16, 1, 1], 0.012, 30);
    let a = net.pool(x, 5);
    let b = net.pool(a, 5);
    let y = net.concat(1, &[x, a, b]);
    vec![net.block(y, [48, 20, 1, 1], 0.012, 30)]
}

fn neck(net: &mut Net) -> Vec<ValueId> {
    let x = input(net, &[1, 4, 8, 8]);
    let small = net.block(x, [4, 16, 3, 2], 0.012, 30);
    let resize = Resize {
        mode: ResizeMode::Nearest(NearestMode::Floor),
        coordinate_mode: CoordinateMode::Asymmetric,
        extent: Extent::Scales([2.0, 2.0]),
    };
    let up = net.op(resize, &[small]);
    let side = net.block(x, [4, 8, 1, 1], 0.012, 30);
    let y = net.concat(1, &[up, side]);
    let y = net.block(y, [24, 16, 3, 1], 0.012, 30);
    vec![y, small]
}

fn depthwise(net: &mut Net) -> Vec<ValueId> {
    let x = net.input(&[1, 19, 7, 9]);
    let x = net.qdq_as(DataType::I8, x, 4.0 / 255.0, -3);
    let y = net.quantized_conv(x, [19, 19, 5, 1], 19);
    let y = net.op(UnaryKind::LeakyRelu { alpha: 0.1 }, &[y]);
    let y = net.qdq_as(DataType::I8, y, 0.01, -90);
    let y = net.quantized_conv(y, [19, 19, 3, 2], 19);
    let y = net.op(UnaryKind::HardSwish, &[y]);
    let y = net.qdq_as(DataType::I8, y, 0.01, -90);
    vec![net.block(y, [19, 12, 1, 1], 0.012, 30)]
}

fn focus(net: &mut Net) -> Vec<ValueId> {
    let x = input(net, &[1, 3, 8, 12]);
    let range = |axis, start, len| SliceRange { axis, start, len, step: 2 };
    let mut parts = Vec::new();
    for (top, left) in [(0, 0), (1, 0), (0, 1), (1, 1)] {
        let ranges = vec![range(2, top, 4), range(3, left, 6)];
        parts.push(net.op(Slice { ranges }, &[x]));
    }
    let y = net.concat(1, &parts);
    vec![net.block(y, [12, 16, 3, 1], 0.012, 30)]
}

fn head(net: &mut Net) -> Vec<ValueId> {
    let x = input(net, &[1, 6, 4, 4]);
    let mut flat = Vec::new();
    for (stride, cells) in [(1, 16), (2, 4)] {
        let boxes = net.quantized_conv(x, [6, 12, 3, stride], 1);
        let classes = net.quantized_conv(x, [6, 5, 1, stride], 1);
        let y = net.concat(1, &[boxes, classes]);
        let shape = vec![1, 17, cells];
        flat.push(net.op(Reshape { shape }, &[y]));
    }
    let y = net.concat(2, &flat);
    let y = net.op(UnaryKind::Sigmoid, &[y]);
    vec![net.op(Transpose { perm: vec![0, 2, 1] }, &[y])]
}

fn float_islands(net: &mut Net) -> Vec<ValueId> {
    let x = input(net, &[1, 6, 5, 5]);
    let a = net.block(x, [6, 8, 1, 1], 0.012, 30);
    // A float convolution between quantized values, a constant that is not a scalar, and an addition of quantized values.
    let b = net.conv(a, [8, 8, 3, 1], 1);
    let b = net.qdq(b, 0.02, 120);
    let scale = net.parameter("parameter", &[1, 8, 1, 1], 2.0);
    let c = net.op(BinaryKind::Mul, &[b, scale]);
    let c = net.qdq(c, 0.02, 120);
    let d = net.op(BinaryKind::Add, &[b, c]);
    let d = net.qdq(d, 0.04, 120);
    let mixed = net.conv(d, [8, 4, 1, 1], 1);
    let y = net.concat(1, &[d, mixed, a]);
    vec![net.qdq(y, 0.04, 110)]
}

fn attention(net: &mut Net) -> Vec<ValueId> {
    let x = input(net, &[1, 8, 4, 5]);
    let qkv = net.block(x, [8, 24, 1, 1], 0.012, 30);
    let shape = vec![1, 2, 12, 20];
    let qkv = net.op(Reshape { shape }, &[qkv]);
    let split = Split { axis: 2, sizes: vec![4, 4, 4] };
    let parts = net.many(split, &[qkv], 3);
    let perm = vec![0, 1, 3, 2];
    let q = net.op(Transpose { perm: perm.clone() }, &[parts[0]]);
    let scores = net.op(ir::ops::MatMul { is_weighted: false }, &[q, parts[1]]);
    let scores = net.qdq(scores, 0.05, 100);
    let scores = net.op(ir::ops::Softmax { axis: 3, coerced: vec![] }, &[scores]);
    let scores = net.qdq(scores, 1.0 / 255.0, 0);
    let scores = net.op(Transpose { perm }, &[scores]);
    vec![net.op(ir::ops::MatMul { is_weighted: false }, &[parts[2], scores])]
}

struct Case {
    name: &'static str,
    build: fn(&mut Net) -> Vec<ValueId>,
    /// What the outputs may be off by: steps of their quantized values, or for outputs in f32 of quantized values inside.
    tolerance: f32,
    /// Kinds of steps that must not run.
    forbidden: &'static [&'static str],
}

const FLOAT: &[&str] =
    &["Quantize", "Dequantize", "Conv", "Binary", "Unary", "FakeQuantize", "QBinary"];

const CASES: &[Case] = &[
    Case {
        name: "plain",
        build: plain,
        tolerance: 0.0101,
        forbidden: &["Quantize", "Conv", "Unary", "FakeQuantize"],
    },
    Case { name: "activations", build: activations, tolerance: 0.021, forbidden: &[] },
    Case {
        name: "residual",
        build: residual,
        tolerance: 0.021,
        forbidden: &["Quantize", "Conv", "QBinary"],
    },
    Case {
        name: "gated_residual",
        build: gated_residual,
        tolerance: 0.041,
        forbidden: &["Quantize", "Conv", "QBinary", "QTable"],
    },
    Case { name: "c2f", build: c2f, tolerance: 0.04, forbidden: FLOAT },
    Case { name: "sppf", build: sppf, tolerance: 0.025, forbidden: &["Quantize", "Conv", "QCopy"] },
    Case {
        name: "neck",
        build: neck,
        tolerance: 0.025,
        forbidden: &["Quantize", "Conv", "QCopy", "QTable"],
    },
    Case {
        name: "depthwise",
        build: depthwise,
        tolerance: 0.025,
        forbidden: &["Quantize", "Conv"],
    },
    Case {
        name: "focus",
        build: focus,
        tolerance: 0.0121,
        forbidden: &["Quantize", "Conv", "QCopy"],
    },
    Case {
        name: "head",
        build: head,
        tolerance: 1e-4,
        forbidden: &["Quantize", "Conv", "Dequantize"],
    },
    Case {
        name: "attention",
        build: attention,
        tolerance: 0.02,
        forbidden: &["Conv", "MatMul", "Reference MatMul"],
    },
    Case { name: "float_islands", build: float_islands, tolerance: 0.081, forbidden: &[] },
];

fn graph(case: &Case) -> Graph {
    let mut graph = Graph::new(17);
    let mut net = Net::new(&graph);
    for v in (case.build)(&mut net) {
        net.edit.output(v);
    }
    graph.apply(net.edit).expect(case.name);
    graph
}

fn plan(graph: &Graph, options: &PlanOptions) -> Arc<Plan> {
    Arc::new(Plan::compile(graph, &[], options).expect("the graph compiles"))
}

fn run(plan: &Arc<Plan>, threads: usize, x: &Tensor) -> Vec<Tensor> {
    let mut session = Session::new(plan, threads).expect("memory for a small arena");
    let x = x.as_slice::<f32>().expect("an f32 image");
    session.run(&[x]).expect("the plan runs");
    session.run(&[x]).expect("the plan runs again")
}

fn worst(a: &Tensor, b: &Tensor) -> f32 {
    let (a, b) = (a.as_slice::<f32>().expect("f32"), b.as_slice::<f32>().expect("f32"));
    let off = a.iter().zip(b).map(|(x, y)| (x - y).abs());
    off.fold(0.0, |m: f32, d| if d.is_nan() { f32::INFINITY } else { m.max(d) })
}

#[test]
fn run_integers_equal_imitated_quantization_within_one_step() {
    for case in CASES {
        let graph = graph(case);
        let x = image(&graph);
        let integer = plan(&graph, &PlanOptions::default());
        let kinds: Vec<String> = integer.steps().into_iter().map(|s| s.kind).collect();
        for kind in case.forbidden {
            assert!(!kinds.iter().any(|k| k == kind), "{}: {kinds:?}", case.name);
        }
        let imitated = PlanOptions { integer: false, ..PlanOptions::default() };
        let expected = run(&plan(&graph, &imitated), 1, &x);
        let found = run(&integer, 1, &x);
        for (a, b) in found.iter().zip(&expected) {
            let off = worst(a, b);
            assert!(off <= case.tolerance, "{}: off by {off}, {kinds:?}", case.name);
        }
    }
}

#[test]
fn run_integers_same_bits_on_every_isa_and_thread_count() {
    for case in CASES {
        let graph = graph(case);
        let x = image(&graph);
        let options = |isa| PlanOptions { isa, integer: true };
        let expected = run(&plan(&graph, &options(Isa::scalar())), 1, &x);
        // What runs in f32 may differ in its last bits between instruction sets.
        let inexact = ["head", "float_islands", "activations", "attention"];
        for isa in Isa::available() {
            let plan = plan(&graph, &options(isa));
            let one = run(&plan, 1, &x);
            assert_eq!(one, run(&plan, 2, &x), "{} on {isa}", case.name);
            if !inexact.contains(&case.name) {
                assert_eq!(one, expected, "{} on {isa}", case.name);
            }
        }
    }
}

#[test]
fn run_observed_quantized_values_are_seen_as_real_values() {
    for case in CASES {
        let graph = graph(case);
        let x = image(&graph);
        let is_real = |v: &ValueId| {
            graph.constant(*v).is_none() && graph.ty(*v).is_ok_and(|t| t.dtype == DataType::F32)
        };
        let all: Vec<ValueId> = graph.values().map(|(v, _)| v).filter(is_real).collect();
        let weights = |v: &ValueId| {
            graph.producer(*v).is_some_and(|id| graph.constant(graph.node(id).inputs[0]).is_some())
        };
        let observe: Vec<ValueId> = all.into_iter().filter(|v| !weights(v)).collect();
        let plain = run(&plan(&graph, &PlanOptions::default()), 1, &x);
        let watching = Plan::compile(&graph, &observe, &PlanOptions::default()).expect(case.name);
        let mut session = Session::new(&Arc::new(watching), 1).expect("memory");
        let mut seen = 0;
        let data = x.as_slice::<f32>().expect("f32");
        let outputs = session
            .run_observed(&[data], &mut |_, value| {
                seen += 1;
                value.to_tensor().map(|_| ())
            })
            .expect(case.name);
        assert_eq!(seen, observe.len(), "{}", case.name);
        for (a, b) in outputs.iter().zip(&plain) {
            let off = worst(a, b);
            assert!(off <= case.tolerance, "{}: off by {off}", case.name);
        }
    }
}

#[test]
fn infer_u8_pixels_equal_their_real_values() {
    let mut graph = Graph::new(17);
    let mut net = Net::new(&graph);
    let x = net.input(&[1, 3, 6, 7]);
    let x = net.qdq(x, 1.0 / 255.0, 0);
    let y = net.block(x, [3, 16, 3, 2], 0.01, 28);
    net.edit.output(y);
    graph.apply(net.edit).expect("a valid graph");
    let bytes: Vec<u8> = (0..3 * 6 * 7u32).map(|i| (i * 89 % 256) as u8).collect();
    let scales = [1.0 / 255.0, 0.5 / 255.0];
    for (scale, integer) in scales.into_iter().flat_map(|s| [(s, true), (s, false)]) {
        let options = PlanOptions { integer, ..PlanOptions::default() };
        let plan = plan(&graph, &options);
        let mut planes = vec![0.0; bytes.len()];
        for (i, &byte) in bytes.iter().enumerate() {
            planes[i % 3 * 42 + i / 3] = f32::from(byte) * scale;
        }
        let mut session = Session::new(&plan, 2).expect("memory");
        let expected = session.run(&[&planes]).expect("runs");
        let found = session.infer_u8(&[&bytes], scale).expect("runs");
        let found: Result<Vec<&[f32]>, _> = found.iter().collect();
        let expected = expected[0].as_slice::<f32>().expect("f32");
        assert_eq!(found, Ok(vec![expected]), "scale {scale}, integer {integer}");
    }
}

#[test]
fn run_supplied_into_wrong_room_is_an_error() {
    let graph = graph(&CASES[0]);
    let plan = plan(&graph, &PlanOptions::default());
    let mut session = Session::new(&plan, 1).expect("memory");
    let x = image(&graph);
    let x = x.as_slice::<f32>().expect("f32");
    let none = session.run_supplied(&[x], &mut |_| vec![], &mut []).err();
    let count = runtime::RuntimeError::OutputCount { expected: 1, found: 0 };
    assert_eq!(none, Some(count));
    let mut short = [0.0; 3];
    let short = session.run_supplied(&[x], &mut |_| vec![], &mut [&mut short]).err();
    let length = runtime::RuntimeError::OutputLength { index: 0, expected: 16 * 5 * 6, found: 3 };
    assert_eq!(short, Some(length));
}

#[test]
fn infer_outputs_in_any_layout_equal_copies() {
    // An image lies channels last, so its elements are put in order; a constant and a vector lie so.
    let mut graph = Graph::new(17);
    let mut net = Net::new(&graph);
    let x = net.input(&[1, 16, 5, 6]);
    let y = net.conv_silu(x, [16, 24, 3, 1]);
    let flat = net.op(Reshape { shape: vec![1, 24 * 30] }, &[y]);
    let vector = net.op(UnaryKind::Sigmoid, &[flat]);
    net.edit.output(y);
    net.edit.output(vector);
    graph.apply(net.edit).expect("a valid graph");
    let plan = plan(&graph, &PlanOptions::default());
    let mut session = Session::new(&plan, 1).expect("memory");
    let x = image(&graph);
    let x = x.as_slice::<f32>().expect("f32");
    let copies = session.run(&[x]).expect("runs");
    let copies: Vec<&[f32]> = copies.iter().map(|t| t.as_slice().expect("f32")).collect();
    let found: Result<Vec<&[f32]>, _> = session.infer(&[x]).expect("runs").iter().collect();
    assert_eq!(found, Ok(copies));
}

#[test]
fn sessions_of_one_plan_do_not_disturb_each_other() {
    let graph = graph(&CASES[4]);
    let plan = plan(&graph, &PlanOptions::default());
    let (a, b) = (image(&graph), {
        let x = image(&graph);
        let data = x.as_slice::<f32>().expect("f32").iter().map(|v| -v).collect();
        Tensor::new(x.shape().to_vec(), data).expect("the same shape") as Tensor
    });
    let expected = [run(&plan, 1, &a), run(&plan, 1, &b)];
    std::thread::scope(|scope| {
        let mut waiting = Vec::new();
        for k in 0..2 {
            let (plan, x, expected) = (&plan, [&a, &b][k], &expected[k]);
            waiting.push(scope.spawn(move || {
                let mut session = Session::new(plan, 1).expect("memory");
                for _ in 0..20 {
                    let found = session.run(&[x.as_slice::<f32>().expect("f32")]);
                    assert_eq!(&found.expect("runs"), expected);
                }
            }));
        }
        for thread in waiting {
            thread.join().expect("the session's thread ends well");
        }
    });
}
