//! `tune` as it is typed, on a tiny detector.
use crate::support::{Tiny, accepts, json, kill_and_go_on, refuses, stderr, yoloslim};
use ir::Tensor;
use std::path::Path;

/// A tiny detector and a student of it whose weights are off by up to a quarter.
struct Tuning {
    tiny: Tiny,
}

impl Tuning {
    fn new() -> Self {
        let tiny = Tiny::new(12, 0);
        let options = onnx::LoadOptions::default();
        let mut graph = onnx::load(&tiny.path("tiny.onnx"), &options).unwrap();
        let mut edit = graph.edit();
        for (id, value) in graph.values() {
            let kernel = value.constant.as_ref().filter(|t| t.shape().len() == 4);
            if let Some(tensor) = kernel {
                let factors = [0.75, 1.2, 0.9].into_iter().cycle();
                let elements = tensor.as_slice::<f32>().unwrap().iter().zip(factors);
                let elements: Vec<f32> = elements.map(|(w, factor)| w * factor).collect();
                edit.set_constant(id, Tensor::new(tensor.shape(), elements).unwrap());
            }
        }
        graph.apply(edit).unwrap();
        tiny.put("student.onnx", &onnx::encode(&graph).unwrap());
        Self { tiny }
    }

    /// The command, with the options that are typed last.
    fn typed(&self, out: &str, more: &[&str]) -> Vec<String> {
        let [student, teacher, data] =
            ["student.onnx", "tiny.onnx", "data.yaml"].map(|name| self.tiny.arg(name));
        let (out, told) = (self.tiny.arg(out), self.tiny.arg("tune.json"));
        let tune = ["tune", &student, "--teacher", &teacher, "--data", &data];
        let rest = ["-o", &out, "--json", &told];
        [&tune[..], &rest, more].concat().into_iter().map(str::to_owned).collect()
    }

    fn run(&self, out: &str, more: &[&str]) -> serde_json::Value {
        let few = [&["--steps", "12", "--batch", "4"], more].concat();
        let few = if more.contains(&"--steps") { more.to_vec() } else { few };
        let typed = self.typed(out, &few);
        accepts(&typed.iter().map(String::as_str).collect::<Vec<_>>());
        json(self.tiny.arg("tune.json"))
    }
}

#[test]
fn tune_brings_a_student_nearer_to_its_teacher() {
    let tuning = Tuning::new();
    let found = tuning.run("tuned.onnx", &[]);
    let held_out = |point: &serde_json::Value| point["held_out"].as_f64().unwrap();
    let (start, best) = (&found["curve"][0], &found["best"]);
    assert_eq!(start["step"], 0);
    assert!(held_out(best) < 0.8 * held_out(start), "{found}");
    assert!(best["step"].as_u64().unwrap() > 0);
    assert!(found["rate"].as_f64().unwrap() > 0.0);
    let [before, after] = ["student.onnx", "tuned.onnx"].map(|name| {
        onnx::load(tuning.tiny.arg(name).as_ref(), &onnx::LoadOptions::default()).unwrap()
    });
    assert_eq!(before.macs(), after.macs());
}

#[test]
fn tune_writes_the_same_bytes_on_one_and_two_threads() {
    let tuning = Tuning::new();
    let written = ["1", "2"].map(|threads| {
        let out = format!("tuned{threads}.onnx");
        tuning.run(&out, &["--threads", threads, "--rate", "0.003"]);
        std::fs::read(tuning.tiny.arg(&out)).unwrap()
    });
    assert_eq!(written[0], written[1]);
}

#[test]
fn tune_killed_on_the_way_goes_on_to_the_same_bytes() {
    let tuning = Tuning::new();
    let args = ["--steps", "36", "--rate", "0.003", "--batch", "3"];
    let whole = tuning.run("whole.onnx", &args);
    let typed = tuning.typed("killed.onnx", &args);
    kill_and_go_on(&typed, Path::new(&tuning.tiny.arg("killed.onnx")));
    let bytes = |name: &str| std::fs::read(tuning.tiny.arg(name)).unwrap();
    assert!(bytes("killed.onnx") == bytes("whole.onnx"));
    assert_eq!(json(tuning.tiny.arg("tune.json"))["curve"], whole["curve"]);
}

#[test]
fn tune_by_sgd_brings_a_student_nearer_to_its_teacher() {
    let tuning = Tuning::new();
    let found = tuning.run("tuned.onnx", &["--optimizer", "sgd"]);
    let [start, best] = [&found["curve"][0], &found["best"]].map(|p| p["held_out"].as_f64());
    assert!(best.unwrap() < 0.8 * start.unwrap(), "{found}");
    assert_eq!(found["options"]["optimizer"], "sgd");
}

