//! `Plan` and `Session` against the reference interpreter.
use ir::ops::{
    AveragePool, BatchNormalization, BinaryKind, CoordinateMode, DequantizeLinear, Extent,
    NearestMode, PRelu, QuantizeLinear, Reshape, Resize, ResizeMode, Slice, SliceRange, Softmax,
    Split, Transpose, UnaryKind,
};
use ir::{DataType, Graph, QuantParams, Tensor, ValueId, interpreter};
use kernels::Isa;
use runtime::{Plan, PlanOptions, RuntimeError, Session};
use std::collections::BTreeMap;
use std::sync::Arc;
use testkit::net::{Net, image, numbers};

fn residual(net: &mut Net) -> Vec<ValueId> {
    let x = net.input(&[1, 5, 9, 11]);
    let x = net.conv(x, [5, 16, 3, 1], 1);
    let gate = net.op(UnaryKind::Sigmoid, &[x]);
    let x = net.op(BinaryKind::Mul, &[x, gate]);
    let y = net.bottleneck(x, 16);
    let y = net.bottleneck(y, 16);
    vec![net.conv(y, [16, 7, 3, 2], 1)]
}

fn c2f(net: &mut Net) -> Vec<ValueId> {
    let x = net.input(&[1, 8, 10, 10]);
    let y = net.conv_silu(x, [8, 32, 1, 1]);
    let split = Split { axis: 1, sizes: vec![16, 16] };
    let halves = net.many(split, &[y], 2);
    let a = net.bottleneck(halves[1], 16);
    let b = net.bottleneck(a, 16);
    let y = net.concat(1, &[halves[0], halves[1], a, b]);
    vec![net.conv_silu(y, [64, 24, 1, 1])]
}

fn c3(net: &mut Net) -> Vec<ValueId> {
    let x = net.input(&[1, 8, 7, 6]);
    let a = net.conv_silu(x, [8, 16, 1, 1]);
    let a = net.bottleneck(a, 16);
    let b = net.conv_silu(x, [8, 16, 1, 1]);
    let y = net.concat(1, &[a, b]);
    vec![net.conv_silu(y, [32, 32, 3, 1])]
}

fn sppf(net: &mut Net) -> Vec<ValueId> {
    let x = net.input(&[1, 4, 8, 8]);
    let x = net.conv_silu(x, [4, 16, 1, 1]);
    let a = net.pool(x, 5);
    let b = net.pool(a, 5);
    let c = net.pool(b, 5);
    let y = net.concat(1, &[x, a, b, c]);
    vec![net.conv_silu(y, [64, 20, 1, 1])]
}

fn focus(net: &mut Net) -> Vec<ValueId> {
    let x = net.input(&[1, 3, 8, 12]);
    let mut parts = Vec::new();
    for (top, left) in [(0, 0), (1, 0), (0, 1), (1, 1)] {
        let range = |axis, start, len| SliceRange { axis, start, len, step: 2 };
        let rows = Slice { ranges: vec![range(2, top, 4)] };
        let columns = Slice { ranges: vec![range(3, left, 6)] };
        let y = net.op(rows, &[x]);
        parts.push(net.op(columns, &[y]));
    }
    let y = net.concat(1, &parts);
    vec![net.conv_silu(y, [12, 16, 3, 1])]
}

fn quantized(net: &mut Net) -> Vec<ValueId> {
    let x = net.input(&[1, 3, 8, 8]);
    let x = net.qdq(x, 0.01, 128);
    let y = net.conv_silu(x, [3, 16, 3, 1]);
    let y = net.qdq(y, 0.03, 20);
    let z = net.conv_silu(y, [16, 16, 3, 1]);
    let z = net.qdq(z, 0.03, 20);
    let s = net.op(BinaryKind::Add, &[y, z]);
    vec![net.qdq(s, 0.05, 30)]
}

