//! What Python referees say of the same model and images; skipped where there is no Python with them.
use crate::support::{Tiny, accepts, assets, json, text};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The standard output of a Python program, if a Python that can import `module` is there.
fn python(module: &str, args: &[&str]) -> Option<String> {
    let interpreter = std::env::var("YOLOSLIM_PYTHON").unwrap_or("python3".to_owned());
    let run = |args: &[&str]| Command::new(&interpreter).args(args).output();
    let importable = run(&["-c", &format!("import {module}")]);
    if !importable.is_ok_and(|out| out.status.success()) {
        println!("skipped: {args:?} (no Python with {module})");
        return None;
    }
    let out = run(args).expect("the interpreter runs");
    let told = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(out.status.success(), "{args:?}: {told}");
    Some(String::from_utf8_lossy(&out.stdout).into_owned())
}

#[test]
fn val_dets_by_pycocotools_have_the_map_that_val_tells() {
    let Some(assets) = assets("detections by pycocotools") else {
        return;
    };
    let referee = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/peers/dets_map.py");
    if !referee.exists() {
        println!("skipped: detections by pycocotools (no ../shared/peers)");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let [dets, out] = ["dets.json", "val.json"].map(|f| text(dir.path().join(f)));
    for (model, data) in
        [("yolox_nano_coco_416", "coco"), ("yolov8n_deeppcb_320_fused_op17", "deeppcb")]
    {
        let model = text(assets.join(format!("weights/{model}.onnx")));
        let data = text(assets.join(data).join("data.yaml"));
        accepts(&["val", &model, "--data", &data, "--dets", &dets, "--json", &out]);
        let args = [&text(&referee), &dets, "--data", &data];
        let Some(told) = python("pycocotools", &args) else {
            return;
        };
        let last = told.lines().last().expect("a line of JSON");
        let expected: serde_json::Value = serde_json::from_str(last).unwrap();
        let found = json(&out);
        for key in ["map_50_95", "map_50"] {
            let [ours, theirs] = [&found, &expected].map(|r| r[key].as_f64().expect(key));
            assert!((ours - theirs).abs() < 1e-6, "{model} {key}: {ours}, {theirs}");
        }
    }
}

/// ONNX Runtime's shared library, as it ships in the Python package.
fn onnx_runtime() -> Option<PathBuf> {
    let find = "import glob, os, onnxruntime as o\n\
        print((glob.glob(os.path.join(os.path.dirname(o.__file__), 'capi', 'libonnxruntime.so*')) + [''])[0])";
    let found = PathBuf::from(python("onnxruntime", &["-c", find])?.trim());
    found.is_file().then_some(found)
}

#[test]
fn val_detect_and_bench_on_onnx_runtime_agree_with_the_builtin_engine() {
    let Some(library) = onnx_runtime() else {
        return;
    };
    let library = text(library);
    let tiny = Tiny::new(8, 16);
    let (model, data, out) = (tiny.arg("tiny.onnx"), tiny.arg("data.yaml"), tiny.arg("out.json"));
    let engine = ["--engine", "onnxruntime", "--ort-library", &library, "--json", &out];
    let map = |extra: &[&str]| {
        accepts(&[&["val", &model, "--data", &data, "--json", &out], extra].concat());
        json(&out)["map_50_95"].as_f64().unwrap()
    };
    let builtin = map(&[]);
    let theirs = map(&engine[..4]);
    assert!((builtin - theirs).abs() < 1e-3, "{builtin} {theirs}");
    assert_eq!(json(&out)["engine"], "onnxruntime");

    // The same in 16 bits, which ONNX Runtime is fed with and gives.
    let half = tiny.arg("half.onnx");
    accepts(&["export", &model, "--half", "-o", &half]);
    accepts(&[&["val", &half, "--data", &data], &engine[..]].concat());
    let narrow = json(&out)["map_50_95"].as_f64().unwrap();
    assert!((builtin - narrow).abs() < 0.02, "{builtin} {narrow}");

    accepts(&[&["detect", &model, &tiny.arg("images/val")], &engine[..]].concat());
    assert_eq!(json(&out)["images"].as_array().unwrap().len(), 16);

    let int8 = tiny.arg("int8.onnx");
    accepts(&["quantize", &model, "--data", &data, "-o", &int8, "--target", "onnxruntime"]);
    accepts(&[&["bench", &model, &int8, "--runs", "2"], &engine[..]].concat());
    for m in json(&out)["models"].as_array().unwrap() {
        assert!(m["latency_ms"]["median"].is_f64(), "{m}");
    }
}
