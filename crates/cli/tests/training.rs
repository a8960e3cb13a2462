//! `train` as it is typed, on a tiny data set.
mod support;
use support::{Tiny, accepts, json, kill_and_go_on, refuses, stderr, yoloslim};

/// What makes a network that learns in seconds.
const SMALL: [&str; 8] = ["--arch", "v8", "--width", "0.05", "--depth", "0.1", "--imgsz", "64"];

/// The command, with the options that are typed last.
fn typed(tiny: &Tiny, out: &str, more: &[&str]) -> Vec<String> {
    let (data, told, out) = (tiny.arg("data.yaml"), tiny.arg("train.json"), tiny.arg(out));
    let train = ["train", "--data", &data, "-o", &out, "--json", &told];
    [&train[..], more].concat().into_iter().map(str::to_owned).collect()
}

fn train(tiny: &Tiny, out: &str, more: &[&str]) -> serde_json::Value {
    accepts(&typed(tiny, out, more).iter().map(String::as_str).collect::<Vec<_>>());
    json(tiny.arg("train.json"))
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
fn train_killed_on_the_way_goes_on_to_the_same_bytes() {
    let tiny = Tiny::new(12, 0);
    let args = [&SMALL[..], &["--epochs", "20", "--batch", "4"]].concat();
    let whole = train(&tiny, "whole.onnx", &args);
    kill_and_go_on(&typed(&tiny, "killed.onnx", &args), &tiny.path("killed.onnx"));
    let bytes = |name: &str| std::fs::read(tiny.path(name)).unwrap();
    assert!(bytes("killed.onnx") == bytes("whole.onnx"));
    assert_eq!(json(tiny.arg("train.json"))["curve"], whole["curve"]);
}

#[test]
fn train_by_sgd_learns() {
    let tiny = Tiny::new(24, 0);
    let long = ["--epochs", "40", "--batch", "8", "--rate", "0.02", "--optimizer", "sgd"];
    let found = train(&tiny, "made.onnx", &[&SMALL[..], &long].concat());
    assert!(found["best"]["map_50_95"].as_f64().unwrap() > 0.1, "{found}");
    assert_eq!(found["options"]["optimizer"], "sgd");
}

#[test]
fn train_within_little_memory_says_what_it_takes_and_what_it_needs() {
    let tiny = Tiny::new(8, 0);
    let short = ["--epochs", "1", "--batch", "4"];
    let said = |more: &[&str]| {
        let typed = typed(&tiny, "made.onnx", &[&SMALL[..], &short, more].concat());
        stderr(&yoloslim(&typed.iter().map(String::as_str).collect::<Vec<_>>()))
    };
    let refused = said(&["--memory-mb", "1"]);
    assert!(refused.contains("MB even with one image at a time"), "{refused}");
    assert!(!tiny.path("made.onnx").exists());
    let told = said(&[]);
    assert!(told.contains("memory: about") && told.contains("4 at a time"), "{told}");
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