fn neck(net: &mut Net) -> Vec<ValueId> {
    let x = net.input(&[1, 4, 8, 8]);
    let small = net.conv_silu(x, [4, 16, 3, 2]);
    let resize = Resize {
        mode: ResizeMode::Nearest(NearestMode::Floor),
        coordinate_mode: CoordinateMode::Asymmetric,
        extent: Extent::Scales([2.0, 2.0]),
    };
    let up = net.op(resize, &[small]);
    let side = net.conv_silu(x, [4, 8, 1, 1]);
    let y = net.concat(1, &[up, side]);
    let y = net.conv_silu(y, [24, 16, 3, 1]);
    vec![y, small]
}

fn distribution(net: &mut Net) -> Vec<ValueId> {
    let x = net.input(&[1, 6, 4, 4]);
    let fine = net.conv(x, [6, 64, 3, 1], 1);
    let coarse = net.conv(x, [6, 64, 3, 2], 1);
    let flat = |n: usize| Reshape { shape: vec![1, 64, n] };
    let fine = net.op(flat(16), &[fine]);
    let coarse = net.op(flat(4), &[coarse]);
    let y = net.concat(2, &[fine, coarse]);
    let y = net.op(Reshape { shape: vec![1, 4, 16, 20] }, &[y]);
    let y = net.op(Transpose { perm: vec![0, 2, 1, 3] }, &[y]);
    let y = net.op(Softmax { axis: 1, coerced: vec![] }, &[y]);
    let y = net.conv(y, [16, 1, 1, 1], 1);
    let y = net.op(Reshape { shape: vec![1, 4, 20] }, &[y]);
    let half = |start| Slice { ranges: vec![SliceRange { axis: 1, start, len: 2, step: 1 }] };
    let (a, b) = (net.op(half(0), &[y]), net.op(half(2), &[y]));
    let anchors = net.parameter("parameter", &[1, 2, 20], 4.0);
    let low = net.op(BinaryKind::Sub, &[anchors, a]);
    let high = net.op(BinaryKind::Add, &[anchors, b]);
    let y = net.concat(1, &[low, high]);
    let strides = net.parameter("parameter", &[1, 20], 2.0);
    vec![net.op(BinaryKind::Mul, &[y, strides])]
}

fn anchors(net: &mut Net) -> Vec<ValueId> {
    let x = net.input(&[1, 4, 6, 6]);
    let mut flat = Vec::new();
    for (stride, size) in [(1, 6), (2, 3)] {
        let y = net.conv(x, [4, 21, 3, stride], 1);
        let shape = vec![1, 3, 7, size, size];
        let y = net.op(Reshape { shape }, &[y]);
        let perm = vec![0, 1, 3, 4, 2];
        let y = net.op(Transpose { perm }, &[y]);
        let y = net.op(UnaryKind::Sigmoid, &[y]);
        let sizes = vec![2, 2, 3];
        let parts = net.many(Split { axis: 4, sizes }, &[y], 3);
        let scale = net.parameter("parameter", &[], 8.0);
        let grid = net.parameter("parameter", &[1, 3, size, size, 2], 2.0);
        let xy = net.op(BinaryKind::Mul, &[parts[0], scale]);
        let xy = net.op(BinaryKind::Add, &[xy, grid]);
        let wh = net.op(BinaryKind::Mul, &[parts[1], grid]);
        let y = net.concat(4, &[xy, wh, parts[2]]);
        let shape = vec![1, 3 * size * size, 7];
        flat.push(net.op(Reshape { shape }, &[y]));
    }
    vec![net.concat(1, &flat)]
}

fn depthwise(net: &mut Net) -> Vec<ValueId> {
    let x = net.input(&[1, 19, 7, 9]);
    let y = net.conv(x, [19, 19, 5, 1], 19);
    let y = net.op(UnaryKind::LeakyRelu { alpha: 0.1 }, &[y]);
    let y = net.conv(y, [19, 19, 3, 2], 19);
    let y = net.op(UnaryKind::HardSwish, &[y]);
    vec![net.conv_silu(y, [19, 12, 1, 1])]
}

