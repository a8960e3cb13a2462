//! A pruned graph computes what the dense graph does when the consumers' weight columns of the removed channels are zero.

use crate::close::assert_close;
use crate::dense::with_zero_columns;
use ir::ops::{
    BatchNormalization, BinaryKind, Conv, CoordinateMode, DequantizeLinear, Extent, MaxPool,
    NearestMode, Reshape, Resize, ResizeMode, Slice, SliceRange, Split, UnaryKind,
};
use ir::{DataType, FreezeReason, Graph, Op, QuantParams, Tensor, ValueId, interpreter};
use numerics::Rng;
use prune::criteria::{BN_GAMMA, L1};
use prune::{Groups, Member, PruneError, PrunePlan, absorb_means, analyse, apply};
use std::collections::BTreeMap;
use testkit::net::{Net, numbers, tensor};

/// A convolution with SiLU.
fn conv(n: &mut Net, x: ValueId, [from, to]: [usize; 2], kernel: usize) -> ValueId {
    n.conv_silu(x, [from, to, kernel, 1])
}

/// A convolution without an activation.
fn plain(n: &mut Net, x: ValueId, [from, to]: [usize; 2], kernel: usize) -> ValueId {
    n.conv(x, [from, to, kernel, 1], 1)
}

fn chain(n: &mut Net, x: ValueId) -> ValueId {
    let a = conv(n, x, [3, 6], 3);
    let b = conv(n, a, [6, 5], 1);
    plain(n, b, [5, 4], 3)
}

fn residual(n: &mut Net, x: ValueId) -> ValueId {
    let a = conv(n, x, [3, 6], 3);
    let b = n.bottleneck(a, 6);
    let c = n.bottleneck(b, 6);
    plain(n, c, [6, 4], 1)
}

fn concat(n: &mut Net, x: ValueId) -> ValueId {
    let a = conv(n, x, [3, 4], 3);
    let b = conv(n, x, [3, 6], 1);
    let c = n.concat(1, &[b, a, b]);
    plain(n, c, [16, 4], 1)
}

fn c3(n: &mut Net, x: ValueId) -> ValueId {
    let s = conv(n, x, [3, 8], 3);
    let a = conv(n, s, [8, 4], 1);
    let a = n.bottleneck(a, 4);
    let b = conv(n, s, [8, 4], 1);
    let c = n.concat(1, &[a, b]);
    let c = conv(n, c, [8, 8], 1);
    plain(n, c, [8, 4], 1)
}

fn c2f(n: &mut Net, x: ValueId) -> ValueId {
    let s = conv(n, x, [3, 12], 1);
    let split = Split { axis: 1, sizes: vec![6, 6] };
    let halves = n.many(split, &[s], 2);
    let m = n.bottleneck(halves[1], 6);
    let c = n.concat(1, &[halves[0], halves[1], m]);
    let c = conv(n, c, [18, 8], 1);
    plain(n, c, [8, 4], 1)
}

fn c2f_slices(n: &mut Net, x: ValueId) -> ValueId {
    let s = conv(n, x, [3, 12], 1);
    let range = |start| Slice { ranges: vec![SliceRange { axis: 1, start, len: 6, step: 1 }] };
    let a = n.named("slice", range(0), &[s]);
    let b = n.named("slice", range(6), &[s]);
    let m = n.bottleneck(b, 6);
    let c = n.concat(1, &[a, b, m]);
    plain(n, c, [18, 4], 1)
}

fn sppf(n: &mut Net, x: ValueId) -> ValueId {
    let pool = MaxPool {
        kernel_shape: [3; 2],
        strides: [1; 2],
        dilations: [1; 2],
        pads: [1; 4],
        ceil_mode: false,
    };
    let a = conv(n, x, [3, 5], 1);
    let b = n.named("pool", pool.clone(), &[a]);
    let c = n.named("pool", pool.clone(), &[b]);
    let d = n.named("pool", pool, &[c]);
    let y = n.concat(1, &[a, b, c, d]);
    plain(n, y, [20, 4], 1)
}

