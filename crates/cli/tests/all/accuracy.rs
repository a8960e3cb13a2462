//! `val`, `quantize`, `prune`, `detect` and `bench` as they are typed, on real models and images.
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn yoloslim(args: &[&str]) -> Output {
    let binary = env!("CARGO_BIN_EXE_yoloslim");
    Command::new(binary).args(args).output().expect("the binary runs")
}

fn assets() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/assets");
    if !root.exists() {
        println!("skipped: accuracy of real models (no ../shared/assets)");
        return None;
    }
    Some(root)
}

fn text(path: PathBuf) -> String {
    path.to_str().expect("test paths are UTF-8").to_owned()
}

fn val(model: &str, data: &str) -> f64 {
    let dir = tempfile::tempdir().unwrap();
    let json = text(dir.path().join("val.json"));
    let out = yoloslim(&["val", model, "--data", data, "--json", &json]);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let record: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(json).unwrap()).unwrap();
    record["map_50_95"].as_f64().unwrap()
}

/// Reference figures: ONNX Runtime and pycocotools on the same images.
#[test]
fn val_of_every_family_agrees_with_onnx_runtime_and_pycocotools() {
    let Some(assets) = assets() else { return };
    for (model, data, expected) in [
        ("yolov5n_coco_fused_op17", "coco", 0.3356),
        ("yolox_nano_coco_416", "coco", 0.3432),
        ("yolov8n_deeppcb_320_fused_op17", "deeppcb", 0.6232),
    ] {
        let model = text(assets.join(format!("weights/{model}.onnx")));
        let found = val(&model, &text(assets.join(data).join("data.yaml")));
        assert!((found - expected).abs() <= 0.002, "{model}: {found}");
    }
}

#[test]
fn quantize_as_typed_keeps_96_percent_of_the_map() {
    let Some(assets) = assets() else { return };
    let dir = tempfile::tempdir().unwrap();
    for (model, data, float) in [
        ("yolov5n_coco_fused_op17", "coco", 0.3356),
        ("yolov8n_deeppcb_320_fused_op17", "deeppcb", 0.6232),
    ] {
        let source = text(assets.join(format!("weights/{model}.onnx")));
        let data = text(assets.join(data).join("data.yaml"));
        let (int8, json) = (text(dir.path().join("int8.onnx")), text(dir.path().join("plan.json")));
        let out = yoloslim(&["quantize", &source, "--data", &data, "-o", &int8, "--json", &json]);
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        let record: serde_json::Value =
            serde_json::from_str(&std::fs::read_to_string(&json).unwrap()).unwrap();
        assert!(record["int8_macs_share"].as_f64().unwrap() >= 0.95, "{model}");
        let kept = val(&int8, &data) / float;
        assert!(kept >= 0.96, "{model}: {kept}");
    }
}

#[test]
fn prune_by_macs_writes_a_smaller_model_that_evaluates() {
    let Some(assets) = assets() else { return };
    let dir = tempfile::tempdir().unwrap();
    let source = text(assets.join("weights/yolov8n_deeppcb_320_fused_op17.onnx"));
    let data = text(assets.join("deeppcb/data.yaml"));
    let (pruned, json) =
        (text(dir.path().join("pruned.onnx")), text(dir.path().join("prune.json")));
    let out = yoloslim(&[
        "prune", &source, "--data", &data, "-n", "10", "--macs", "0.1", "-o", &pruned, "--json",
        &json,
    ]);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let record: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(&json).unwrap()).unwrap();
    let kept = record["macs"].as_f64().unwrap() / record["source_macs"].as_f64().unwrap();
    assert!((0.8..=0.9).contains(&kept), "{kept}");
    val(&pruned, &data);
}

/// The figure of docs/benchmarks.md, of 100 images, is 99.9 %.
#[test]
fn prune_of_a_fifth_of_the_macs_keeps_99_percent_of_the_map() {
    let Some(assets) = assets() else { return };
    let dir = tempfile::tempdir().unwrap();
    let source = text(assets.join("weights/yolov8n_deeppcb_320_fused_op17.onnx"));
    let data = text(assets.join("deeppcb/data.yaml"));
    let pruned = text(dir.path().join("pruned.onnx"));
    let out =
        yoloslim(&["prune", &source, "--data", &data, "-n", "60", "--macs", "0.2", "-o", &pruned]);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let kept = val(&pruned, &data) / 0.6232;
    assert!(kept >= 0.99, "{kept}");
}

