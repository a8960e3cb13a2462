//! Plans and their application on small graphs, against the reference interpreter.
use ir::ops::{
    BatchNormalization, BinaryKind, Concat, Conv, MaxPool, Op, Softmax, Split, UnaryKind,
};
use ir::{
    DataType, Edit, Graph, Node, QuantFacts, QuantParams, Tensor, TensorType, ValueId, interpreter,
};
use quant::{
    QuantError, QuantPlan, Range, Target, apply, int8_macs_share, plan, quantization_points,
};
use std::collections::{BTreeMap, BTreeSet};
use testkit::net::numbers;

/// Numbers between 0 and 1.
fn noise(n: usize, seed: u64) -> Vec<f32> {
    let numbers = numbers(n, seed, 1.0).into_iter();
    numbers.map(|v| v + 0.5).collect()
}

fn conv(e: &mut Edit, name: &str, x: ValueId, [o, i, k]: [usize; 3]) -> ValueId {
    let weights = noise(o * i * k * k, name.len() as u64 + o as u64)
        .iter()
        .map(|w| (w - 0.45) * 0.8)
        .collect();
    let w = e.constant(&format!("{name}.w"), Tensor::new([o, i, k, k], weights).unwrap());
    let b = e.constant(&format!("{name}.b"), Tensor::vector(noise(o, 3)));
    let op = Conv {
        kernel_shape: [k; 2],
        strides: [1; 2],
        dilations: [1; 2],
        pads: [k / 2; 4],
        group: 1,
    };
    e.node(name, op, &[x, w, b], &[&format!("{name}.y")])[0]
}

fn silu(e: &mut Edit, name: &str, x: ValueId) -> ValueId {
    e.node(name, UnaryKind::Silu, &[x], &[&format!("{name}.y")])[0]
}

/// Stem, C2f-like block with Split, residual and Concat, SPPF-like pooling, one output convolution with a DFL tail.
fn network() -> Graph {
    let mut graph = Graph::new(17);
    graph.name = "network".into();
    let mut e = graph.edit();
    let x = e.input("images", TensorType::new(DataType::F32, [1, 3, 8, 8]));
    let y = conv(&mut e, "stem", x, [32, 3, 3]);
    let y = silu(&mut e, "stem_act", y);
    let split = Split { axis: 1, sizes: vec![16, 16] };
    let halves = e.node("split", split, &[y], &["a", "b"]);
    let z = conv(&mut e, "block", halves[1], [16, 16, 3]);
    let z = silu(&mut e, "block_act", z);
    let z = e.node("add", BinaryKind::Add, &[halves[1], z], &["sum"])[0];
    let y = e.node("concat", Concat { axis: 1 }, &[halves[0], halves[1], z], &["joined"])[0];
    let y = conv(&mut e, "merge", y, [32, 48, 1]);
    let y = silu(&mut e, "merge_act", y);
    let pool = MaxPool {
        kernel_shape: [3; 2],
        strides: [1; 2],
        dilations: [1; 2],
        pads: [1; 4],
        ceil_mode: false,
    };
    let p = e.node("pool", pool, &[y], &["pooled"])[0];
    let y = e.node("sppf", Concat { axis: 1 }, &[y, p], &["pyramid"])[0];
    let y = conv(&mut e, "head", y, [16, 64, 1]);
    let y = e.node("softmax", Softmax { axis: 1, coerced: vec![] }, &[y], &["bins"])[0];
    let y = conv(&mut e, "dfl", y, [1, 16, 1]);
    let y = e.node("score", UnaryKind::Sigmoid, &[y], &["output0"])[0];
    e.output(y);
    graph.apply(e).expect("the network is valid");
    graph
}

fn image() -> Tensor {
    let pixels = noise(3 * 64, 11).iter().map(|x| (x * 255.0).round() / 255.0).collect();
    Tensor::new([1, 3, 8, 8], pixels).unwrap()
}

fn pixel_params() -> QuantParams {
    QuantParams::per_tensor(1.0 / 255.0, 0, DataType::U8).unwrap()
}

fn observed(graph: &Graph) -> BTreeMap<ValueId, Range> {
    let all = interpreter::run_all(graph, &[image()]).unwrap();
    let range = |t: &Tensor| {
        let v = t.to_f64().unwrap();
        let fold = |f: fn(f64, f64) -> f64| v.iter().copied().reduce(f).unwrap() as f32;
        Range::new(fold(f64::min), fold(f64::max))
    };
    all.iter().map(|(v, t)| (*v, range(t))).collect()
}

