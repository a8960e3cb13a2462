//! `compress`: what a run leaves, and that it goes on where it was stopped.
use crate::support::{Tiny, accepts, json, stderr, text, yoloslim};
use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Every file of a run that the same input must give again: all but measured times.
fn bytes(run: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    let mut todo = vec![run.to_owned()];
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(dir).unwrap().flatten() {
            let path = entry.path();
            let name = path.strip_prefix(run).unwrap().to_owned();
            let measured = ["latency.json", "stages/run.latency.json"].map(Path::new);
            if path.is_dir() {
                todo.push(path);
            } else if name == Path::new("metrics.json") {
                files.push((name, without_times(json(&path)).to_string().into_bytes()));
            } else if !measured.contains(&name.as_path()) {
                files.push((name, fs::read(&path).unwrap()));
            }
        }
    }
    files.sort();
    files
}

fn without_times(mut record: serde_json::Value) -> serde_json::Value {
    for stage in ["baseline", "pruned", "quantized"] {
        record[stage]["latency_ms"] = serde_json::Value::Null;
        record[stage]["energy_j"] = serde_json::Value::Null;
    }
    record["machine"] = serde_json::Value::Null;
    record
}

fn same(expected: &[(PathBuf, Vec<u8>)], found: &[(PathBuf, Vec<u8>)], when: &str) {
    let names = |f: &[(PathBuf, Vec<u8>)]| f.iter().map(|(n, _)| n.clone()).collect::<Vec<_>>();
    assert_eq!(names(expected), names(found), "{when}");
    for ((name, a), (_, b)) in expected.iter().zip(found) {
        assert!(a == b, "{when}: {} differs", name.display());
    }
}

/// A run that prunes, fails on the hold-out or at the gate for a while, recovers in a few steps, and backs off.
fn args<'a>(model: &'a str, data: &'a str, run: &'a str) -> Vec<&'a str> {
    vec![
        "compress",
        model,
        "--data",
        data,
        "-o",
        run,
        "-n",
        "12",
        "--holdout",
        "24",
        "--macs",
        "0.4",
        "--keep",
        "0.999",
        "--recover",
        "3",
        "--threads",
        "2",
    ]
}

/// Starts a run and kills it when it says that a stage begins that is not among `begun`, in that stage or shortly after; gives
/// what it said. `None` where no new stage began, and it ended by itself.
fn kill_in_a_new_stage(args: &[&str], begun: &BTreeSet<String>) -> Option<String> {
    // Of what is told while something goes on, one line is as good as another.
    let is_stage = |line: &String| !line.starts_with("progress") && !line.starts_with("step ");
    let mut child = Command::new(env!("CARGO_BIN_EXE_yoloslim"))
        .args(args)
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    let stage = said.find(|line| is_stage(line) && !begun.contains(line));
    if stage.is_some() {
        child.kill().unwrap();
    }
    child.wait().unwrap();
    stage
}

#[test]
fn compress_killed_in_every_stage_goes_on_and_gives_the_same_bytes() {
    let tiny = Tiny::new(72, 24);
    let (model, data) = (tiny.arg("tiny.onnx"), tiny.arg("data.yaml"));
    let (whole, run) = (tiny.arg("whole"), tiny.arg("run"));
    let first = yoloslim(&args(&model, &data, &whole));
    let verdict = first.status.code();
    assert!(verdict == Some(0) || verdict == Some(1), "{}", stderr(&first));
    let expected = bytes(Path::new(&whole));
    let again = [&args(&model, &data, &run)[..], &["--resume"]].concat();
    let mut begun = BTreeSet::new();
    begun.extend(kill_in_a_new_stage(&args(&model, &data, &run), &begun));
    while let Some(stage) = kill_in_a_new_stage(&again, &begun) {
        begun.insert(stage);
    }
    assert!(begun.len() > 6, "{begun:?}");
    let resumed = yoloslim(&again);
    assert_eq!(resumed.status.code(), verdict, "{}", stderr(&resumed));
    same(&expected, &bytes(Path::new(&run)), "killed in every stage");
}

#[test]
fn compress_resumed_without_any_one_stage_gives_the_same_bytes() {
    let tiny = Tiny::new(72, 24);
    let (model, data) = (tiny.arg("tiny.onnx"), tiny.arg("data.yaml"));
    let run = tiny.arg("run");
    let verdict = yoloslim(&args(&model, &data, &run)).status.code();
    let expected = bytes(Path::new(&run));
    let again = [&args(&model, &data, &run)[..], &["--resume"]].concat();
    for stage in tiny.files("run/stages") {
        fs::remove_file(&stage).unwrap();
        assert_eq!(yoloslim(&again).status.code(), verdict);
        same(&expected, &bytes(Path::new(&run)), &text(&stage));
    }
    // A file that was changed behind the run's back is made anew.
    fs::write(tiny.path("run/attempt-1/pruned.onnx"), b"changed").unwrap();
    assert_eq!(yoloslim(&again).status.code(), verdict);
    same(&expected, &bytes(Path::new(&run)), "a changed file");
    // Killed between writing and renaming.
    for folder in [".", "dets", "attempt-1"] {
        let left = format!("run/{folder}/.model.onnx.7.partial");
        fs::write(tiny.path(&left), b"half").unwrap();
    }
    assert_eq!(yoloslim(&again).status.code(), verdict);
    same(&expected, &bytes(Path::new(&run)), "half-written files");
}

