//! Groups and pruned forms of real models.

use crate::dense::with_zero_columns;
use ir::ops::Extent;
use ir::{Graph, NodeId, Op, Tensor, ValueId};
use prune::{CRITERIA, Groups, Limits, PruneError, PrunePlan, analyse, apply, choose_contribution};
use runtime::{Plan, PlanOptions, Session};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

const MODELS: &[&str] = &[
    "yolov5n_coco_bn_op17.onnx",
    "yolov5n_coco_focus_fused_op17.onnx",
    "yolov5n_coco_fused_op17.onnx",
    "yolov8n_deeppcb_320_fused_op17.onnx",
    "yolox_nano_coco_416.onnx",
    "structural/yolov8n_640_fused_op17.onnx",
];

fn load(name: &str) -> Option<Graph> {
    let folder = "../../../shared/assets/weights";
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), folder, name].iter().collect();
    if !path.exists() {
        println!("skipped: {name} (no ../shared/assets)");
        return None;
    }
    Some(onnx::load(&path, &onnx::LoadOptions::default()).expect("the model loads"))
}

/// Convolutions from which an output is reached through no other convolution.
fn last_convolutions(graph: &Graph) -> Vec<String> {
    let mut todo = graph.outputs().to_vec();
    let mut found = Vec::new();
    while let Some(value) = todo.pop() {
        let Some(id) = graph.producer(value) else {
            continue;
        };
        let node = graph.node(id);
        match node.op {
            // The expectation over the bins of a distance (DFL) is a convolution without a bias.
            Op::Conv(_) if node.inputs.len() == 3 => found.push(node.name.clone()),
            _ => todo.extend(&node.inputs),
        }
    }
    found
}

fn seeded_plan(graph: &Graph, groups: &Groups, mut seed: u64) -> PrunePlan {
    let mut removed = BTreeMap::new();
    for group in groups.prunable() {
        let mut chosen = Vec::new();
        for channel in 0..group.width() {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1);
            if (seed >> 33).is_multiple_of(4) && chosen.len() + 1 < group.width() {
                chosen.push(channel);
            }
        }
        removed.insert(group.name.clone(), chosen);
    }
    PrunePlan::new(graph, groups, removed).expect("the plan is allowed")
}

#[test]
fn analyse_of_models_never_frees_the_head_outputs() {
    for name in MODELS {
        let Some(graph) = load(name) else { continue };
        let groups = analyse(&graph).unwrap();
        let prunable: Vec<_> = groups.prunable().collect();
        let channels: usize = prunable.iter().map(|g| g.width()).sum();
        println!(
            "{name}: {} groups, {} prunable, {channels} channels",
            groups.groups.len(),
            prunable.len()
        );
        for group in groups.groups.iter().filter(|g| !g.is_prunable()) {
            let reason = group.frozen.as_ref().map(ToString::to_string);
            println!("  frozen {}: {}", group.name, reason.unwrap_or_default());
        }
        assert!(prunable.len() > 20, "{name}");
        let last = last_convolutions(&graph);
        assert!(last.len() >= 3, "{name}: {last:?}");
        for group in prunable {
            for root in &group.roots {
                let root = &graph.node(root.node).name;
                assert!(!last.contains(root), "{name}: {root} is prunable");
            }
        }
    }
}

#[test]
fn apply_to_models_gives_valid_smaller_graphs() {
    for name in MODELS {
        let Some(graph) = load(name) else { continue };
        let groups = analyse(&graph).unwrap();
        for seed in 1..=3 {
            let plan = seeded_plan(&graph, &groups, seed);
            let pruned = apply(&graph, &groups, &plan).unwrap();
            assert!(pruned.macs() < graph.macs());
            for (&a, &b) in graph.outputs().iter().zip(pruned.outputs()) {
                assert_eq!(graph.ty(a).unwrap(), pruned.ty(b).unwrap(), "{name}");
            }
        }
        for criterion in CRITERIA {
            let scores = (criterion.score)(&graph, &groups, &Default::default());
            // Those that need what was observed of the graph say so.
            let importance = match scores {
                Err(
                    PruneError::NoStatistics { .. }
                    | PruneError::NoGradients { .. }
                    | PruneError::NoBatchNormalization { .. },
                ) => {
                    continue;
                }
                scores => scores.unwrap(),
            };
            if importance.values().flatten().any(|s| s.is_infinite()) {
                continue;
            }
            let limits = Limits { deep_ratio: 0.5, ..Limits::default() };
            let plan = choose_contribution(&graph, &groups, &importance, &limits, 0.8).unwrap();
            let pruned = apply(&graph, &groups, &plan).unwrap();
            let share = |new: u64, old: u64| 100.0 * new as f64 / old as f64;
            println!(
                "{name}, {}: {} channels removed, MACs {:.1} %, parameters {:.1} %",
                criterion.name,
                plan.removed_channels(),
                share(pruned.macs(), graph.macs()),
                share(pruned.params(), graph.params()),
            );
            assert!(plan.removed_channels() > 0);
        }
    }
}