fn quantized(graph: &Graph, target: Target) -> (QuantPlan, Graph) {
    let float = BTreeSet::new();
    let plan = plan(graph, &observed(graph), &pixel_params(), target, &float).unwrap();
    let applied = apply(graph, &plan).unwrap();
    (plan, applied)
}

fn node<'a>(graph: &'a Graph, name: &str) -> &'a Node {
    graph.nodes().map(|(_, n)| n).find(|n| n.name == name).unwrap()
}

fn is_dequantized(graph: &Graph, v: ValueId) -> bool {
    graph.producer(v).is_some_and(|id| matches!(graph.node(id).op, Op::DequantizeLinear(_)))
}

/// The stem has fewer channels than some engines have INT8 kernels for, and the head gives f32.
fn quantized_convolutions(target: Target) -> Vec<&'static str> {
    let engine = target.engine();
    let is_left = |name: &&str| match *name {
        "stem" => engine.narrow.is_some(),
        "head" => !engine.gives_float,
        _ => false,
    };
    ["stem", "block", "merge", "head"].into_iter().filter(|name| !is_left(name)).collect()
}

#[test]
fn apply_on_every_target_stays_close_to_float() {
    let graph = network();
    let head = |g: &Graph| {
        let v = node(g, "head").outputs[0];
        interpreter::run_all(g, &[image()]).unwrap()[&v].to_f64().unwrap()
    };
    let float = head(&graph);
    for target in Target::quantizing() {
        let (_, q) = quantized(&graph, target);
        let fake = head(&q);
        let noise: f64 = float.iter().zip(&fake).map(|(a, b)| (a - b).powi(2)).sum();
        let mean = float.iter().sum::<f64>() / float.len() as f64;
        let signal: f64 = float.iter().map(|a| (a - mean).powi(2)).sum();
        let snr_db = 10.0 * (signal / noise).log10();
        assert!(snr_db > 25.0, "{}: {snr_db} dB", target);
        assert_eq!(q.value(q.outputs()[0]).name, "output0", "{}", target);
    }
}

#[test]
fn apply_on_every_target_reaches_its_largest_weight_in_every_channel() {
    let graph = network();
    for target in Target::quantizing() {
        let (_, q) = quantized(&graph, target);
        for name in quantized_convolutions(target) {
            let weight = q.producer(node(&q, name).inputs[1]).unwrap();
            let quantized = q.constant(q.node(weight).inputs[0]).unwrap();
            let filter: usize = quantized.shape()[1..].iter().product();
            for channel in quantized.to_i64().unwrap().chunks(filter) {
                let largest = channel.iter().map(|c| c.abs()).max();
                let expected = Some(i64::from(target.largest_weight()));
                assert_eq!(largest, expected, "{}: {name}", target);
            }
        }
    }
}

#[test]
fn apply_on_every_target_gives_convolutions_codes_and_leaves_the_tail_float() {
    let graph = network();
    for target in Target::quantizing() {
        let (_, q) = quantized(&graph, target);
        let names = quantized_convolutions(target);
        let planned = graph.nodes().filter(|(_, n)| names.contains(&n.name.as_str()));
        let macs: u64 = planned.map(|(id, _)| graph.node_macs(id)).sum();
        let expected = macs as f64 / graph.macs() as f64;
        assert!((int8_macs_share(&q) - expected).abs() < 1e-12, "{}", target);
        assert_eq!(int8_macs_share(&graph), 0.0);
        for name in names {
            let n = node(&q, name);
            assert!(is_dequantized(&q, n.inputs[1]), "{}: weight of {name}", target);
            assert_eq!(
                is_dequantized(&q, n.inputs[2]),
                target.engine().integer_bias,
                "{}: bias of {name}",
                target
            );
        }
        for id in ir::find_tail(&q).nodes {
            let n = q.node(id);
            assert!(n.inputs.iter().all(|&v| !is_dequantized(&q, v)), "{}: {}", target, n.name);
            assert_ne!(n.op.quant_facts(), QuantFacts::Boundary, "{}: {}", target, n.name);
        }
    }
}

