//! What every verb writes with `--json` is what `docs/schema` says.
use crate::support::schema::breaches;
use crate::support::{Tiny, accepts, json};

/// Runs a verb with `--json` and holds its record against the schema.
fn keeps_to(schema: &str, tiny: &Tiny, args: &[&str]) {
    let out = tiny.arg("record.json");
    accepts(&[args, &["--json", &out]].concat());
    let breaches = breaches(&json(&out), schema);
    assert!(breaches.is_empty(), "{schema}:\n{}", breaches.join("\n"));
}

#[test]
fn json_of_one_model_keeps_to_its_schema() {
    let tiny = Tiny::new(12, 8);
    tiny.put("images/val/broken.png", b"no image");
    tiny.put("labels/val/0000.txt", b"0 0.5 0.5 0.25 0.25\n7 7 7\n");
    let (model, data, images) =
        (tiny.arg("tiny.onnx"), tiny.arg("data.yaml"), tiny.arg("images/val"));
    let drawn = tiny.arg("drawn");
    keeps_to("inspect.json", &tiny, &["inspect", &model]);
    keeps_to("inspect-groups.json", &tiny, &["inspect", &model, "--groups"]);
    keeps_to(
        "inspect-sensitivity.json",
        &tiny,
        &["inspect", &model, "--sensitivity", "--data", &data],
    );
    keeps_to("val.json", &tiny, &["val", &model, "--data", &data]);
    keeps_to("detect.json", &tiny, &["detect", &model, &images, "--out", &drawn]);
    keeps_to("bench.json", &tiny, &["bench", &model, "--runs", "2", "--plan"]);
    let exported = tiny.arg("exported.onnx");
    keeps_to("export.json", &tiny, &["export", &model, "-o", &exported]);
}

#[test]
fn json_of_what_makes_models_keeps_to_its_schema() {
    let tiny = Tiny::new(16, 20);
    let (model, data) = (tiny.arg("tiny.onnx"), tiny.arg("data.yaml"));
    let (int8, pruned, run) = (tiny.arg("int8.onnx"), tiny.arg("pruned.onnx"), tiny.arg("run"));
    keeps_to("quantize.json", &tiny, &["quantize", &model, "--data", &data, "-o", &int8]);
    keeps_to("inspect-ranges.json", &tiny, &["inspect", &int8, "--ranges", "--data", &data]);
    let set = tiny.arg("set");
    keeps_to("calibset.json", &tiny, &["calibset", &data, "-n", "12", "-o", &set]);
    let unlabelled = ["calibset", &tiny.arg("images/train"), "-n", "12", "-o", &set];
    keeps_to("calibset.json", &tiny, &unlabelled);
    keeps_to(
        "prune.json",
        &tiny,
        &["prune", &model, "--data", &data, "--macs", "0.2", "-o", &pruned],
    );
    let tuned = tiny.arg("tuned.onnx");
    let tune = ["tune", &pruned, "--teacher", &model, "--data", &data];
    let few = ["-o", &tuned, "--steps", "2", "--rate", "0.001"];
    keeps_to("tune.json", &tiny, &[&tune[..], &few].concat());
    let train = ["train", &model, "--data", &data, "-o", &tuned, "--epochs", "1"];
    keeps_to("train.json", &tiny, &train);
    keeps_to("compare.json", &tiny, &["compare", &model, &int8, "--data", &data]);
    let compress = ["compress", &model, "--data", &data, "-o", &run, "--macs", "0.2"];
    keeps_to("compress.json", &tiny, &[&compress[..], &["--keep", "0.5"]].concat());
    let metrics = breaches(&json(tiny.path("run/metrics.json")), "compress.json");
    assert!(metrics.is_empty(), "{}", metrics.join("\n"));
    keeps_to("report.json", &tiny, &["report", &run]);
}
