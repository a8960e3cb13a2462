//! `train` as it is typed, on a tiny data set.
use crate::support::{Tiny, accepts, json, kill_and_go_on, refuses, stderr, yoloslim};

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
    with_normalisation(&tiny);
    let model = tiny.arg("norm.onnx");
    let network = &SMALL[..];
    let several = [network, &["--multi-scale"]].concat();
    let normalised = [&model, "--batch-statistics", "--sparsify", "0.5"];
    for (at, more) in [network, &several, &normalised].into_iter().enumerate() {
        let args = [more, &["--epochs", "20", "--batch", "4"]].concat();
        let [whole, killed] = ["whole", "killed"].map(|name| format!("{name}{at}.onnx"));
        let told = train(&tiny, &whole, &args);
        kill_and_go_on(&typed(&tiny, &killed, &args), &tiny.path(&killed));
        let bytes = |name: &str| std::fs::read(tiny.path(name)).unwrap();
        assert!(bytes(&killed) == bytes(&whole), "{args:?}");
        assert_eq!(json(tiny.arg("train.json"))["curve"], told["curve"]);
    }
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

/// The tiny detector with a BatchNormalization behind every convolution but those of the head.
fn with_normalisation(tiny: &Tiny) {
    let options = onnx::LoadOptions::default();
    let mut graph = onnx::load(&tiny.path("tiny.onnx"), &options).unwrap();
    let output_convs = ir::find_tail(&graph).output_convs;
    let consumers = graph.consumers();
    let mut edit = graph.edit();
    for (id, node) in graph.nodes() {
        if !matches!(node.op, ir::Op::Conv(_)) || output_convs.contains(&id) {
            continue;
        }
        let (y, channels) = (node.outputs[0], graph.ty(node.outputs[0]).unwrap().shape[1]);
        let [scale, shift, mean, variance] = [1.0f32, 0.0, 0.0, 1.0]
            .map(|number| edit.constant("norm", ir::Tensor::vector(vec![number; channels])));
        let op = ir::ops::BatchNormalization { epsilon: 1e-3 };
        let normal = edit.node("norm", op, &[y, scale, shift, mean, variance], &["normal"])[0];
        for &(reader, input) in consumers.get(&y).into_iter().flatten() {
            edit.replace_input(reader, input, normal);
        }
    }
    graph.apply(edit).unwrap();
    tiny.put("norm.onnx", &onnx::encode(&graph).unwrap());
}

/// |gamma| of all BatchNormalization of a model.
fn scales(tiny: &Tiny, model: &str) -> Vec<f64> {
    let graph = onnx::load(&tiny.path(model), &onnx::LoadOptions::default()).unwrap();
    let norms = graph.nodes().filter(|(_, n)| matches!(n.op, ir::Op::BatchNormalization(_)));
    let scales = norms.flat_map(|(_, n)| graph.constant(n.inputs[1]).unwrap().to_f64().unwrap());
    scales.map(f64::abs).collect()
}

#[test]
fn train_with_batch_statistics_keeps_batch_normalization_and_makes_its_scales_sparse() {
    let tiny = Tiny::new(24, 4);
    with_normalisation(&tiny);
    let model = tiny.arg("norm.onnx");
    let args = [&model, "--epochs", "10", "--batch", "8", "--batch-statistics"];
    let found = train(&tiny, "dense.onnx", &args);
    assert_eq!(found["options"]["batch_statistics"], true);
    assert!(found["best"]["map_50_95"].as_f64().unwrap() > 0.2, "{found}");
    let written = ["1", "2"].map(|threads| {
        let out = format!("sparse{threads}.onnx");
        train(
            &tiny,
            &out,
            &[&args[..], &["--sparsify", "1", "--rate", "0.02", "--threads", threads]].concat(),
        );
        std::fs::read(tiny.path(&out)).unwrap()
    });
    assert!(written[0] == written[1]);
    let [before, dense, sparse] =
        ["norm.onnx", "dense.onnx", "sparse1.onnx"].map(|name| scales(&tiny, name));
    assert_eq!(before.len(), sparse.len());
    let sum = |scales: &[f64]| scales.iter().sum::<f64>();
    assert!(sum(&sparse) < 0.95 * sum(&dense), "{} of {}", sum(&sparse), sum(&dense));
    let pruned = tiny.arg("pruned.onnx");
    let prune =
        ["prune", &tiny.arg("sparse1.onnx"), "--data", &tiny.arg("data.yaml"), "-o", &pruned];
    accepts(&[&prune[..], &["--ratio", "0.2", "--criterion", "bn_gamma"]].concat());
}

#[test]
fn train_on_several_sizes_learns_and_keeps_the_models_own() {
    let tiny = Tiny::new(24, 0);
    let long = ["--epochs", "30", "--batch", "8", "--rate", "0.02", "--multi-scale"];
    let found = train(&tiny, "made.onnx", &[&SMALL[..], &long].concat());
    assert!(found["best"]["map_50_95"].as_f64().unwrap() > 0.1, "{found}");
    let made = onnx::load(&tiny.path("made.onnx"), &onnx::LoadOptions::default()).unwrap();
    assert_eq!(made.ty(made.inputs()[0]).unwrap().shape, [1, 3, 64, 64]);
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
    let batch = ["--batch-statistics"];
    typed(&[&[&model[..], "--data", &data], &batch[..]].concat(), &["no BatchNormalization"]);
    typed(&[&model, "--data", &data, "--sparsify", "0.1"], &["--batch-statistics"]);
    with_normalisation(&tiny);
    let odd = [&tiny.arg("norm.onnx"), "--data", &data, "--batch", "3", "--batch-statistics"];
    typed(&odd, &["3 images", "even"]);
    assert!(!tiny.path("out.onnx").exists());
}
