//! `quantize --target npu`: a float model cut behind its head finds what the whole one finds.
use crate::support;
use crate::support::schema::breaches;
use crate::support::{Tiny, accepts, assets, json, refuses, text};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

/// Detections of a model as class, score and sides, sorted.
fn detections(model: &str, source: &str, out: &str, more: &[&str]) -> Vec<(u64, [f64; 5])> {
    accepts(&[&["detect", model, source, "--json", out], more].concat());
    support::detections(&json(out))
}

/// Holds two lists of detections against each other: scores within 1e-5, sides within 1e-5 of `side_px`.
fn assert_same(found: &[(u64, [f64; 5])], expected: &[(u64, [f64; 5])], side_px: f64, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    assert!(!expected.is_empty(), "{what}: nothing is detected");
    let mut worst = [0f64; 2];
    for (a, b) in found.iter().zip(expected) {
        assert_eq!(a.0, b.0, "{what}");
        worst[0] = worst[0].max((a.1[0] - b.1[0]).abs());
        let sides = a.1[1..].iter().zip(&b.1[1..]).map(|(a, b)| (a - b).abs());
        worst[1] = sides.fold(worst[1], f64::max);
    }
    println!(
        "{what}: {} detections, scores {:e}, sides {:e} px apart",
        found.len(),
        worst[0],
        worst[1]
    );
    assert!(worst[0] <= 1e-5 && worst[1] <= 1e-5 * side_px, "{what}: {worst:?}");
}

#[test]
fn quantize_for_npu_writes_a_cut_model_the_list_and_the_ranges() {
    let tiny = Tiny::new(6, 4);
    let (model, data, cut) = (tiny.arg("tiny.onnx"), tiny.arg("data.yaml"), tiny.arg("npu.onnx"));
    tiny.put("images/train/broken.png", b"no image");
    let out = tiny.arg("out.json");
    let quantize = ["quantize", &model, "--data", &data, "-o", &cut, "--target", "npu"];
    accepts(&[&quantize[..], &["--explain", "--json", &out]].concat());
    let record = json(&out);
    assert_eq!(breaches(&record, "quantize.json"), Vec::<String>::new());
    assert_eq!(record["int8_macs_share"], 0.0);

    let list = fs::read_to_string(tiny.path("npu.calibration.txt")).expect("written");
    let listed: Vec<&Path> = list.lines().map(Path::new).collect();
    assert_eq!(listed.len(), 6, "{list}");
    assert!(listed.iter().all(|path| path.is_absolute() && path.is_file()), "{list}");

    let ranges = json(tiny.path("npu.ranges.json"));
    assert_eq!(breaches(&ranges, "vendor-ranges.json"), Vec::<String>::new());
    let graph = onnx::load(cut.as_ref(), &onnx::LoadOptions::default()).expect("it is read");
    let names = |values: &[ir::ValueId]| -> Vec<String> {
        values.iter().map(|v| graph.value(*v).name.clone()).collect()
    };
    let told = |key: &str| -> Vec<String> {
        let all = ranges[key].as_array().expect("a list").iter();
        all.map(|o| o["name"].as_str().expect("a name").to_owned()).collect()
    };
    assert_eq!(told("outputs"), names(graph.outputs()));
    let tensors = told("tensors");
    for name in names(graph.outputs()).into_iter().chain(names(graph.inputs())) {
        assert!(tensors.contains(&name), "{name} of {tensors:?}");
    }
    for tensor in ranges["tensors"].as_array().expect("a list") {
        let [min, max] = ["min", "max"].map(|key| tensor[key].as_f64().expect("a number"));
        assert!(min <= max, "{tensor}");
        // Whatever a tensor is called here, the file has it.
        assert!(graph.value_named(tensor["name"].as_str().expect("a name")).is_some(), "{tensor}");
    }
    let stated: Value = serde_json::from_str(&graph.metadata["preprocessing"]).expect("JSON");
    assert_eq!(stated, ranges["input"]);

    let images = tiny.arg("images/val");
    let [expected, found] = [&model, &cut].map(|m| detections(m, &images, &out, &[]));
    assert_same(&found, &expected, 64.0, "tiny");
}