/// Rarer activations behind convolutions: all of them element-wise steps in floats.
fn rarer_activations(net: &mut Net) -> Vec<ValueId> {
    let x = net.input(&[1, 5, 6, 7]);
    let mut y = net.conv(x, [5, 12, 3, 1], 1);
    for kind in [
        UnaryKind::Mish,
        UnaryKind::Gelu,
        UnaryKind::GeluTanh,
        UnaryKind::Elu { alpha: 0.7 },
        UnaryKind::Softplus,
        UnaryKind::Erf,
        UnaryKind::Softsign,
    ] {
        y = net.op(kind, &[y]);
        y = net.conv(y, [12, 12, 1, 1], 1);
    }
    let slope = net.parameter("parameter", &[12, 1, 1], 0.5);
    let y = net.op(PRelu, &[y, slope]);
    vec![net.conv(y, [12, 6, 1, 1], 1)]
}

/// Means of windows with padding that counts and padding that does not.
fn averages(net: &mut Net) -> Vec<ValueId> {
    let x = net.input(&[1, 19, 9, 7]);
    let mut parts = Vec::new();
    for (count_include_pad, ceil_mode) in [(true, false), (false, false), (false, true)] {
        let pool = AveragePool {
            kernel_shape: [3, 2],
            strides: [2, 1],
            dilations: [1, 1],
            pads: [1, 0, 1, 1],
            ceil_mode,
            count_include_pad,
        };
        parts.push(net.op(pool, &[x]));
    }
    let y = net.concat(1, &parts);
    vec![net.conv(y, [57, 6, 1, 1], 1)]
}

fn normalized(net: &mut Net) -> Vec<ValueId> {
    let x = net.input(&[1, 5, 6, 6]);
    let mut y = net.conv(x, [5, 20, 3, 1], 1);
    for _ in 0..2 {
        let mut inputs = vec![y];
        inputs.extend((0..3).map(|_| net.parameter("parameter", &[20], 1.0)));
        let spread = numbers(20, 7, 1.0).iter().map(|v| v + 1.0).collect();
        let spread = Tensor::vector::<f32>(spread);
        inputs.push(net.edit.constant("variance", spread));
        y = net.op(BatchNormalization { epsilon: 1e-3 }, &inputs);
    }
    let y = net.op(UnaryKind::Relu, &[y]);
    vec![net.conv(y, [20, 6, 1, 1], 1)]
}

struct Case {
    name: &'static str,
    build: fn(&mut Net) -> Vec<ValueId>,
}

const CASES: &[Case] = &[
    Case { name: "rarer activations", build: rarer_activations },
    Case { name: "averages", build: averages },
    Case { name: "normalized", build: normalized },
    Case { name: "residual", build: residual },
    Case { name: "c2f", build: c2f },
    Case { name: "c3", build: c3 },
    Case { name: "sppf", build: sppf },
    Case { name: "focus", build: focus },
    Case { name: "quantized", build: quantized },
    Case { name: "neck", build: neck },
    Case { name: "distribution", build: distribution },
    Case { name: "anchors", build: anchors },
    Case { name: "depthwise", build: depthwise },
];

fn case_named(name: &str) -> &'static Case {
    CASES.iter().find(|c| c.name == name).expect(name)
}

fn graph(case: &Case) -> Graph {
    let mut graph = Graph::new(17);
    let mut net = Net::new(&graph);
    for v in (case.build)(&mut net) {
        net.edit.output(v);
    }
    graph.apply(net.edit).expect(case.name);
    graph
}

fn session(graph: &Graph, observe: &[ValueId], isa: Isa, threads: usize) -> Session {
    let plan = Plan::compile(graph, observe, &PlanOptions { isa, ..PlanOptions::default() })
        .expect("the graph compiles");
    Session::new(&Arc::new(plan), threads).expect("memory for a small arena")
}

fn run(session: &mut Session, x: &Tensor) -> Vec<Tensor> {
    let x = x.as_slice::<f32>().expect("an f32 image");
    session.run(&[x]).expect("the plan runs")
}