#[test]
fn compress_resumed_after_success_does_no_stage_again() {
    let tiny = Tiny::new(72, 24);
    let (model, data) = (tiny.arg("tiny.onnx"), tiny.arg("data.yaml"));
    let run = tiny.arg("run");
    let usual = [
        "compress",
        &model,
        "--data",
        &data,
        "-o",
        &run,
        "--keep",
        "0.5",
        "-n",
        "48",
        "--holdout",
        "24",
    ];
    accepts(&usual);
    let expected = bytes(Path::new(&run));
    let times = fs::read(tiny.path("run/metrics.json")).unwrap();
    let again = accepts(&[&usual[..], &["--resume"]].concat());
    assert_eq!(stderr(&again), "");
    same(&expected, &bytes(Path::new(&run)), "resumed");
    assert_eq!(times, fs::read(tiny.path("run/metrics.json")).unwrap());

    // Nothing of a run with more attempts stays beside one with fewer.
    let fewer = [&usual[..], &["--macs", "0", "--resume"]].concat();
    fs::create_dir_all(tiny.path("run/attempt-2")).unwrap();
    fs::write(tiny.path("run/attempt-2/model.onnx"), b"old").unwrap();
    accepts(&fewer);
    assert!(!tiny.path("run/attempt-2").exists());
    accepts(&[&usual[..], &["--resume"]].concat());

    let recipe = tiny.arg("run/recipe.toml");
    let other = tiny.arg("other");
    accepts(&["compress", &model, "--data", &data, "-o", &other, "--recipe", &recipe]);
    same(&expected, &bytes(Path::new(&other)), "by its recipe");
}

#[test]
fn compress_holds_val_back_until_the_holdout_agrees_and_reports_every_attempt() {
    let tiny = Tiny::new(72, 24);
    let (model, data) = (tiny.arg("tiny.onnx"), tiny.arg("data.yaml"));
    let run = tiny.arg("run");
    let out = yoloslim(&[
        "compress", &model, "--data", &data, "-o", &run, "--macs", "0.4", "--keep", "1", "--strict",
    ]);
    let record = json(tiny.path("run/metrics.json"));
    let attempts = record["gate"]["attempts"].as_array().unwrap();
    assert_eq!(record["gate"]["strict"], true);
    assert_eq!(record["holdout_images"], 24);
    for (i, attempt) in attempts.iter().enumerate() {
        let held = attempt["holdout"]["lower"].as_f64().unwrap();
        let shown = !attempt["ratio"].is_null();
        let last = i + 1 == attempts.len();
        assert_eq!(shown, held >= 1.0 || last, "{attempt}");
    }
    let passed = record["gate"]["passed"].as_bool().unwrap();
    assert_eq!(out.status.code(), Some(if passed { 0 } else { 1 }));
    // Nobody but the gate has read val: what was chosen by it would show as detections of it.
    for attempt in attempts.iter().filter(|a| a["ratio"].is_null()) {
        let dets = format!("run/dets/val.{}.json", attempt["folder"].as_str().unwrap());
        assert!(!tiny.path(&dets).exists());
    }
}

#[cfg(unix)]
#[test]
fn compress_interrupted_exits_3() {
    let tiny = Tiny::new(60, 60);
    let (model, data, run) = (tiny.arg("tiny.onnx"), tiny.arg("data.yaml"), tiny.arg("run"));
    let mut child = Command::new(env!("CARGO_BIN_EXE_yoloslim"))
        .args(args(&model, &data, &run))
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    assert!(said.next().is_some());
    let interrupt = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(interrupt.unwrap().success());
    let told: Vec<String> = said.collect();
    let code = child.wait().unwrap().code();
    assert_eq!(code, Some(3), "{told:?}");
    assert!(told.iter().any(|l| l.contains("interrupted")), "{told:?}");
    let left = tiny.files("run");
    assert!(left.iter().all(|f| !text(f).ends_with(".partial")), "{left:?}");
    let resumed = yoloslim(&[&args(&model, &data, &run)[..], &["--resume"]].concat());
    assert!(resumed.status.code() < Some(2), "{}", stderr(&resumed));
}