fn depthwise(n: &mut Net, x: ValueId) -> ValueId {
    let a = conv(n, x, [3, 6], 1);
    let b = n.conv(a, [6, 6, 3, 1], 6);
    let b = n.named("silu", UnaryKind::Silu, &[b]);
    let c = conv(n, b, [6, 5], 1);
    plain(n, c, [5, 4], 1)
}

fn fpn(n: &mut Net, x: ValueId) -> ValueId {
    let a = conv(n, x, [3, 5], 3);
    let b = conv(n, x, [3, 4], 3);
    let resize = |channels| Resize {
        mode: ResizeMode::Nearest(NearestMode::Floor),
        coordinate_mode: CoordinateMode::Asymmetric,
        extent: Extent::Sizes([1, channels, 12, 12]),
    };
    let up = n.named("resize", resize(5), &[a]);
    let other = n.named("resize", resize(4), &[b]);
    let c = n.concat(1, &[up, other]);
    plain(n, c, [9, 4], 3)
}

fn batch_norm(n: &mut Net, x: ValueId) -> ValueId {
    let a = plain(n, x, [3, 6], 3);
    let mut inputs = vec![a];
    for (seed, name) in ["scale", "bias", "mean", "var"].into_iter().enumerate() {
        let positive = numbers(6, seed as u64, 2.0).into_iter();
        let positive = positive.map(|v| v.abs() + 0.1);
        inputs.push(n.edit.constant(name, Tensor::vector(positive.collect())));
    }
    let b = n.named("bn", BatchNormalization { epsilon: 1e-3 }, &inputs);
    let c = n.named("relu", UnaryKind::Silu, &[b]);
    plain(n, c, [6, 4], 1)
}

/// A channel-wise constant, added and multiplied, and blocks of channels behind a Reshape.
fn scaled_blocks(n: &mut Net, x: ValueId) -> ValueId {
    let a = conv(n, x, [3, 6], 1);
    let scale = n.parameter("layer_scale", &[6, 1, 1], 2.0);
    let b = n.named("mul", BinaryKind::Mul, &[a, scale]);
    let apart = Reshape { shape: vec![1, 3, 2, 6, 6] };
    let joined = Reshape { shape: vec![1, 6, 6, 6] };
    let c = n.named("reshape", apart, &[b]);
    let c = n.named("sigmoid", UnaryKind::Sigmoid, &[c]);
    let d = n.named("reshape", joined, &[c]);
    plain(n, d, [6, 4], 1)
}

type Block = fn(&mut Net, ValueId) -> ValueId;

const BLOCKS: &[(&str, Block)] = &[
    ("chain", chain),
    ("residual", residual),
    ("concat", concat),
    ("c3", c3),
    ("c2f", c2f),
    ("c2f_slices", c2f_slices),
    ("sppf", sppf),
    ("depthwise", depthwise),
    ("fpn", fpn),
    ("batch_norm", batch_norm),
    ("scaled_blocks", scaled_blocks),
];

fn build(block: Block) -> Graph {
    let mut graph = Graph::new(17);
    let mut net = Net::new(&graph);
    let x = net.input(&[1, 3, 6, 6]);
    let y = block(&mut net, x);
    net.edit.output(y);
    graph.apply(net.edit).expect("the block is valid");
    graph
}

fn seeded_plan(graph: &Graph, groups: &Groups, random: &mut Rng) -> PrunePlan {
    let mut removed = BTreeMap::new();
    for group in groups.prunable() {
        let chosen: Vec<usize> = (0..group.width())
            .filter(|_| random.next_u64().is_multiple_of(3))
            .take(group.width() - 1)
            .collect();
        removed.insert(group.name.clone(), chosen);
    }
    PrunePlan::new(graph, groups, removed).expect("the plan is allowed")
}