#[test]
fn quantize_for_npu_refuses_what_it_cannot_cut_and_says_how_to_go_on() {
    let tiny = Tiny::new(4, 2);
    let (model, data, out) = (tiny.arg("tiny.onnx"), tiny.arg("data.yaml"), tiny.arg("out.onnx"));
    let npu = ["--data", &data, "-o", &out, "--target", "npu"];
    refuses(&[&["quantize", &model], &npu[..], &["--head", "fp16"]].concat(), &["--head"]);
    let run = tiny.arg("run");
    let compress = ["compress", &model, "--data", &data, "-o", &run, "--macs", "0"];
    refuses(&[&compress[..], &["--target", "npu"]].concat(), &["npu", "quantize --target"]);

    // A classifier's end is no detection head.
    let mut graph = onnx::load(model.as_ref(), &onnx::LoadOptions::default()).expect("it is read");
    let mut edit = graph.edit();
    let kind = ir::ops::ReduceKind::Mean;
    let mean = ir::ops::Reduce { kind, axes: vec![1], keepdims: false };
    let mean = edit.node("mean of all", mean, &[graph.outputs()[0]], &["mean"]);
    edit.set_outputs(&mean);
    graph.apply(edit).expect("valid");
    let strange = tiny.arg("strange.onnx");
    tiny.put("strange.onnx", &onnx::encode(&graph).expect("it is written"));
    refuses(&[&["quantize", &strange], &npu[..]].concat(), &["cut", "node `", "--family"]);
    assert!(!Path::new(&out).exists());

    // Files beside the model replace nothing that is read.
    let list = tiny.arg("list.calibration.txt");
    fs::copy(&data, &list).expect("copied");
    let beside = tiny.arg("list.onnx");
    let args = ["quantize", &model, "--data", &list, "-o", &beside, "--target", "npu"];
    refuses(&args, &["would replace"]);
}

/// Real weights of every family, and the ends of exports that differ.
#[test]
fn cut_models_of_every_family_find_what_the_whole_ones_find() {
    let Some(assets) = assets("models cut for a vendor's tool") else {
        return;
    };
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = |name: &str| text(dir.path().join(name));
    let weights = |name: &str| text(assets.join("weights").join(name));
    let [picked, v11] = ["picked.onnx", "v11.onnx"].map(path);
    let pt = weights("yolo26n_deeppcb.pt");
    accepts(&["export", &pt, "--imgsz", "320", "--end-to-end", "-o", &picked]);
    let pt = weights("structural/yolo11n_random.pt");
    accepts(&["export", &pt, "--imgsz", "320", "-o", &v11]);
    let library = support::onnx_runtime("cut models in ONNX Runtime");
    for (model, data, side_px, conf) in [
        (weights("yolov5n_coco_fused_op17.onnx"), "coco", 640.0, "0.05"),
        (weights("yolov8n_deeppcb_320_fused_op17.onnx"), "deeppcb", 640.0, "0.05"),
        (weights("yolo26n_deeppcb_320_op17.onnx"), "deeppcb", 640.0, "0.05"),
        (picked, "deeppcb", 640.0, "0.05"),
        (weights("yolox_nano_coco_416.onnx"), "coco", 640.0, "0.05"),
        (v11, "coco", 640.0, "0.0001"),
    ] {
        let (cut, out) = (path("cut.onnx"), path("out.json"));
        let data = assets.join(data);
        let yaml = text(data.join("data.yaml"));
        let npu = ["-n", "2", "-o", &cut, "--target", "npu"];
        accepts(&[&["quantize", &model, "--data", &yaml], &npu[..]].concat());
        let mut images: Vec<PathBuf> = fs::read_dir(data.join("images/val"))
            .expect("a folder")
            .map(|entry| entry.expect("an image").path())
            .collect();
        images.sort();
        let folder = dir.path().join("some");
        fs::create_dir_all(&folder).expect("a folder");
        for image in images.iter().take(4) {
            fs::copy(image, folder.join(image.file_name().expect("a file"))).expect("copied");
        }
        let images = text(&folder);
        let [expected, found] =
            [&model, &cut].map(|m| detections(m, &images, &out, &["--conf", conf]));
        assert_same(&found, &expected, side_px, &model);
        if let Some(library) = &library {
            let engine = ["--conf", conf, "--engine", "onnxruntime", "--ort-library", library];
            let [expected, found] = [&model, &cut].map(|m| detections(m, &images, &out, &engine));
            assert_same(&found, &expected, side_px, &format!("{model} in ONNX Runtime"));
        }
        fs::remove_dir_all(&folder).expect("removed");
    }
}
