//! Models whose floats have 16 bits, through every verb.
use crate::support::{Tiny, accepts, json, stderr};

/// `export --half`, and what converters make that keep the types of inputs and outputs.
#[test]
fn models_of_16_bit_floats_go_through_every_verb() {
    let tiny = Tiny::new(12, 20);
    let (float, data, out) = (tiny.arg("tiny.onnx"), tiny.arg("data.yaml"), tiny.arg("out.json"));
    let half = tiny.arg("half.onnx");
    accepts(&["export", &float, "--half", "-o", &half]);
    accepts(&["val", &float, "--data", &data, "--json", &out]);
    let expected = json(&out)["map_50"].as_f64().unwrap();
    let shown = accepts(&["val", &half, "--data", &data, "--json", &out]);
    assert!(stderr(&shown).contains("f16"), "{}", stderr(&shown));
    let found = json(&out)["map_50"].as_f64().unwrap();
    assert!((found - expected).abs() < 0.02, "{found} of {expected}");

    accepts(&["inspect", &half, "--json", &out]);
    assert_eq!(json(&out)["other_floats"][0], "f16");
    accepts(&["bench", &half, "--runs", "1", "--json", &out]);
    assert!(json(&out)["models"][0]["latency_ms"]["median"].is_f64());
    accepts(&["compare", &float, &half, "--data", &data]);
    accepts(&["detect", &half, &tiny.arg("images/val")]);

    // What is exported again stays as it is; what is worked on is written in f32, which is said.
    let again = tiny.arg("again.onnx");
    accepts(&["export", &half, "-o", &again]);
    let types = |path: &str| {
        let graph = onnx::load(path.as_ref(), &onnx::LoadOptions::default()).expect("it is read");
        ir::other_floats(&graph).len()
    };
    assert_eq!(types(&again), 1);
    for verb in [&["quantize", "--budget", "fast"][..], &["prune", "--macs", "0.1"]] {
        let worked = tiny.arg("worked.onnx");
        let mut args = verb.to_vec();
        args.extend([half.as_str(), "--data", &data, "-n", "8", "-o", &worked]);
        let shown = stderr(&accepts(&args));
        assert!(shown.contains("f16") && shown.contains("written is f32"), "{shown}");
        assert_eq!(types(&worked), 0, "{verb:?}");
        accepts(&["val", &worked, "--data", &data]);
    }
    let run = tiny.arg("run");
    let args = ["--macs", "0", "--keep", "0.5", "-n", "8", "-o", &run];
    accepts(&[&["compress", half.as_str(), "--data", &data][..], &args].concat());
}