/// The figures of docs/benchmarks.md, of 100 images, are 99.0 % of the mAP in 12.8 % of the file.
#[test]
fn compress_of_the_main_job_passes_the_gate_with_a_seventh_of_the_file() {
    let Some(assets) = assets() else { return };
    let dir = tempfile::tempdir().unwrap();
    let source = text(assets.join("weights/yolov8n_deeppcb_320_fused_op17.onnx"));
    let data = text(assets.join("deeppcb/data.yaml"));
    let run = dir.path().join("run");
    let out = yoloslim(&[
        "compress",
        &source,
        "--data",
        &data,
        "-n",
        "60",
        "--macs",
        "0.3",
        "-o",
        &text(run.clone()),
    ]);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let record: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(run.join("metrics.json")).unwrap()).unwrap();
    let of = |key: &str| {
        record["quantized"][key].as_f64().unwrap() / record["baseline"][key].as_f64().unwrap()
    };
    assert!(of("map_50_95") >= 0.975, "{}", of("map_50_95"));
    assert!(of("file_bytes") <= 1.0 / 7.0, "{}", of("file_bytes"));
}

#[test]
fn compress_that_fails_the_gate_exits_1_and_writes_everything() {
    let Some(assets) = assets() else { return };
    let dir = tempfile::tempdir().unwrap();
    let source = text(assets.join("weights/yolov8n_deeppcb_320_fused_op17.onnx"));
    let data = text(assets.join("deeppcb/data.yaml"));
    let run = dir.path().join("run");
    // The lower end of the interval of a quantized model never keeps all of the mAP.
    let out = yoloslim(&[
        "compress",
        &source,
        "--data",
        &data,
        "-n",
        "20",
        "--macs",
        "0",
        "--keep",
        "1.0",
        "--strict",
        "-o",
        &text(run.clone()),
    ]);
    assert_eq!(out.status.code(), Some(1), "{}", String::from_utf8_lossy(&out.stderr));
    let record: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(run.join("metrics.json")).unwrap()).unwrap();
    assert_eq!(record["gate"]["passed"], false);
    assert!(run.join("model.onnx").exists() && run.join("pruned.onnx").exists());
}

#[test]
fn val_on_data_of_other_classes_exits_2_and_tells_both_counts() {
    let Some(assets) = assets() else { return };
    let model = text(assets.join("weights/yolov8n_deeppcb_320_fused_op17.onnx"));
    let data = text(assets.join("coco/data.yaml"));
    let out = yoloslim(&["val", &model, "--data", &data]);
    let message = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(2), "{message}");
    assert!(message.contains("6 classes") && message.contains("80"), "{message}");
}

#[test]
fn detect_on_photos_finds_the_bus_and_draws_it() {
    let Some(assets) = assets() else { return };
    let dir = tempfile::tempdir().unwrap();
    let model = text(assets.join("weights/yolov5n_coco_fused_op17.onnx"));
    let (photos, drawn) = (text(assets.join("photos")), text(dir.path().join("drawn")));
    let out = yoloslim(&["detect", &model, &photos, "--out", &drawn]);
    let table = String::from_utf8_lossy(&out.stdout);
    assert!(out.status.success());
    assert!(table.contains("bus") && table.contains("tie"), "{table}");
    let picture = std::fs::metadata(dir.path().join("drawn/bus.jpg")).unwrap();
    assert!(picture.len() > 10_000);
}

#[test]
fn bench_of_a_quantized_model_shows_its_latency_and_its_steps() {
    let Some(assets) = assets() else { return };
    let dir = tempfile::tempdir().unwrap();
    let source = text(assets.join("weights/yolox_nano_coco_416.onnx"));
    let data = text(assets.join("coco/data.yaml"));
    let (int8, json) = (text(dir.path().join("int8.onnx")), text(dir.path().join("bench.json")));
    let quantized = yoloslim(&["quantize", &source, "--data", &data, "-n", "4", "-o", &int8]);
    assert!(quantized.status.success());
    let out = yoloslim(&[
        "bench",
        &source,
        &int8,
        "--runs",
        "1",
        "--warmup",
        "0",
        "--plan",
        "--streams",
        "2",
        "--json",
        &json,
    ]);
    assert!(out.status.success());
    let record: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(&json).unwrap()).unwrap();
    assert!(record["models"][0]["latency_ms"]["median"].is_f64());
    let int8 = &record["models"][1];
    assert!(int8["latency_ms"]["median"].is_f64());
    assert!(int8["streams_images_per_s"].as_f64().unwrap() > 0.0);
    let steps = int8["plan"]["steps"].as_array().unwrap();
    let macs = |s: &&serde_json::Value| s["macs"].as_u64().unwrap();
    let all: u64 = steps.iter().map(|s| macs(&s)).sum();
    let integer = steps.iter().filter(|s| s["is_integer"] == true);
    assert_eq!(all, int8["macs"].as_u64().unwrap());
    assert!(integer.map(|s| macs(&s)).sum::<u64>() as f64 > 0.95 * all as f64);
}
