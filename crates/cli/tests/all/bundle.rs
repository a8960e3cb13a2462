//! `bundle`: what is in it, that the same run gives the same digest, and what is refused.
use crate::support::schema::breaches;
use crate::support::{Tiny, accepts, json, refuses, stderr, text, yoloslim};
use std::fs;
use std::path::Path;
use std::process::Command;

/// A finished run of a tiny detector.
fn run(tiny: &Tiny, name: &str) -> String {
    let (model, data) = (tiny.arg("tiny.onnx"), tiny.arg("data.yaml"));
    let run = tiny.arg(name);
    accepts(&[
        "compress",
        &model,
        "--data",
        &data,
        "-o",
        &run,
        "--keep",
        "0.5",
        "-n",
        "24",
        "--holdout",
        "24",
        "--macs",
        "0",
    ]);
    run
}

#[test]
fn bundle_holds_what_its_manifest_says_and_its_golden_frames_prove_it() {
    let tiny = Tiny::new(72, 60);
    let run = run(&tiny, "run");
    let out = tiny.arg("out.json");
    accepts(&["bundle", &run, "--name", "squares", "--commit", "0123abc", "--json", &out]);
    let bundle = tiny.path("run.bundle");
    let manifest = json(bundle.join("bundle.json"));
    assert_eq!(json(&out)["manifest"], manifest);
    let breaches = breaches(&json(&out), "bundle.json");
    assert!(breaches.is_empty(), "{}", breaches.join("\n"));
    assert_eq!(manifest["name"], "squares");
    assert_eq!(manifest["classes"], serde_json::json!(["red", "blue"]));
    assert_eq!(manifest["provenance"]["commit"], "0123abc");
    let input = serde_json::json!({"channels": 3, "height_px": 64, "width_px": 64});
    assert_eq!(manifest["input"], input);
    // The record of the run is the referee of the figures.
    let record = json(tiny.path("run/metrics.json"));
    let metrics = &manifest["metrics"];
    for (name, key) in [("map_50_95", "map_50_95"), ("macs", "macs"), ("file_bytes", "file_bytes")]
    {
        assert_eq!(metrics[name]["value"].as_f64(), record["quantized"][key].as_f64(), "{name}");
        assert_eq!(metrics[name]["before"].as_f64(), record["baseline"][key].as_f64(), "{name}");
    }
    assert_eq!(metrics["map_50_95"]["samples"], 60);
    assert_eq!(metrics["map_50_95"]["ratio_interval"][0], record["gate"]["lower_bound"]);
    let objects = record["val_labelled"]["objects"].as_u64();
    assert_eq!(metrics["recall"]["samples"].as_u64(), objects);
    let [red, blue] = ["red", "blue"]
        .map(|class| metrics[format!("class.{class}.recall")]["samples"].as_u64().unwrap());
    assert_eq!(Some(red + blue), objects);
    // `detect` on the frames finds what the frames say, on the model of the bundle.
    let golden = json(bundle.join("golden/golden.json"));
    assert_eq!(golden["images"].as_array().unwrap().len(), 4);
    let found = tiny.arg("found.json");
    let model = text(bundle.join("models/builtin.onnx"));
    let mut typed = vec!["detect".to_owned(), model];
    for image in golden["images"].as_array().unwrap() {
        typed.push(text(bundle.join("golden").join(image["image"].as_str().unwrap())));
    }
    typed.extend(["--json".to_owned(), found.clone()]);
    accepts(&typed.iter().map(String::as_str).collect::<Vec<_>>());
    for (found, golden) in
        json(&found)["images"].as_array().unwrap().iter().zip(golden["images"].as_array().unwrap())
    {
        assert_eq!(found["detections"], golden["detections"]);
        assert!(!golden["detections"].as_array().unwrap().is_empty());
    }
    let shown = fs::read_to_string(bundle.join("report.html")).unwrap();
    let folder = tiny.arg("");
    assert!(!shown.contains(folder.trim_end_matches('/')), "the report names a folder");
    assert!(!shown.contains(" ms<"), "the report tells a time");
}

#[test]
fn bundle_of_the_same_inputs_has_the_same_digest_and_stays_with_its_signature() {
    // Two folders, two runs: only times and places differ.
    let digests: Vec<_> = ["a", "b"]
        .map(|name| {
            let tiny = Tiny::new(72, 60);
            let run = run(&tiny, name);
            let out = tiny.arg("out.json");
            accepts(&["bundle", &run, "--json", &out]);
            let first = json(&out)["digest"].as_str().unwrap().to_owned();
            let signature = tiny.path(&format!("{name}.bundle/bundle.json.minisig"));
            fs::write(&signature, "signed").unwrap();
            accepts(&["bundle", &run, "--json", &out]);
            assert_eq!(fs::read_to_string(&signature).unwrap(), "signed");
            // Another bundle takes its place, and the signature is none of its.
            accepts(&["bundle", &run, "--golden", "1", "--json", &out]);
            assert_ne!(json(&out)["digest"].as_str().unwrap(), first);
            assert!(!signature.exists());
            first
        })
        .into();
    assert_eq!(digests[0], digests[1]);
}