fn assert_close(name: &str, found: &Tensor, expected: &Tensor, tolerance: f32) {
    assert_eq!(found.shape(), expected.shape(), "{name}");
    let (a, b) = (found.as_slice::<f32>().expect("f32"), expected.as_slice::<f32>().expect("f32"));
    let worst = a.iter().zip(b).map(|(x, y)| (x - y).abs() / y.abs().max(1.0));
    let worst = worst.fold(0.0f32, |m, d| if d.is_nan() { f32::INFINITY } else { m.max(d) });
    assert!(worst <= tolerance, "{name}: off by {worst}");
}

/// A value next to a rounding boundary may land on the neighbouring quantized value.
fn tolerance(case: &Case) -> f32 {
    if case.name == "quantized" { 0.051 } else { 1e-4 }
}

#[test]
fn run_every_case_and_isa_equals_interpreter() {
    for case in CASES {
        let graph = graph(case);
        let x = image(&graph);
        let expected = interpreter::run(&graph, std::slice::from_ref(&x)).expect(case.name);
        for isa in Isa::available() {
            let mut session = session(&graph, &[], isa, 1);
            for round in 0..2 {
                let found = run(&mut session, &x);
                for (a, b) in found.iter().zip(&expected) {
                    let name = format!("{} on {isa}, round {round}", case.name);
                    assert_close(&name, a, b, tolerance(case));
                }
            }
        }
    }
}

#[test]
fn run_two_threads_same_bits_as_one() {
    for case in CASES {
        let graph = graph(case);
        let x = image(&graph);
        for isa in Isa::available() {
            let one = run(&mut session(&graph, &[], isa, 1), &x);
            let two = run(&mut session(&graph, &[], isa, 2), &x);
            assert_eq!(one, two, "{} on {isa}", case.name);
        }
    }
}

#[test]
fn run_observed_everything_same_outputs_and_values() {
    for case in CASES {
        let graph = graph(case);
        let x = image(&graph);
        let is_real = |v: &ValueId| {
            graph.constant(*v).is_none() && graph.ty(*v).is_ok_and(|t| t.dtype == DataType::F32)
        };
        let observe: Vec<ValueId> = graph.values().map(|(v, _)| v).filter(is_real).collect();
        let plain = run(&mut session(&graph, &[], Isa::best(), 1), &x);
        let mut watching = session(&graph, &observe, Isa::best(), 1);
        let mut seen: BTreeMap<ValueId, Tensor> = BTreeMap::new();
        let data = x.as_slice::<f32>().expect("f32");
        let outputs = watching
            .run_observed(&[data], &mut |v, value| {
                let mut count = 0;
                value.for_each_run(&mut |_, run| count += run.len())?;
                let tensor = value.to_tensor()?;
                assert_eq!(count, tensor.len(), "{}: elements visited", case.name);
                assert!(seen.insert(v, tensor).is_none(), "{}: seen twice", case.name);
                Ok(())
            })
            .expect(case.name);
        for (a, b) in outputs.iter().zip(&plain) {
            assert_close(case.name, a, b, tolerance(case) * 0.1);
        }
        assert_eq!(seen.len(), observe.len(), "{}", case.name);
        let all = interpreter::run_all(&graph, &[x]).expect(case.name);
        for (v, tensor) in &seen {
            let name = format!("{}: {}", case.name, graph.value(*v).name);
            assert_close(&name, tensor, &all[v], tolerance(case));
        }
    }
}

#[test]
fn compile_c2f_block_needs_no_copies() {
    let graph = graph(case_named("c2f"));
    let plan = Plan::compile(&graph, &[], &PlanOptions::default()).expect("compiles");
    let kinds: Vec<String> = plan.steps().into_iter().map(|s| s.kind).collect();
    assert!(kinds.iter().all(|k| k.starts_with("Conv") || k == "FillHalo"), "{kinds:?}");
    assert_eq!(kinds.iter().filter(|k| k.contains("Add")).count(), 2, "{kinds:?}");
}

