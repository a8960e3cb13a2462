//! `demo` as it is typed, on few boards.
use crate::support::schema::breaches;
use crate::support::{Tiny, json, refuses, text, yoloslim};
use std::fs;

#[test]
fn demo_draws_compresses_and_reports() {
    let folder = tempfile::tempdir().unwrap();
    let demo = folder.path().join("demo");
    let (out, told) = (text(&demo), text(folder.path().join("demo.json")));
    let run = yoloslim(&["demo", "-o", &out, "--boards", "20", "--json", &told]);
    let stdout = String::from_utf8_lossy(&run.stdout);
    let record = json(&told);
    let breaches = breaches(&record, "demo.json");
    assert!(breaches.is_empty(), "{}", breaches.join("\n"));
    // Ten boards judge with little certainty; which way, the exit code tells.
    let passed = record["passed"].as_bool().unwrap();
    assert_eq!(run.status.code(), Some(if passed { 0 } else { 1 }), "{stdout}");
    assert!(stdout.contains("$ yoloslim compress") && stdout.contains("$ yoloslim report"));
    let metrics = json(demo.join("run/metrics.json"));
    assert!(metrics["baseline"]["map_50_95"].as_f64().unwrap() > 0.4);
    assert!(fs::metadata(demo.join("run/report.html")).unwrap().len() > 10_000);
    let size = |file: &str| fs::metadata(demo.join(file)).unwrap().len();
    assert!(3 * size("run/model.onnx") < size("boards.onnx"));
}

#[test]
fn demo_leaves_a_folder_of_other_files_as_it_is() {
    let other = Tiny::new(1, 0);
    let before = other.files("");
    refuses(&["demo", "-o", &other.arg("")], &["left as it is"]);
    assert_eq!(other.files(""), before);
}