#[test]
fn tune_within_little_memory_says_what_it_takes_and_what_it_needs() {
    let tuning = Tuning::new();
    let typed = tuning.typed("refused.onnx", &["--memory-mb", "1"]);
    let typed: Vec<&str> = typed.iter().map(String::as_str).collect();
    refuses(&typed, &["MB even with one image at a time", "1 MB are allowed"]);
    let typed = tuning.typed("tuned.onnx", &["--steps", "1", "--rate", "0.003"]);
    let typed: Vec<&str> = typed.iter().map(String::as_str).collect();
    assert!(stderr(&yoloslim(&typed)).contains("memory: about"));
}

#[test]
fn tune_uses_labels_as_it_is_told_and_decides_by_held_out_images_where_it_is_not() {
    let tuning = Tuning::new();
    let flips = ["--rate", "0.003", "--augment", "flip_vertical=0.5,mosaic=0.5"];
    for labels in ["off", "mixed", "only"] {
        let found = tuning.run("tuned.onnx", &[&flips[..], &["--labels", labels]].concat());
        assert_eq!(found["labels"], labels);
        assert_eq!(found["label_trial"], serde_json::Value::Null);
        assert!(found["best"]["map_50_95"].as_f64().unwrap() > 0.0, "{found}");
    }
    let typed = tuning.typed("tuned.onnx", &[&flips[..], &["--steps", "2"]].concat());
    let said = yoloslim(&typed.iter().map(String::as_str).collect::<Vec<_>>());
    let found = json(tuning.tiny.arg("tune.json"));
    let trial = &found["label_trial"];
    let [with, without] = ["with", "without"].map(|key| trial[key].as_f64().unwrap());
    let [used, learned_from] =
        if with >= without { ["mixed", "teacher and labels"] } else { ["off", "the teacher"] };
    assert_eq!(found["labels"], used);
    let expected = format!("learning from {learned_from}: short tries reached map_50_95 {with:.4}");
    assert!(stderr(&said).contains(&expected), "{}", stderr(&said));
}

#[test]
fn tune_learns_from_the_teacher_where_nothing_is_labelled() {
    let tuning = Tuning::new();
    for file in tuning.tiny.files("labels/train") {
        std::fs::remove_file(file).unwrap();
    }
    let found = tuning.run("tuned.onnx", &[]);
    assert_eq!(found["labels"], "off");
    assert_eq!(found["best"]["map_50_95"], serde_json::Value::Null);
    let [student, teacher, data, out] =
        ["student.onnx", "tiny.onnx", "data.yaml", "refused.onnx"].map(|n| tuning.tiny.arg(n));
    let tune = ["tune", &student, "--teacher", &teacher, "--data", &data, "-o", &out];
    refuses(&[&tune[..], &["--labels", "only"]].concat(), &["nothing is labelled"]);
    refuses(&[&tune[..], &["--augment", "turn=1"]].concat(), &["turn=1", "flip_vertical"]);
}

#[test]
fn tune_on_windows_brings_a_student_nearer_and_other_sizes_are_refused() {
    let tuning = Tuning::new();
    let found = tuning.run("tuned.onnx", &["--window", "32", "--labels", "off"]);
    let [start, best] = [&found["curve"][0], &found["best"]].map(|p| p["held_out"].as_f64());
    assert!(best.unwrap() < 0.9 * start.unwrap(), "{found}");
    let [student, teacher, data, out] =
        ["student.onnx", "tiny.onnx", "data.yaml", "refused.onnx"].map(|n| tuning.tiny.arg(n));
    let tune = ["tune", &student, "--teacher", &teacher, "--data", &data, "-o", &out];
    for side in ["48", "128"] {
        refuses(&[&tune[..], &["--window", side]].concat(), &[side, "64x64", "multiple of 32"]);
    }
}

#[test]
fn tune_refuses_labels_of_another_count_of_classes() {
    let tuning = Tuning::new();
    let yaml = "path: .\ntrain: images/train\nval: images/val\nnames: [red, blue, green]\n";
    tuning.tiny.put("three.yaml", yaml.as_bytes());
    let [student, teacher, data, out] =
        ["student.onnx", "tiny.onnx", "three.yaml", "refused.onnx"].map(|n| tuning.tiny.arg(n));
    let tune = ["tune", &student, "--teacher", &teacher, "--data", &data, "-o", &out];
    refuses(&tune, &["three.yaml", "2 classes", "3"]);
}

#[test]
fn tune_refuses_a_teacher_of_another_form_and_too_few_images() {
    let tuning = Tuning::new();
    let other = Tiny::new(4, 0);
    let [student, data] = ["student.onnx", "data.yaml"].map(|name| tuning.tiny.arg(name));
    let (teacher, few) = (tuning.tiny.arg("tiny.onnx"), other.arg("data.yaml"));
    let out = tuning.tiny.arg("refused.onnx");
    let tune = ["tune", &student, "-o", &out, "--teacher"];
    refuses(&[&tune[..], &[&teacher, "--data", &few]].concat(), &["8 images are needed"]);
    refuses(&[&tune[..], &[&data, "--data", &data]].concat(), &["data.yaml"]);
    assert!(!std::path::Path::new(&out).exists());
}
