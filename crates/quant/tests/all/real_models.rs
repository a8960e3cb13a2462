//! Real models of the assets: the share of integer work, and ONNX Runtime as the referee of the written files.
use ir::{DataType, Graph, Normalised, QuantParams, normalise};
use onnx::{LoadOptions, encode, load};
use quant::{
    QuantPlan, Range, Target, apply, depthwise_inputs, equalize, int8_macs_share, plan,
    quantization_points,
};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

const MODELS: &[&str] = &[
    "yolov5n_coco_fused_op17.onnx",
    "yolov5n_coco_bn_op17.onnx",
    "yolov5n_coco_focus_fused_op17.onnx",
    "yolov8n_deeppcb_320_fused_op17.onnx",
    "yolox_nano_coco_416.onnx",
];

/// Folded and rewritten models, where the assets are present.
fn models() -> Vec<(&'static str, Normalised)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/assets/weights");
    if !folder.is_dir() {
        println!("skipped: quantization of real models (no ../shared/assets)");
        return Vec::new();
    }
    let read = |name: &&'static str| {
        let graph = load(&folder.join(name), &LoadOptions::default()).unwrap();
        (*name, normalise(graph).unwrap())
    };
    MODELS.iter().map(read).collect()
}

/// A plan with the same made-up range everywhere: placement is what is tested.
fn placed(graph: &Graph, target: Target) -> QuantPlan {
    let found = quantization_points(graph, target).unwrap();
    let ranges = found.iter().map(|s| (s.range_of, Range::new(-6.0, 6.0))).collect();
    let pixel = QuantParams::per_tensor(1.0 / 255.0, 0, DataType::U8).unwrap();
    plan(graph, &ranges, &pixel, target, &BTreeSet::new()).unwrap()
}

#[test]
fn apply_on_real_models_runs_most_macs_in_int8() {
    for (name, graph) in models() {
        for target in Target::quantizing() {
            let plan = placed(&graph, target);
            let share = int8_macs_share(&apply(&graph, &plan).unwrap());
            println!("{name} {}: {} points, int8 share {share:.4}", target, plan.activations.len());
            assert!(share >= least_share(target), "{name} {target}: {share}");
        }
    }
}

/// Engines that have no INT8 kernel for the stem or for what gives f32 run those in float.
fn least_share(target: Target) -> f64 {
    let engine = target.engine();
    if engine.gives_float && engine.narrow.is_none() { 0.95 } else { 0.85 }
}

/// The graph with the channels of every depthwise input scaled by powers of two.
fn equalized(graph: &Graph, target: Target) -> Graph {
    let scales = depthwise_inputs(graph).unwrap().into_iter().map(|v| {
        let channels = graph.ty(v).unwrap().shape[1];
        let scale = (0..channels).map(|c| 2f32.powi(c as i32 % 5)).collect();
        (v, scale)
    });
    equalize(graph, &scales.collect(), target).unwrap()
}

#[test]
fn equalize_on_depthwise_models_keeps_all_macs_in_int8() {
    for (name, graph) in models() {
        for target in Target::quantizing() {
            let scaled = equalized(&graph, target);
            let share = int8_macs_share(&apply(&scaled, &placed(&scaled, target)).unwrap());
            assert!(share >= least_share(target), "{name} {target}: {share}");
        }
    }
}

#[test]
fn apply_on_real_models_is_loaded_by_onnx_runtime() {
    let python = std::env::var("YOLOSLIM_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let present = Command::new(&python).args(["-c", "import onnxruntime"]).output();
    if !present.is_ok_and(|o| o.status.success()) {
        println!("skipped: loading by ONNX Runtime (not importable by {python})");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/run_with_onnxruntime.py");
    for (name, graph) in models() {
        for target in Target::quantizing() {
            let path = folder.path().join(format!("{}_{name}", target));
            let graph = equalized(&graph, target);
            let quantized = apply(&graph, &placed(&graph, target)).unwrap();
            std::fs::write(&path, encode(&quantized).unwrap()).unwrap();
            let run = Command::new(&python)
                .arg(&script)
                .arg(&path)
                .arg(target.engine().name)
                .output()
                .unwrap();
            let (out, err) =
                (String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
            print!("{name} {}: {out}", target);
            assert!(run.status.success(), "{name} {}: {err}", target);
        }
    }
}