#[test]
fn plan_for_builtin_has_one_site_for_each_stored_tensor() {
    let graph = network();
    let (plan, q) = quantized(&graph, quant::BUILTIN);
    let names: Vec<&str> = plan.activations.keys().map(String::as_str).collect();
    let without_concat: Vec<&str> = names.iter().copied().filter(|n| *n != "joined").collect();
    assert_eq!(without_concat, ["images", "merge_act.y", "stem_act.y", "sum"]);
    assert!(!is_dequantized(&q, node(&q, "stem_act").inputs[0]));
    assert_eq!(node(&q, "stem_act").op.op_type(), "Silu");
}

#[test]
fn plan_for_onnxruntime_quantizes_before_the_activation_and_shares_parameters() {
    let graph = network();
    let (plan, q) = quantized(&graph, quant::ONNXRUNTIME);
    let p = |name: &str| plan.activations[name].clone();
    assert_eq!((p("a"), p("b")), (p("stem_act.y"), p("stem_act.y")));
    assert_eq!((p("pooled"), p("pyramid")), (p("merge_act.y"), p("merge_act.y")));
    assert!(!plan.activations.contains_key("head.y"));
    let mul = node(&q, "stem_act");
    assert_eq!(mul.op.op_type(), "Mul");
    assert!(mul.inputs.iter().all(|&v| is_dequantized(&q, v)));
    assert!(node(&q, "split").outputs.iter().all(|v| {
        let readers = &q.consumers()[v];
        readers.iter().all(|(id, _)| matches!(q.node(*id).op, Op::QuantizeLinear(_)))
    }));
}

#[test]
fn plan_with_a_convolution_left_float_has_neither_its_weight_nor_what_it_alone_reads() {
    let graph = network();
    let (id, _) = graph.nodes().find(|(_, n)| n.name == "merge").unwrap();
    let float = BTreeSet::from([id]);
    for target in Target::quantizing() {
        let ranges = observed(&graph);
        let all = plan(&graph, &ranges, &pixel_params(), target, &BTreeSet::new()).unwrap();
        let left = plan(&graph, &ranges, &pixel_params(), target, &float).unwrap();
        let weights = |plan: &QuantPlan| plan.weights.keys().cloned().collect::<BTreeSet<_>>();
        let missing = &weights(&all) - &weights(&left);
        assert_eq!(missing, BTreeSet::from(["merge.w".to_owned()]), "{}", target);
        assert_eq!(
            left.activations.contains_key("sum"),
            target.engine().name == "onnxruntime",
            "{}: ONNX Runtime adds and joins in INT8 all the same",
            target
        );
        let q = apply(&graph, &left).unwrap();
        assert!(!is_dequantized(&q, node(&q, "merge").inputs[1]), "{}", target);
    }
}

#[test]
fn plan_where_concat_inputs_are_close_drops_the_concat() {
    let graph = network();
    let id = |name: &str| graph.value_named(name).unwrap();
    for (sum, dropped) in [(4.0, true), (5.0, true), (40.0, false)] {
        let mut ranges = observed(&graph);
        ranges.insert(id("stem_act.y"), Range::new(-0.2, 4.0));
        ranges.insert(id("sum"), Range::new(-0.2, sum));
        ranges.insert(id("joined"), Range::new(-0.2, sum));
        let plan =
            plan(&graph, &ranges, &pixel_params(), quant::BUILTIN, &BTreeSet::new()).unwrap();
        assert_eq!(!plan.activations.contains_key("joined"), dropped, "{sum}");
        assert_eq!(plan.activations["stem_act.y"] == plan.activations["sum"], dropped, "{sum}");
        let share = int8_macs_share(&apply(&graph, &plan).unwrap());
        assert!(share > 0.95, "{sum}: {share}");
    }
}

#[test]
fn plan_as_json_reads_back_equal_and_empty_plan_changes_nothing() {
    let graph = network();
    let show = |g: &Graph| format!("{:?}", g.nodes().collect::<Vec<_>>());
    for target in Target::quantizing() {
        let (plan, q) = quantized(&graph, target);
        let back: QuantPlan = serde_json::from_str(&serde_json::to_string(&plan).unwrap()).unwrap();
        assert_eq!(show(&apply(&graph, &back).unwrap()), show(&q));
        assert_eq!(show(&apply(&graph, &QuantPlan::empty(target)).unwrap()), show(&graph));
    }
}

