//! Every target's files against the rules of its engine, and what the engines that are here make of them.
#[path = "placement/engines.rs"]
mod engines;
#[path = "placement/rules.rs"]
mod rules;

use ir::ops::{Op, Split, UnaryKind};
use ir::{DataType, Graph, QuantParams, ValueId, normalise};
use onnx::{LoadOptions, load};
use quant::{QuantizationPoint, Range, Target, apply, plan, quantization_points};
use rules::{CONFORMANCE, Placed, View};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use testkit::net::Net;

const MODELS: &[&str] = &[
    "yolov5n_coco_fused_op17.onnx",
    "yolov8n_deeppcb_320_fused_op17.onnx",
    "yolox_nano_coco_416.onnx",
    "yolo26n_deeppcb_320_op17.onnx",
];

fn network(build: impl Fn(&mut Net, ValueId) -> ValueId) -> Graph {
    let mut graph = Graph::new(17);
    graph.name = "network".into();
    let mut net = Net::new(&graph);
    let x = net.input(&[1, 3, 16, 16]);
    let y = build(&mut net, x);
    net.edit.output(y);
    graph.apply(net.edit).expect("the network is valid");
    graph
}

/// A block of YOLOv8 with Split, residual and Concat, pooling as SPPF does it, and an output convolution of few channels.
fn split_block(net: &mut Net, x: ValueId) -> ValueId {
    let stem = net.conv_silu(x, [3, 16, 3, 1]);
    let y = net.conv_silu(stem, [16, 32, 3, 1]);
    let halves = net.many(Split { axis: 1, sizes: vec![16, 16] }, &[y], 2);
    let z = net.bottleneck(halves[1], 16);
    let z = net.concat(1, &[halves[0], halves[1], z]);
    let y = net.conv_silu(z, [48, 32, 1, 1]);
    let p = net.pool(y, 3);
    let q = net.pool(p, 3);
    let y = net.concat(1, &[y, p, q, stem]);
    let y = net.conv_silu(y, [112, 24, 3, 1]);
    net.conv(y, [24, 6, 1, 1], 1)
}

/// A shortcut that the Add alone reads, and an Add of two convolutions.
fn shortcuts(net: &mut Net, x: ValueId) -> ValueId {
    let a = net.conv_silu(x, [3, 16, 3, 1]);
    let b = net.conv_silu(a, [16, 16, 3, 1]);
    let p = net.pool(a, 3);
    let s = net.add(p, b);
    let y = net.conv_silu(s, [16, 16, 3, 1]);
    let (l, r) = (net.conv(y, [16, 16, 3, 1], 1), net.conv(y, [16, 16, 1, 1], 1));
    let y = net.add(l, r);
    net.conv(y, [16, 16, 1, 1], 1)
}

/// Depthwise convolutions, and activations that some engines fuse.
fn depthwise(net: &mut Net, x: ValueId) -> ValueId {
    let y = net.conv(x, [3, 16, 3, 2], 1);
    let y = net.op(UnaryKind::Relu, &[y]);
    let y = net.conv(y, [16, 16, 3, 1], 16);
    let y = net.op(UnaryKind::LeakyRelu { alpha: 0.1 }, &[y]);
    let y = net.conv_silu(y, [16, 12, 1, 1]);
    let y = net.conv_silu(y, [12, 24, 1, 1]);
    net.conv(y, [24, 16, 1, 1], 1)
}

fn small() -> Vec<(&'static str, Graph)> {
    vec![
        ("split block", network(split_block)),
        ("shortcuts", network(shortcuts)),
        ("depthwise", network(depthwise)),
    ]
}

fn real() -> Vec<(&'static str, Graph)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/assets/weights");
    if !folder.is_dir() {
        println!("skipped: placement in real models (no ../shared/assets)");
        return Vec::new();
    }
    let read = |name: &&'static str| {
        let graph = load(&folder.join(name), &LoadOptions::default()).unwrap();
        (*name, normalise(graph).unwrap().into_graph())
    };
    MODELS.iter().map(read).collect()
}

