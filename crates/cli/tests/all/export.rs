//! `export`, and training checkpoints as `MODEL`.

use crate::support::{Tiny, accepts, assets, json, refuses, text};
use std::process::Command;

/// Checkpoint, arguments, and the file its vendor's exporter wrote.
const EXPORTS: &[(&str, &[&str], &str)] = &[
    ("yolov5n_coco", &[], "yolov5n_coco_fused_op17"),
    ("yolov5n_coco", &["--keep-bn", "--opset", "13"], "yolov5n_coco_bn_op17"),
    ("yolov5n_coco_focus", &[], "yolov5n_coco_focus_fused_op17"),
    ("yolov8n_deeppcb", &["--opset", "21"], "yolov8n_deeppcb_320_fused_op17"),
];

#[test]
fn export_of_a_checkpoint_equals_the_vendors_in_onnx_runtime() {
    let Some(assets) = assets("export of real checkpoints") else {
        return;
    };
    let python = std::env::var("YOLOSLIM_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let importable = Command::new(&python).args(["-c", "import onnxruntime"]).output();
    let referee = importable.is_ok_and(|o| o.status.success());
    if !referee {
        println!("skipped: comparison with ONNX Runtime (not importable by {python})");
    }
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../onnx/tests/compare_with_onnxruntime.py");
    let dir = tempfile::tempdir().expect("a folder");
    for (name, options, vendor) in EXPORTS {
        let model = text(assets.join(format!("weights/{name}.pt")));
        let vendor = text(assets.join(format!("weights/{vendor}.onnx")));
        let out = text(dir.path().join("out.onnx"));
        accepts(&[&["export", &model, "-o", &out], *options].concat());
        if !referee {
            continue;
        }
        let run =
            Command::new(&python).args([script, &vendor, &out]).output().expect("python runs");
        let error = String::from_utf8_lossy(&run.stderr);
        assert!(run.status.success(), "{name}: {error}");
        let printed = String::from_utf8_lossy(&run.stdout);
        let difference: f64 = printed.trim().parse().expect("a number");
        println!("{name} {options:?}: {difference:e}");
        assert!(difference <= 1e-5, "{name}: {difference:e}");
    }
}

#[test]
fn export_in_half_precision_takes_half_the_bytes() {
    let Some(assets) = assets("export of a real checkpoint") else {
        return;
    };
    let dir = tempfile::tempdir().expect("a folder");
    let model = text(assets.join("weights/structural/yolo11n_random.pt"));
    let bytes = |options: &[&str]| {
        let out = text(dir.path().join("out.onnx"));
        let record = text(dir.path().join("out.json"));
        let verb = ["export", &model, "-o", &out, "--json", &record, "--imgsz", "320"];
        accepts(&[&verb, options].concat());
        let record = json(&record);
        assert_eq!(record["output"], serde_json::json!([1, 84, 2100]));
        record["file_bytes"].as_f64().expect("a number")
    };
    let share = bytes(&["--half"]) / bytes(&[]);
    assert!((0.49..0.55).contains(&share), "{share}");
}

#[test]
fn inspect_of_a_checkpoint_shows_its_gammas() {
    let Some(assets) = assets("a real checkpoint") else {
        return;
    };
    let out = accepts(&["inspect", &text(assets.join("weights/yolov5n_coco.pt"))]);
    let shown = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(shown.contains("/model.2/cv1/bn/BatchNormalization"), "{shown}");
}

#[test]
fn val_of_a_checkpoint_equals_that_of_its_export() {
    let Some(assets) = assets("val of real checkpoints") else {
        return;
    };
    let dir = tempfile::tempdir().expect("a folder");
    for (name, export, data) in [
        ("yolov5n_coco", "yolov5n_coco_fused_op17", "coco"),
        ("yolov8n_deeppcb", "yolov8n_deeppcb_320_fused_op17", "deeppcb"),
    ] {
        let data = text(assets.join(data).join("data.yaml"));
        let map = |file: String| {
            let model = text(assets.join("weights").join(file));
            let record = text(dir.path().join("val.json"));
            accepts(&["val", &model, "--data", &data, "--json", &record]);
            json(&record)["map_50_95"].as_f64().expect("a number")
        };
        let (found, expected) = (map(format!("{name}.pt")), map(format!("{export}.onnx")));
        assert!((found - expected).abs() <= 1e-4, "{name}: {found} and {expected}");
    }
}

#[test]
fn files_that_are_no_checkpoints_are_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = text(dir.path().join("best.pt"));
    std::fs::write(&path, b"\x80\x02cos\nsystem\nX\x02\0\0\0ls\x85R.").expect("written");
    refuses(&["inspect", &path], &["best.pt", "not a checkpoint of PyTorch"]);
    let out = text(dir.path().join("out.onnx"));
    refuses(&["export", &path, "-o", &out], &["best.pt"]);
    assert!(!std::path::Path::new(&out).exists());
}