#[test]
fn compile_two_dequantizers_of_one_value_share_the_epilogue() {
    let mut graph = Graph::new(17);
    let mut net = Net::new(&graph);
    let x = net.input(&[1, 3, 5, 5]);
    let y = net.conv_silu(x, [3, 8, 3, 1]);
    let params = QuantParams::per_tensor(0.02, 15, DataType::U8).expect("valid parameters");
    let quantize = QuantizeLinear { params: params.clone() };
    let q = net.op(quantize, &[y]);
    for outputs in [4, 6] {
        let dequantize = DequantizeLinear { params: params.clone() };
        let y = net.op(dequantize, &[q]);
        let y = net.conv(y, [8, outputs, 1, 1], 1);
        net.edit.output(y);
    }
    graph.apply(net.edit).expect("a valid graph");
    let options = PlanOptions { integer: false, ..PlanOptions::default() };
    let plan = Plan::compile(&graph, &[], &options).expect("compiles");
    let kinds: Vec<String> = plan.steps().into_iter().map(|s| s.kind).collect();
    let convs: Vec<&String> = kinds.iter().filter(|k| *k != "FillHalo").collect();
    assert_eq!(convs, ["Conv + activation + QDQ", "Conv", "Conv"]);
    let x = image(&graph);
    let expected = interpreter::run(&graph, std::slice::from_ref(&x)).expect("runs");
    let found = run(&mut session(&graph, &[], Isa::best(), 1), &x);
    for (a, b) in found.iter().zip(&expected) {
        assert_close("two dequantizers", a, b, 0.05);
    }
}

#[test]
fn run_per_channel_activation_equals_interpreter() {
    let mut graph = Graph::new(17);
    let mut net = Net::new(&graph);
    let x = net.input(&[1, 2, 2, 2]);
    let params = QuantParams::per_channel(1, vec![0.1, 0.02], vec![0, 100], DataType::U8)
        .expect("valid parameters");
    let quantize = QuantizeLinear { params: params.clone() };
    let q = net.op(quantize, &[x]);
    let y = net.op(DequantizeLinear { params }, &[q]);
    net.edit.output(y);
    graph.apply(net.edit).expect("a valid graph");
    let x = image(&graph);
    let expected = interpreter::run(&graph, std::slice::from_ref(&x)).expect("runs");
    let found = run(&mut session(&graph, &[], Isa::best(), 1), &x);
    assert_close("grids of channels", &found[0], &expected[0], 1e-6);
}

#[test]
fn run_wrong_inputs_are_errors() {
    let graph = graph(case_named("residual"));
    let mut session = session(&graph, &[], Isa::best(), 1);
    let count = session.run(&[]).err();
    assert_eq!(count, Some(RuntimeError::InputCount { expected: 1, found: 0 }));
    let length = session.run(&[&[0.0; 3]]).err();
    assert_eq!(
        length,
        Some(RuntimeError::InputLength { input: "images".into(), expected: 495, found: 3 })
    );
}

/// Functions of one value have a form in f32 and one on quantized values, whether or not there is a kernel of theirs.
#[test]
fn run_of_every_function_equals_interpreter_and_imitated_quantization() {
    for kind in UnaryKind::all() {
        let name = kind.name();
        let mut graph = Graph::new(17);
        let mut net = Net::new(&graph);
        let x = net.input(&[1, 3, 5, 7]);
        let absolute = net.op(UnaryKind::Abs, &[x]);
        let y = net.op(kind, &[absolute]);
        let quantized = net.qdq(absolute, 0.02, 3);
        let z = net.op(kind, &[quantized]);
        let z = net.qdq(z, 0.03, 100);
        net.edit.output(y);
        net.edit.output(z);
        graph.apply(net.edit).expect("a valid graph");
        let x = image(&graph);
        let expected = interpreter::run(&graph, std::slice::from_ref(&x)).expect("it runs");
        let mut session = session(&graph, &[], Isa::best(), 1);
        let kinds: Vec<String> = session.plan().steps().into_iter().map(|s| s.kind).collect();
        assert!(!kinds.iter().any(|kind| kind.starts_with("Reference")), "{name}: {kinds:?}");
        assert!(kinds.iter().any(|kind| kind == "QTable"), "{name}: {kinds:?}");
        let found = run(&mut session, &x);
        assert_close(name, &found[0], &expected[0], 2e-5);
        assert_close(name, &found[1], &expected[1], 0.0301);
    }
}