/// A graph quantized with ranges that are all different, some of them close.
fn placed(float: &Graph, target: Target) -> Placed {
    let points = quantization_points(float, target).unwrap();
    let is_relu = |v: ValueId| {
        float.producer(v).is_some_and(|id| float.node(id).op == UnaryKind::Relu.into())
    };
    let range = |(i, point): (usize, &QuantizationPoint)| {
        let lowest = if is_relu(point.range_of) { 0.0 } else { -0.2 - 0.01 * i as f32 };
        (point.range_of, Range::new(lowest, 1.0 + 0.37 * (i % 7) as f32))
    };
    let ranges: BTreeMap<_, _> = points.iter().enumerate().map(range).collect();
    let pixel = QuantParams::per_tensor(1.0 / 255.0, 0, DataType::U8).unwrap();
    let plan = plan(float, &ranges, &pixel, target, &BTreeSet::new()).unwrap();
    let graph = apply(float, &plan).unwrap();
    Placed { float: float.clone(), target, plan, graph }
}

fn rules_of(engine: &str) -> &'static [rules::Rule] {
    let row = CONFORMANCE.iter().find(|(name, _)| *name == engine);
    row.map_or_else(|| panic!("no rules are checked for engine `{engine}`"), |(_, rules)| rules)
}

fn broken(placed: &Placed, engine: &str) -> BTreeMap<&'static str, Vec<String>> {
    let view = View::new(placed);
    let all = rules_of(engine).iter().map(|rule| (rule.name, (rule.broken)(&view)));
    all.filter(|(_, nodes)| !nodes.is_empty()).collect()
}

#[test]
fn placement_for_every_target_keeps_the_rules_of_its_engine() {
    for (name, graph) in small().into_iter().chain(real()) {
        for target in Target::quantizing() {
            let placed = placed(&graph, target);
            assert!(!placed.plan.weights.is_empty(), "{name} for {target}: nothing is quantized");
            let broken = broken(&placed, target.engine().name);
            assert!(broken.is_empty(), "{name} for {target}: {broken:?}");
        }
    }
}

#[test]
fn placement_for_one_engine_breaks_the_rules_of_another() {
    let mut seen = BTreeSet::new();
    for (_, graph) in small() {
        for target in Target::quantizing() {
            for other in Target::quantizing() {
                let rules = broken(&placed(&graph, target), other.engine().name);
                seen.extend(rules.into_keys());
            }
        }
    }
    let missed: Vec<&str> = CONFORMANCE
        .iter()
        .flat_map(|(_, rules)| rules.iter().map(|rule| rule.name))
        .filter(|name| !seen.contains(name) && !NEVER_BROKEN.contains(name))
        .collect();
    assert!(missed.is_empty(), "nothing breaks {missed:?}: do they look at anything?");
}

/// Rules that every engine has: a graph that breaks them is made in the tests below.
const NEVER_BROKEN: &[&str] =
    &["weights_are_i8_per_channel", "the_tail_is_float", "moved_values_keep_their_parameters"];

#[test]
fn rules_that_every_engine_has_see_what_breaks_them() {
    let placed_for = |target| placed(&network(split_block), target);
    let mut wide = placed_for(quant::BUILTIN);
    wide.target = "builtin+avx2".parse().unwrap();
    assert!(broken(&wide, "builtin").contains_key("weights_are_i8_per_channel"));

    let mut moved = placed_for(quant::TENSORRT);
    let is_pool = |op: &Op| matches!(op, Op::MaxPool(_));
    let (_, pool) = moved.graph.nodes().find(|(_, n)| is_pool(&n.op)).unwrap();
    let after = moved.graph.consumers()[&pool.outputs[0]][0].0;
    let other = QuantParams::per_tensor(9.0, 0, DataType::I8).unwrap();
    let mut edit = moved.graph.edit();
    edit.set_op(after, ir::ops::QuantizeLinear { params: other });
    moved.graph.apply(edit).unwrap();
    assert!(broken(&moved, "tensorrt").contains_key("moved_values_keep_their_parameters"));

    let mut tail = placed_for(quant::BUILTIN);
    let mut edit = tail.graph.edit();
    let y = tail.graph.outputs()[0];
    let params = QuantParams::per_tensor(0.1, 0, DataType::U8).unwrap();
    let q = ir::ops::QuantizeLinear { params: params.clone() };
    let q = edit.node("late", q, &[y], &["late"])[0];
    let d = edit.node("later", ir::ops::DequantizeLinear { params }, &[q], &["later"])[0];
    edit.output(d);
    tail.graph.apply(edit).unwrap();
    assert!(broken(&tail, "builtin").contains_key("the_tail_is_float"));
}