#[test]
fn bundle_of_what_cannot_be_vouched_for_is_refused_and_leaves_nothing() {
    let tiny = Tiny::new(72, 60);
    let run = run(&tiny, "run");
    tiny.put("other/notes.txt", b"mine");
    refuses(&["bundle", &run, "-o", &tiny.arg("other")], &["something else"]);
    refuses(&["bundle", &run, "--name", "a/b"], &["--name"]);
    refuses(&["bundle", &tiny.arg("images")], &["no finished run"]);
    let float = format!("onnxruntime={}", tiny.arg("data.yaml"));
    refuses(&["bundle", &run, "--target", &float], &["the model for onnxruntime"]);
    refuses(&["bundle", &run, "--target", "nothing=x"], &["builtin"]);
    let metrics = fs::read_to_string(tiny.path("run/metrics.json")).unwrap();
    let failed = metrics.replace("\"passed\": true", "\"passed\": false");
    tiny.put("run/metrics.json", failed.as_bytes());
    let out = yoloslim(&["bundle", &run]);
    assert_eq!(out.status.code(), Some(1), "{}", stderr(&out));
    tiny.put("run/metrics.json", metrics.as_bytes());
    let label = tiny.path("labels/val/0000.txt");
    let labels = fs::read(&label).unwrap();
    fs::write(&label, "0 0.5 0.5 0.1 0.1\n").unwrap();
    refuses(&["bundle", &run], &["have changed"]);
    fs::write(&label, labels).unwrap();
    fs::write(tiny.path("tiny.onnx"), "another").unwrap();
    refuses(&["bundle", &run], &["has changed"]);
    let left = fs::read_dir(tiny.path("")).unwrap().flatten();
    let left: Vec<_> = left.map(|entry| entry.file_name().into_string().unwrap()).collect();
    assert!(!left.iter().any(|name| name.contains("bundle")), "{left:?}");
    assert!(tiny.path("other/notes.txt").exists());
}

#[test]
fn bundle_with_a_second_target_measures_it_and_proves_it() {
    let tiny = Tiny::new(72, 60);
    let run = run(&tiny, "run");
    let (pruned, data) = (tiny.arg("run/pruned.onnx"), tiny.arg("data.yaml"));
    let other = tiny.arg("onnxruntime.onnx");
    let typed = ["quantize", &pruned, "--data", &data, "-o", &other, "--target", "onnxruntime"];
    accepts(&typed);
    accepts(&["bundle", &run, "--target", &format!("onnxruntime={other}")]);
    let manifest = json(tiny.path("run.bundle/bundle.json"));
    assert_eq!(manifest["models"]["onnxruntime"], "models/onnxruntime.onnx");
    let measured = tiny.arg("val.json");
    accepts(&["val", &other, "--data", &data, "--json", &measured]);
    let expected = json(&measured)["map_50_95"].as_f64();
    let metric = &manifest["metrics"]["target.onnxruntime.map_50_95"];
    assert_eq!(metric["value"].as_f64(), expected);
    assert_eq!(metric["samples"], 60);
}

#[test]
fn mlbom_keeps_to_the_schema_of_cyclonedx() {
    let tiny = Tiny::new(72, 60);
    let run = run(&tiny, "run");
    accepts(&["bundle", &run, "--commit", "0123abc"]);
    let file = tiny.path("run.bundle/mlbom.json");
    let bom = json(&file);
    assert!(bom["metadata"].get("timestamp").is_none());
    let card = &bom["metadata"]["component"]["modelCard"];
    let figures = card["quantitativeAnalysis"]["performanceMetrics"].as_array().unwrap();
    let with_interval = figures.iter().filter(|f| !f["confidenceInterval"].is_null()).count();
    assert_eq!(with_interval, 1);
    assert!(figures.iter().any(|f| f["slice"] == "class red" && f["type"] == "recall"));
    let Some(told) = cyclonedx(&file) else {
        return;
    };
    assert_eq!(told, "valid");
}

/// What CycloneDX's own library says of a bill of materials.
fn cyclonedx(bom: &Path) -> Option<String> {
    let program = "import sys\n\
        from cyclonedx.schema import SchemaVersion\n\
        from cyclonedx.validation.json import JsonStrictValidator\n\
        found = JsonStrictValidator(SchemaVersion.V1_6).validate_str(open(sys.argv[1]).read())\n\
        print('valid' if found is None else found)";
    let python = std::env::var("YOLOSLIM_PYTHON").unwrap_or("python3".to_owned());
    let out = Command::new(python).args(["-c", program]).arg(bom).output().ok()?;
    let told = String::from_utf8_lossy(&out.stderr).into_owned();
    if !out.status.success() {
        assert!(told.contains("No module") || told.contains("not found"), "{told}");
        println!("skipped: the schema of CycloneDX (no Python with cyclonedx-python-lib)");
        return None;
    }
    Some(String::from_utf8_lossy(&out.stdout).trim().to_owned())
}
