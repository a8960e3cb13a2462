//! `quantize` with much time, and `compress` where it needs that, on a tiny detector.
mod support;
use ir::{Graph, Op};
use std::collections::BTreeMap;
use std::path::Path;
use support::{Tiny, accepts, json, stderr, yoloslim};

fn read(path: &Path) -> Graph {
    onnx::load(path, &onnx::LoadOptions::default()).unwrap()
}

#[test]
fn quantize_thoroughly_learns_and_tells_the_noise_of_every_layer_and_the_plan_of_its_file() {
    let tiny = Tiny::new(24, 4);
    let [float, data, out, told] =
        ["tiny.onnx", "data.yaml", "int8.onnx", "told.json"].map(|name| tiny.arg(name));
    let many = ["--budget", "thorough", "--explain", "--json", &told];
    let typed = ["quantize", &float, "--data", &data, "-n", "24", "-o", &out];
    let done = accepts(&[&typed[..], &many].concat());
    let printed = String::from_utf8_lossy(&done.stdout);
    assert!(printed.contains("signal to noise at the head's outputs"), "{printed}");
    let told = json(&told);
    let steps = told["steps"].as_array().unwrap();
    let learnt = steps.last().unwrap();
    assert!(learnt["step"].as_str().unwrap().ends_with("steps of learning"), "{learnt}");

    let graph = read(&tiny.path("int8.onnx"));
    let mut in_file = BTreeMap::new();
    for (_, node) in graph.nodes() {
        if let Op::QuantizeLinear(op) = &node.op {
            in_file.insert(graph.value(node.inputs[0]).name.clone(), op.params.clone());
        }
    }
    let plan: quant::QuantPlan = serde_json::from_value(told["plan"].clone()).unwrap();
    assert_eq!(plan.activations, in_file, "the plan is that of the file, learnt or not");

    let noise = &told["noise"];
    let layers = noise["layers"].as_array().unwrap();
    assert_eq!(layers.len(), plan.weights.len());
    let all = noise["snr_db"].as_f64().unwrap();
    let alone: Vec<f64> = layers.iter().map(|l| l["alone_snr_db"].as_f64().unwrap()).collect();
    let least = alone.iter().copied().fold(f64::INFINITY, f64::min);
    assert!(all > 0.0 && least > all - 6.0, "one layer alone is no worse than all: {noise}");
    let shares: f64 = layers.iter().map(|l| l["macs_share"].as_f64().unwrap()).sum();
    assert!((0.5..=1.0 + 1e-9).contains(&shares), "{noise}");
}

#[test]
fn compress_whose_quantization_alone_takes_too_much_tries_thoroughly() {
    let tiny = Tiny::new(60, 12);
    let [float, data, out] = ["tiny.onnx", "data.yaml", "run"].map(|name| tiny.arg(name));
    // All of the mAP: pruned by nothing it has that, quantized not quite.
    let typed = ["compress", &float, "--data", &data, "-o", &out, "--macs", "0", "-n", "24"];
    let hard = ["--holdout", "20", "--calibrator", "entropy", "--keep", "1.0"];
    let done = yoloslim(&[&typed[..], &hard].concat());
    let record = json(tiny.arg("run/metrics.json"));
    let attempt = &record["gate"]["attempts"][0];
    let told = stderr(&done);
    assert!(told.contains("quantization took too much"), "{told}");
    assert_eq!(attempt["folder"], "attempt-1-thorough", "{record}");
    let files = ["model.onnx", "pruned.onnx", "prune.plan.json", "quant.plan.json"];
    for file in files {
        let [kept, made] = [file.to_owned(), format!("attempt-1-thorough/{file}")]
            .map(|name| std::fs::read(tiny.path("run").join(name)).unwrap());
        assert_eq!(kept, made, "{file}");
    }
}