/// Side of the oracle's input, in pixels: every stride of the models divides it.
const SIDE_PX: usize = 64;
/// Index sets that are tried on each model.
const PLANS: u64 = 200;

/// The network up to the head's output convolutions, for a smaller input.
fn shrunk(graph: &Graph) -> Graph {
    let last = last_convolutions(graph);
    let outputs: Vec<ValueId> =
        graph.nodes().filter(|(_, n)| last.contains(&n.name)).map(|(_, n)| n.outputs[0]).collect();
    let mut needed: BTreeSet<NodeId> = BTreeSet::new();
    let mut todo = outputs.clone();
    while let Some(v) = todo.pop() {
        if let Some(id) = graph.producer(v).filter(|id| needed.insert(*id)) {
            todo.extend(&graph.node(id).inputs);
        }
    }
    let input = graph.inputs()[0];
    let mut ty = graph.ty(input).unwrap().clone();
    let side = ty.shape[2];
    ty.shape[2..].fill(SIDE_PX);
    let mut small = Graph::new(graph.opset);
    let mut edit = small.edit();
    let mut map = BTreeMap::from([(input, edit.input("x", ty))]);
    for (_, node) in graph.nodes().filter(|(id, _)| needed.contains(id)) {
        for v in &node.inputs {
            if let Some(tensor) = graph.constant(*v) {
                map.entry(*v)
                    .or_insert_with(|| edit.constant(&graph.value(*v).name, tensor.clone()));
            }
        }
        let mut op = node.op.clone();
        match &mut op {
            Op::Resize(r) => {
                if let Extent::Sizes([_, _, h, w]) = &mut r.extent {
                    (*h, *w) = (*h * SIDE_PX / side, *w * SIDE_PX / side);
                }
            }
            Op::Slice(s) => {
                for r in s.ranges.iter_mut().filter(|r| r.axis > 1) {
                    r.len = r.len * SIDE_PX / side;
                }
            }
            _ => {}
        }
        let inputs: Vec<ValueId> = node.inputs.iter().map(|v| map[v]).collect();
        let names: Vec<&str> = node.outputs.iter().map(|v| graph.value(*v).name.as_str()).collect();
        let made = edit.node(&node.name, op, &inputs, &names);
        map.extend(node.outputs.iter().copied().zip(made));
    }
    outputs.iter().for_each(|v| edit.output(map[v]));
    small.apply(edit).expect("the smaller network is valid");
    small
}

fn run(graph: &Graph, input: &[f32]) -> Vec<Tensor> {
    let plan = Plan::compile(graph, &[], &PlanOptions::default()).unwrap();
    let mut session = Session::new(&Arc::new(plan), 1).unwrap();
    session.run(&[input]).unwrap()
}

/// Largest difference of two outputs as a share of the largest element.
fn difference(a: &[Tensor], b: &[Tensor]) -> f32 {
    let mut worst = 0.0_f32;
    for (a, b) in a.iter().zip(b) {
        assert_eq!(a.shape(), b.shape());
        let (a, b) = (a.as_slice::<f32>().unwrap(), b.as_slice::<f32>().unwrap());
        let scale = b.iter().fold(1e-6_f32, |m, x| m.max(x.abs()));
        let of = |(x, y): (&f32, &f32)| (x - y).abs() / scale;
        worst = a.iter().zip(b).map(of).fold(worst, f32::max);
    }
    worst
}

/// Removing channels is the same as giving their consumers columns of zeros, for any set of channels.
fn check_oracle(name: &str) {
    let Some(graph) = load(name) else { return };
    let graph = shrunk(&graph);
    let groups = analyse(&graph).unwrap();
    assert!(groups.prunable().count() > 20, "{name}");
    let n = 3 * SIDE_PX * SIDE_PX;
    let input: Vec<f32> = (0..n).map(|i| (i * 7919 % 256) as f32 / 255.0).collect();
    let mut worst = 0.0_f32;
    for seed in 0..PLANS {
        let plan = seeded_plan(&graph, &groups, seed);
        let expected = run(&with_zero_columns(&graph, &groups, &plan), &input);
        let found = run(&apply(&graph, &groups, &plan).unwrap(), &input);
        let off = difference(&found, &expected);
        assert!(off < 1e-4, "{name}, plan {seed}: {off}");
        worst = worst.max(off);
    }
    println!("{name}: {PLANS} plans, largest difference {worst:.1e} of the largest output");
}

#[test]
fn apply_to_yolov5_equals_zeroed_consumer_columns_for_200_plans() {
    MODELS[..3].iter().for_each(|name| check_oracle(name));
}

#[test]
fn apply_to_other_models_equals_zeroed_consumer_columns_for_200_plans() {
    MODELS[3..].iter().for_each(|name| check_oracle(name));
}