/// NMS, as the reader keeps it.
fn suppression(e: &mut ir::Edit, [boxes, scores]: [ir::ValueId; 2]) -> ir::ValueId {
    let op = ir::ops::Opaque {
        op_type: "NonMaxSuppression".into(),
        domain: String::new(),
        reason: String::new(),
        // A NodeProto: two inputs, an output, the operator's name.
        proto: b"\x0a\x01a\x0a\x01b\x12\x01c\x22\x11NonMaxSuppression".to_vec(),
    };
    e.node_typed("nms", op, &[boxes, scores], &[("picked", None)])[0]
}

/// The tiny detector's rows, suppressed by an operator that only ONNX Runtime knows.
fn suppressed() -> ir::Graph {
    let mut graph = testkit::tiny::detector();
    let rows = graph.outputs()[0];
    let mut e = graph.edit();
    let part = |e: &mut ir::Edit, start: usize, len: usize| {
        let ranges = vec![ir::ops::SliceRange { axis: 2, start, len, step: 1 }];
        e.node("part", ir::ops::Slice { ranges }, &[rows], &["part"])[0]
    };
    let (boxes, scores) = (part(&mut e, 0, 4), part(&mut e, 5, 2));
    let perm = vec![0, 2, 1];
    let scores = e.node("turn", ir::ops::Transpose { perm }, &[scores], &["turned"])[0];
    let picked = suppression(&mut e, [boxes, scores]);
    e.set_outputs(&[picked]);
    graph.apply(e).expect("the tail is valid");
    graph
}

#[test]
fn export_of_a_model_with_nms_keeps_it_and_cuts_it_when_asked() {
    let tiny = Tiny::new(0, 8);
    let path = |name: &str| tiny.arg(name);
    std::fs::write(tiny.path("nms.onnx"), onnx::encode(&suppressed()).unwrap()).expect("written");
    let (data, model) = (path("data.yaml"), path("nms.onnx"));
    refuses(&["val", &model, "--data", &data], &["NonMaxSuppression", "--rewrite cut_nms"]);
    accepts(&["export", &model, "-o", &path("kept.onnx")]);
    let read = |name: &str| {
        let graph = onnx::load(&tiny.path(name), &onnx::LoadOptions::default()).expect("a model");
        let protos = graph.nodes().filter_map(|(_, n)| match &n.op {
            ir::Op::Opaque(o) => Some((o.op_type.clone(), o.proto.clone())),
            _ => None,
        });
        protos.collect::<Vec<_>>()
    };
    assert_eq!(read("nms.onnx").len(), 1);
    assert_eq!(read("nms.onnx"), read("kept.onnx"));
    let cut = path("cut.onnx");
    accepts(&["export", &model, "-o", &cut, "--rewrite", "cut_nms"]);
    let of = |model: &str| {
        let out = path("val.json");
        accepts(&["val", model, "--data", &data, "--json", &out]);
        json(&out)["map_50_95"].as_f64()
    };
    assert_eq!(of(&cut), of(&path("tiny.onnx")));
}

#[test]
fn export_of_nms_whose_boxes_and_scores_were_never_joined_exits_2_and_says_why() {
    let tiny = Tiny::new(0, 0);
    let mut graph = ir::Graph::new(17);
    let mut e = graph.edit();
    let of = |shape: [usize; 3]| ir::TensorType::new(ir::DataType::F32, shape);
    let [boxes, scores] =
        [("boxes", [1, 12, 4]), ("scores", [1, 3, 12])].map(|(n, s)| e.input(n, of(s)));
    let picked = suppression(&mut e, [boxes, scores]);
    e.output(picked);
    graph.apply(e).expect("the tail is valid");
    std::fs::write(tiny.path("apart.onnx"), onnx::encode(&graph).unwrap()).expect("written");
    let (model, out) = (tiny.arg("apart.onnx"), tiny.arg("cut.onnx"));
    refuses(
        &["export", &model, "-o", &out, "--rewrite", "cut_nms"],
        &["NonMaxSuppression", "never joined"],
    );
    assert!(!tiny.path("cut.onnx").exists());
}