#[test]
fn apply_of_random_plans_equals_zeroed_consumer_columns() {
    for (name, block) in BLOCKS {
        let graph = build(*block);
        let groups = analyse(&graph).unwrap();
        assert!(groups.prunable().count() > 0, "{name} has prunable groups");
        let mut random = Rng::new(name.len() as u64);
        let mut removed = 0;
        for seed in 0..6 {
            let plan = seeded_plan(&graph, &groups, &mut random);
            removed += plan.removed_channels();
            let pruned = apply(&graph, &groups, &plan).unwrap();
            let zeroed = with_zero_columns(&graph, &groups, &plan);
            let input = [tensor(&[1, 3, 6, 6], seed, 2.0)];
            let expected = interpreter::run(&zeroed, &input).unwrap();
            let found = interpreter::run(&pruned, &input).unwrap();
            assert_close(&found, &expected, &format!("{name}, plan {seed}"));
            assert!(plan.is_empty() || pruned.params() < graph.params());
        }
        assert!(removed > 0, "{name} loses channels");
    }
}

#[test]
fn apply_of_an_empty_plan_changes_nothing() {
    for (name, block) in BLOCKS {
        let graph = build(*block);
        let groups = analyse(&graph).unwrap();
        let same = apply(&graph, &groups, &PrunePlan::default()).unwrap();
        let ops = |g: &Graph| g.nodes().map(|(_, n)| n.op.clone()).collect::<Vec<_>>();
        assert_eq!(ops(&same), ops(&graph), "{name}");
        for (id, value) in graph.values() {
            assert_eq!(same.value(id).constant, value.constant, "{name}");
        }
        assert_eq!(same.metadata, graph.metadata);
    }
}

#[test]
fn analyse_of_c2f_gives_its_halves_groups_of_their_own() {
    for block in [c2f as Block, c2f_slices] {
        let graph = build(block);
        let groups = analyse(&graph).unwrap();
        let halves: Vec<_> = groups
            .groups
            .iter()
            .filter(|g| g.name.starts_with("conv1#") || g.name == "conv1")
            .collect();
        assert_eq!(halves.len(), 2);
        assert!(halves.iter().all(|g| g.width() == 6 && g.is_prunable()));
        let removed = [(halves[1].name.clone(), vec![0, 1, 4])];
        let plan = PrunePlan::new(&graph, &groups, removed.into()).unwrap();
        let pruned = apply(&graph, &groups, &plan).unwrap();
        for (_, node) in pruned.nodes() {
            if let Op::Split(split) = &node.op {
                assert_eq!(split.sizes, [6, 3]);
            }
        }
    }
}

#[test]
fn analyse_of_a_detection_tail_freezes_its_convolutions() {
    let tail: Block = |n, x| {
        let a = conv(n, x, [3, 8], 3);
        let boxes = plain(n, a, [8, 16], 1);
        let classes = plain(n, a, [8, 4], 1);
        let y = n.concat(1, &[boxes, classes]);
        let flat = Reshape { shape: vec![1, 20, 36] };
        let y = n.named("reshape", flat, &[y]);
        let split = Split { axis: 1, sizes: vec![16, 4] };
        let parts = n.edit.node("split", split, &[y], &["boxes", "scores"]);
        let apart = Reshape { shape: vec![1, 4, 4, 36] };
        let b = n.named("dfl", apart, &[parts[0]]);
        let whole = Reshape { shape: vec![1, 16, 36] };
        let b = n.named("whole", whole, &[b]);
        n.concat(1, &[b, parts[1]])
    };
    let graph = build(tail);
    let groups = analyse(&graph).unwrap();
    let prunable: Vec<&str> = groups.prunable().map(|g| g.name.as_str()).collect();
    assert_eq!(prunable, ["conv1"]);
    for name in ["conv3", "conv4"] {
        assert_eq!(groups.get(name).unwrap().frozen, Some(FreezeReason::ModelBoundary));
    }
    let refused = PrunePlan::new(&graph, &groups, [("conv3".to_owned(), vec![0])].into());
    assert!(matches!(refused, Err(PruneError::FrozenGroup { .. })));
}

