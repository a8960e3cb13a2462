//! Groups and pruned forms of real models.
mod dense;

use dense::{assert_close, with_zero_columns};
use ir::{Graph, Op, Tensor, interpreter};
use prune::{Budget, CRITERIA, Groups, PrunePlan, analyse, apply, choose};
use std::collections::BTreeMap;
use std::path::PathBuf;

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
        let groups = analyse(&graph, &[]).unwrap();
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
        let groups = analyse(&graph, &[]).unwrap();
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
            let importance = match scores {
                _ if (criterion.needs_data)(&graph) => continue,
                scores => scores.unwrap(),
            };
            let plan = choose(&graph, &groups, &importance, &Budget::default()).unwrap();
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

#[test]
fn apply_to_models_equals_zeroed_consumer_columns() {
    // The two that the reference interpreter runs in seconds.
    for name in [
        "yolov8n_deeppcb_320_fused_op17.onnx",
        "yolox_nano_coco_416.onnx",
    ] {
        let Some(graph) = load(name) else { continue };
        let groups = analyse(&graph, &[]).unwrap();
        let plan = seeded_plan(&graph, &groups, 9);
        let shape = graph.ty(graph.inputs()[0]).unwrap().shape.clone();
        let n: usize = shape.iter().product();
        let pixels = (0..n).map(|i| (i * 7919 % 256) as f32 / 255.0).collect();
        let input = [Tensor::new(shape, pixels).unwrap()];
        let zeroed = with_zero_columns(&graph, &groups, &plan);
        let expected = interpreter::run(&zeroed, &input).unwrap();
        let pruned = apply(&graph, &groups, &plan).unwrap();
        let found = interpreter::run(&pruned, &input).unwrap();
        assert_close(&found, &expected, name);
    }
}
