//! `tune` of a quantized model as it is typed, on a tiny detector.
use crate::support::{Tiny, accepts, json, refuses};
use ir::Graph;
use std::path::Path;

/// Nodes of a kind in a model, and the elements of its constants of 8 bits.
fn quantized(path: &Path) -> (usize, Vec<i64>) {
    let graph: Graph = onnx::load(path, &onnx::LoadOptions::default()).unwrap();
    let quantizers = graph.nodes().filter(|(_, n)| n.op.op_type() == "QuantizeLinear").count();
    let constants = graph.values().filter_map(|(_, value)| value.constant.as_ref());
    let integers = constants.filter(|t| t.dtype() == ir::DataType::I8);
    (quantizers, integers.flat_map(|t| t.to_i64().unwrap()).collect())
}

#[test]
fn tune_of_a_quantized_model_brings_it_nearer_to_its_teacher_and_leaves_it_quantized() {
    let tiny = Tiny::new(12, 4);
    let [float, data] = ["tiny.onnx", "data.yaml"].map(|name| tiny.arg(name));
    for target in ["builtin", "onnxruntime"] {
        let [int8, tuned, told] =
            ["int8.onnx", "tuned.onnx", "tune.json"].map(|name| tiny.arg(name));
        accepts(&[
            "quantize",
            &float,
            "--data",
            &data,
            "-n",
            "8",
            "--target",
            target,
            "--budget",
            "fast",
            "--calibrator",
            "entropy",
            "-o",
            &int8,
        ]);
        accepts(&[
            "tune",
            &int8,
            "--teacher",
            &float,
            "--data",
            &data,
            "--steps",
            "20",
            "--batch",
            "4",
            "--rate",
            "0.01",
            "-o",
            &tuned,
            "--json",
            &told,
        ]);
        let found = json(&told);
        let held_out = |point: &serde_json::Value| point["held_out"].as_f64().unwrap();
        assert!(held_out(&found["best"]) < held_out(&found["curve"][0]), "{target}: {found}");
        let [before, after] = ["int8.onnx", "tuned.onnx"].map(|name| quantized(&tiny.path(name)));
        assert_eq!(after.0, before.0, "{target}");
        assert_eq!(after.1.len(), before.1.len(), "{target}");
        assert_ne!(after.1, before.1, "{target}");
        accepts(&["val", &tuned, "--data", &data]);
    }
}

#[test]
fn a_quantized_teacher_is_refused() {
    let tiny = Tiny::new(12, 0);
    let [float, int8, data, out] =
        ["tiny.onnx", "int8.onnx", "data.yaml", "out.onnx"].map(|name| tiny.arg(name));
    accepts(&["quantize", &float, "--data", &data, "-n", "4", "-o", &int8]);
    refuses(
        &["tune", &float, "--teacher", &int8, "--data", &data, "-o", &out],
        &["int8.onnx", "quantized"],
    );
}