#[test]
fn set_layer_of_a_shared_weight_keeps_its_rows_under_the_new_name() {
    let mut graph = build(chain);
    let conv1 = graph.value_named("conv1.weight").unwrap();
    let readers = graph.consumers()[&conv1].clone();
    let first = graph.node(readers[0].0).clone();
    let mut edit = graph.edit();
    let twin = edit.node("twin", first.op.clone(), &first.inputs, &["twin.out"])[0];
    edit.output(twin);
    graph.apply(edit).unwrap();
    let text = r#"{"conv1.weight":[0,2,4]}"#;
    graph.metadata.insert(prune::KEPT_KEY.into(), text.into());
    let layer = prune::layer(&graph, readers[0].0).unwrap();
    prune::set_layer(&mut graph, readers[0].0, &layer).unwrap();
    let now = graph.node(readers[0].0).inputs[1];
    assert_ne!(now, conv1);
    let kept: std::collections::BTreeMap<String, Vec<usize>> =
        serde_json::from_str(&graph.metadata[prune::KEPT_KEY]).unwrap();
    assert_eq!(kept[&graph.value(now).name], [0, 2, 4]);
    assert_eq!(kept["conv1.weight"], [0, 2, 4]);
}

#[test]
fn apply_twice_records_rows_of_the_original() {
    let graph = build(chain);
    let groups = analyse(&graph).unwrap();
    let removed = [("conv1".to_owned(), vec![0, 3])];
    let plan = PrunePlan::new(&graph, &groups, removed.clone().into()).unwrap();
    let once = apply(&graph, &groups, &plan).unwrap();
    let groups = analyse(&once).unwrap();
    let plan = PrunePlan::new(&once, &groups, removed.into()).unwrap();
    let twice = apply(&once, &groups, &plan).unwrap();
    assert_eq!(twice.metadata[prune::KEPT_KEY], r#"{"conv1.weight":[2,4]}"#);
    let member = Member { value: twice.value_named("conv1.weight").unwrap(), axis: 0 };
    let dense = graph.constant(member.value).unwrap();
    assert_eq!(twice.constant(member.value).unwrap(), &dense.take(0, &[2, 4]).unwrap());
}

#[test]
fn plan_that_does_not_fit_is_refused() {
    let graph = build(chain);
    let groups = analyse(&graph).unwrap();
    let new =
        |name: &str, c: Vec<usize>| PrunePlan::new(&graph, &groups, [(name.to_owned(), c)].into());
    assert!(matches!(new("none", vec![0]), Err(PruneError::UnknownGroup { .. })));
    assert!(matches!(new("conv1", vec![6]), Err(PruneError::BadChannel { channel: 6, .. })));
    assert!(matches!(new("conv1", vec![1, 1]), Err(PruneError::BadChannel { channel: 1, .. })));
    assert!(matches!(new("conv1", (0..6).collect()), Err(PruneError::NothingLeft { .. })));
    let mut foreign = new("conv1", vec![2]).unwrap();
    foreign.layers.insert("conv1.weight".into(), vec![0]);
    assert!(matches!(apply(&graph, &groups, &foreign), Err(PruneError::PlanMismatch { .. })));
}

#[test]
fn absorb_means_of_constant_channels_keeps_the_function() {
    // Filters of zero give constant channels; 1x1 consumers have no padding, so the repair is exact.
    let block: Block = |n, x| {
        let a = conv(n, x, [3, 6], 3);
        let b = conv(n, a, [6, 5], 1);
        plain(n, b, [5, 4], 1)
    };
    let mut graph = build(block);
    let weight = graph.value_named("conv1.weight").unwrap();
    let mut data = graph.constant(weight).unwrap().as_slice::<f32>().unwrap().to_vec();
    data[..2 * 27].fill(0.0);
    let mut edit = graph.edit();
    edit.set_constant(weight, Tensor::new([6, 3, 3, 3], data).unwrap());
    graph.apply(edit).unwrap();
    let input = [tensor(&[1, 3, 6, 6], 3, 2.0)];
    let values = interpreter::run_all(&graph, &input).unwrap();
    let mut means = BTreeMap::new();
    for (id, tensor) in values.iter().filter(|(_, t)| t.shape().len() == 4) {
        let x = tensor.to_f64().unwrap();
        let mean = |c: &[f64]| (c.iter().sum::<f64>() / c.len() as f64) as f32;
        means.insert(*id, x.chunks(36).map(mean).collect());
    }
    let groups = analyse(&graph).unwrap();
    let plan = PrunePlan::new(&graph, &groups, [("conv1".to_owned(), vec![0, 1])].into()).unwrap();
    let repaired = absorb_means(&graph, &groups, &plan, &means).unwrap();
    let dense = interpreter::run(&graph, &input).unwrap();
    assert_close(&interpreter::run(&repaired, &input).unwrap(), &dense, "repaired");
    let short = means.into_keys().map(|v| (v, vec![0.0])).collect();
    assert!(matches!(
        absorb_means(&graph, &groups, &plan, &short),
        Err(PruneError::MeansLength { .. })
    ));
}

/// Weights behind DequantizeLinear: quantized values and per_channel scales go together.
fn quantized(n: &mut Net, x: ValueId) -> ValueId {
    let quantized: Vec<i8> = (0..18).map(|i| i * 13 % 100 - 50).collect();
    let quantized = Tensor::new([6, 3, 1, 1], quantized).unwrap();
    let quantized = n.edit.constant("quantized", quantized);
    let scale: Vec<f32> = (1..7).map(|i| i as f32 / 100.0).collect();
    let params = QuantParams::per_channel(0, scale, vec![0; 6], DataType::I8).unwrap();
    let weight = n.named("dequantize", DequantizeLinear { params }, &[quantized]);
    let conv =
        Conv { kernel_shape: [1; 2], strides: [1; 2], dilations: [1; 2], pads: [0; 4], group: 1 };
    let y = n.named("conv", conv, &[x, weight]);
    plain(n, y, [6, 4], 1)
}

#[test]
fn apply_to_dequantized_weights_cuts_their_scales() {
    let graph = build(quantized);
    let groups = analyse(&graph).unwrap();
    let name = groups.prunable().next().expect("one group").name.clone();
    let plan = PrunePlan::new(&graph, &groups, [(name, vec![1, 4])].into()).unwrap();
    let pruned = apply(&graph, &groups, &plan).unwrap();
    let input = [tensor(&[1, 3, 6, 6], 5, 2.0)];
    let expected = interpreter::run(&with_zero_columns(&graph, &groups, &plan), &input).unwrap();
    assert_close(&interpreter::run(&pruned, &input).unwrap(), &expected, "quantized");
    let refused = (L1.score)(&graph, &groups, &Default::default());
    assert!(matches!(refused, Err(PruneError::WeightNotConstant { .. })));
}

#[test]
fn plan_written_and_read_again_is_the_same() {
    let graph = build(c2f);
    let groups = analyse(&graph).unwrap();
    let plan = seeded_plan(&graph, &groups, &mut Rng::new(1));
    let text = serde_json::to_string(&plan).unwrap();
    assert_eq!(serde_json::from_str::<PrunePlan>(&text).unwrap(), plan);
}

#[test]
fn bn_gamma_ranks_by_the_scale() {
    let graph = build(batch_norm);
    let groups = analyse(&graph).unwrap();
    let scores = (BN_GAMMA.score)(&graph, &groups, &Default::default()).unwrap();
    let gamma = graph.constant(graph.value_named("scale").unwrap()).unwrap();
    let gamma = gamma.to_f64().unwrap();
    let mean = gamma.iter().sum::<f64>() / 6.0;
    for (score, g) in scores["conv1"].iter().zip(gamma) {
        assert!((score - g.abs() / mean).abs() < 1e-9);
    }
}
