//! `inspect` as it is typed.
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn yoloslim(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_yoloslim")).args(args).output().expect("the binary runs")
}

fn weights(name: &str) -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/assets/weights");
    let path = root.join(name);
    if !path.exists() {
        println!("skipped: {name} (no ../shared/assets)");
        return None;
    }
    Some(path)
}

struct Case {
    model: &'static str,
    family: &'static str,
    classes: u64,
    imgsz: u64,
    params: u64,
    macs: u64,
    output_convs: usize,
    batch_norms: usize,
}

/// Parameters and MACs are those that the models' own tools report after fusing (MACs of convolutions).
const CASES: &[Case] = &[
    Case {
        model: "yolov5n_coco_fused_op17.onnx",
        family: "v5",
        classes: 80,
        imgsz: 640,
        params: 1_867_405,
        macs: 2_234_060_800,
        output_convs: 3,
        batch_norms: 0,
    },
    Case {
        model: "yolov5n_coco_bn_op17.onnx",
        family: "v5",
        classes: 80,
        imgsz: 640,
        params: 1_872_157,
        macs: 2_234_060_800,
        output_convs: 3,
        batch_norms: 57,
    },
    Case {
        model: "yolov5n_coco_focus_fused_op17.onnx",
        family: "v5",
        classes: 80,
        imgsz: 640,
        params: 1_867_405,
        macs: 2_234_060_800,
        output_convs: 3,
        batch_norms: 0,
    },
    Case {
        model: "yolox_nano_coco_416.onnx",
        family: "yolox",
        classes: 80,
        imgsz: 416,
        params: 904_463,
        macs: 522_553_408,
        output_convs: 9,
        batch_norms: 0,
    },
    Case {
        model: "yolov8n_deeppcb_320_fused_op17.onnx",
        family: "v8",
        classes: 6,
        imgsz: 320,
        params: 3_312_242,
        macs: 1_181_114_400,
        output_convs: 6,
        batch_norms: 0,
    },
];

#[test]
fn inspect_of_every_model_finds_head_parameters_and_macs() {
    let dir = tempfile::tempdir().unwrap();
    for case in CASES {
        let Some(model) = weights(case.model) else {
            return;
        };
        let json = dir.path().join("inspect.json");
        let out = yoloslim(&["inspect", model.to_str().unwrap(), "--json", json.to_str().unwrap()]);
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        let found: serde_json::Value =
            serde_json::from_str(&std::fs::read_to_string(&json).unwrap()).unwrap();
        assert_eq!(found["head"]["family"], case.family, "{}", case.model);
        assert_eq!(found["head"]["classes"], case.classes, "{}", case.model);
        assert_eq!(
            found["head"]["imgsz"],
            serde_json::json!([case.imgsz, case.imgsz]),
            "{}",
            case.model
        );
        assert_eq!(found["params"], case.params, "{}", case.model);
        assert_eq!(found["macs"], case.macs, "{}", case.model);
        assert_eq!(
            found["head"]["output_convs"].as_array().unwrap().len(),
            case.output_convs,
            "{}",
            case.model
        );
        let ranking: Vec<f64> = found["batch_norm_ranking"]
            .as_array()
            .unwrap()
            .iter()
            .map(|n| n["gamma"]["mean_abs"].as_f64().unwrap())
            .collect();
        assert_eq!(ranking.len(), case.batch_norms, "{}", case.model);
        assert!(ranking.is_sorted(), "{}", case.model);
        let layer_params: u64 =
            found["layers"].as_array().unwrap().iter().map(|l| l["params"].as_u64().unwrap()).sum();
        assert_eq!(layer_params, case.params, "{}", case.model);
    }
}

#[test]
fn inspect_of_a_truncated_model_exits_2_and_names_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let Some(model) = weights("yolox_nano_coco_416.onnx") else {
        return;
    };
    let bytes = std::fs::read(model).unwrap();
    let cut = dir.path().join("cut.onnx");
    std::fs::write(&cut, &bytes[..bytes.len() / 2]).unwrap();
    let out = yoloslim(&["inspect", cut.to_str().unwrap()]);
    let text = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(2), "{text}");
    assert!(text.contains("cut.onnx"), "{text}");
}

#[test]
fn inspect_with_a_family_that_does_not_fit_exits_2_and_says_what_was_seen() {
    let Some(model) = weights("yolox_nano_coco_416.onnx") else {
        return;
    };
    let out = yoloslim(&["inspect", model.to_str().unwrap(), "--family", "end2end"]);
    let text = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(2), "{text}");
    assert!(text.contains("[1, 3549, 85]"), "{text}");
    // Rows of 4 + 81 are possible, though the graph says otherwise.
    let out = yoloslim(&["inspect", model.to_str().unwrap(), "--family", "v8"]);
    let text = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success() && text.contains("--family names it"), "{text}");
}

#[test]
fn inspect_of_a_missing_file_exits_2_and_names_it() {
    let out = yoloslim(&["inspect", "no-such-model.onnx"]);
    assert_eq!(out.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&out.stderr).contains("no-such-model.onnx"));
}