#[test]
fn apply_weights_come_back_within_half_a_step() {
    let graph = network();
    let (plan, q) = quantized(&graph, quant::BUILTIN);
    let all = interpreter::run_all(&q, &[image()]).unwrap();
    for name in ["stem", "head"] {
        let w = graph.constant(node(&graph, name).inputs[1]).unwrap().to_f64().unwrap();
        let back = all[&node(&q, name).inputs[1]].to_f64().unwrap();
        let scale = plan.weights[&format!("{name}.w")].scale();
        for (i, (a, b)) in w.iter().zip(back).enumerate() {
            let step = f64::from(scale[i / (w.len() / scale.len())]);
            assert!((a - b).abs() <= step * 0.501, "{name}[{i}]: {a} became {b}");
        }
    }
}

#[test]
fn plan_of_a_bad_graph_or_range_names_the_culprit() {
    let graph = network();
    let target = quant::BUILTIN;
    let value = graph.value_named("sum").unwrap();
    let mut ranges = observed(&graph);
    ranges.remove(&value);
    let missing = plan(&graph, &ranges, &pixel_params(), target, &BTreeSet::new());
    assert_eq!(missing, Err(QuantError::MissingRange { value: "sum".into() }));
    ranges.insert(value, Range::new(0.0, f32::NAN));
    assert!(matches!(
        plan(&graph, &ranges, &pixel_params(), target, &BTreeSet::new()),
        Err(QuantError::BadRange { .. })
    ));
    let (good, q) = quantized(&graph, target);
    assert!(matches!(quantization_points(&q, target), Err(QuantError::AlreadyQuantized { .. })));
    let mut unknown = good.clone();
    unknown.activations.insert("nothing".into(), pixel_params());
    assert_eq!(
        apply(&graph, &unknown).err(),
        Some(QuantError::UnknownValue { value: "nothing".into() })
    );
    let written = serde_json::to_string(&good).unwrap();
    let unknown = written.replace("\"builtin\"", "\"other\"");
    assert_ne!(written, unknown);
    assert_eq!(serde_json::from_str::<QuantPlan>(&written).unwrap(), good);
    let error = serde_json::from_str::<QuantPlan>(&unknown).unwrap_err();
    assert!(error.to_string().contains("unknown target `other`"), "{error}");
}

#[test]
fn quantization_points_with_batch_normalization_left_name_the_node() {
    let mut graph = Graph::new(17);
    let mut e = graph.edit();
    let x = e.input("x", TensorType::new(DataType::F32, [1, 2, 4, 4]));
    let p = e.constant("p", Tensor::vector(vec![1.0f32; 2]));
    let y = e.node("bn", BatchNormalization { epsilon: 1e-3 }, &[x, p, p, p, p], &["y"])[0];
    e.output(y);
    graph.apply(e).unwrap();
    let error = quantization_points(&graph, quant::BUILTIN).unwrap_err();
    assert_eq!(error, QuantError::UnfoldedBatchNormalization { node: "bn".into() });
}

#[test]
fn plan_where_two_convolutions_share_a_weight_lets_both_biases_fit() {
    let mut graph = Graph::new(17);
    let mut e = graph.edit();
    let x = e.input("images", TensorType::new(DataType::F32, [1, 1, 2, 2]));
    let w = e.constant("w", Tensor::new([1, 1, 1, 1], vec![0f32]).unwrap());
    let op =
        Conv { kernel_shape: [1; 2], strides: [1; 2], dilations: [1; 2], pads: [0; 4], group: 1 };
    for (name, bias) in [("large", 50f32), ("small", 0.5)] {
        let b = e.constant(name, Tensor::vector(vec![bias]));
        let y = e.node(name, op.clone(), &[x, w, b], &["y"])[0];
        e.output(y);
    }
    graph.apply(e).unwrap();
    let plan =
        plan(&graph, &BTreeMap::new(), &pixel_params(), quant::ONNXRUNTIME, &BTreeSet::new())
            .unwrap();
    let q = apply(&graph, &plan).unwrap();
    let image = Tensor::new([1, 1, 2, 2], vec![0.2f32, 0.4, 0.6, 0.8]).unwrap();
    let y = interpreter::run(&q, &[image]).unwrap();
    for (y, expected) in y.iter().zip([50.0, 0.5]) {
        assert!(y.to_f64().unwrap().iter().all(|v| (v - expected).abs() < 1e-4), "{y:?}");
    }
}
