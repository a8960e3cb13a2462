//! `train` as it is typed, on a tiny data set.
mod support;
use support::{Tiny, accepts, json, refuses};

/// What makes a network that learns in seconds.
const SMALL: [&str; 8] = ["--arch", "v8", "--width", "0.05", "--depth", "0.1", "--imgsz", "64"];

fn train(tiny: &Tiny, out: &str, more: &[&str]) -> serde_json::Value {
    let (data, told, out) = (tiny.arg("data.yaml"), tiny.arg("train.json"), tiny.arg(out));
    accepts(&[&["train", "--data", &data, "-o", &out, "--json", &told], more].concat());
    json(&told)
}

#[test]
fn train_makes_a_detector_from_nothing() {
    let tiny = Tiny::new(24, 4);
    let long = ["--epochs", "40", "--batch", "8", "--rate", "0.02"];
    let found = train(&tiny, "made.onnx", &[&SMALL[..], &long].concat());
    let accuracy = |point: &serde_json::Value| point["map_50_95"].as_f64().unwrap();
    assert!(accuracy(&found["curve"][0]) < 0.05, "{found}");
    assert!(accuracy(&found["best"]) > 0.3, "{found}");
    assert_eq!(found["family"], "v8");
    let (made, told) = (tiny.arg("made.onnx"), tiny.arg("val.json"));
    accepts(&["val", &made, "--data", &tiny.arg("data.yaml"), "--json", &told]);
    let on_val = accuracy(&json(&told));
    assert!(on_val > 0.1, "{on_val} of {found}");
}

#[test]
fn train_writes_the_same_bytes_on_one_and_two_threads() {
    let tiny = Tiny::new(10, 0);
    let written = ["1", "2"].map(|threads| {
        let out = format!("made{threads}.onnx");
        let short =
            ["--epochs", "2", "--batch", "4", "--augment", "mosaic=0.5", "--threads", threads];
        train(&tiny, &out, &[&SMALL[..], &short].concat());
        std::fs::read(tiny.path(&out)).unwrap()
    });
    assert_eq!(written[0], written[1]);
}

#[test]
fn train_of_given_weights_keeps_what_is_best_on_the_held_out_images() {
    let tiny = Tiny::new(16, 0);
    let model = tiny.arg("tiny.onnx");
    let found = train(&tiny, "trained.onnx", &[&model, "--epochs", "3", "--batch", "4"]);
    let accuracy = |point: &serde_json::Value| point["map_50_95"].as_f64().unwrap();
    assert!(accuracy(&found["best"]) >= accuracy(&found["curve"][0]), "{found}");
    assert_eq!(found["family"], "yolox");
    let options = onnx::LoadOptions::default();
    let load = |name: &str| onnx::load(&tiny.path(name), &options).unwrap();
    assert_eq!(load("tiny.onnx").macs(), load("trained.onnx").macs());
}

#[test]
fn train_refuses_what_cannot_be_trained() {
    let tiny = Tiny::new(8, 0);
    tiny.put("three.yaml", b"train: images/train\nval: images/train\nnames: [a, b, c]\n");
    let few = Tiny::new(3, 0);
    let (model, data, out) = (tiny.arg("tiny.onnx"), tiny.arg("data.yaml"), tiny.arg("out.onnx"));
    let typed = |more: &[&str], words: &[&str]| {
        refuses(&[&["train", "-o", &out], more].concat(), words);
    };
    typed(&["--data", &data], &["--arch"]);
    typed(&[&model, "--arch", "v8", "--data", &data], &["cannot be used with"]);
    typed(&["--arch", "v5", "--data", &data], &["possible values: v8"]);
    typed(&["--arch", "v8", "--imgsz", "100", "--data", &data], &["imgsz", "32"]);
    typed(&["--arch", "v8", "--width", "0", "--data", &data], &["width"]);
    typed(&["--arch", "v8", "--family", "v8", "--data", &data], &["--family"]);
    typed(&[&model, "--data", &tiny.arg("three.yaml")], &["classes"]);
    typed(&[&SMALL[..], &["--data", &few.arg("data.yaml")]].concat(), &["4 images are needed"]);
    assert!(!tiny.path("out.onnx").exists());
}
