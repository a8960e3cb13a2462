//! The binary, a tiny detector and a tiny data set, as every test of the command line uses them.

pub(crate) mod bundle;
pub(crate) mod schema;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;
pub(crate) use testkit::tiny_folder::TinyFolder as Tiny;

/// Runs the binary.
pub(crate) fn yoloslim(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_yoloslim")).args(args).output().expect("the binary runs")
}

/// What the binary wrote on stderr.
pub(crate) fn stderr(out: &Output) -> String {
    String::from_utf8_lossy(&out.stderr).into_owned()
}

/// Checks for exit code 2 and that each of `words` is told.
pub(crate) fn refuses(args: &[&str], words: &[&str]) {
    let out = yoloslim(args);
    let message = stderr(&out);
    assert_eq!(out.status.code(), Some(2), "{args:?}: {message}");
    for word in words {
        assert!(message.contains(word), "{args:?}: no `{word}` in: {message}");
    }
}

/// Checks for exit code 0.
pub(crate) fn accepts(args: &[&str]) -> Output {
    let out = yoloslim(args);
    assert!(out.status.success(), "{args:?}: {}", stderr(&out));
    out
}

/// A path as an argument.
pub(crate) fn text(path: impl AsRef<Path>) -> String {
    path.as_ref().to_str().expect("test paths are UTF-8").to_owned()
}

/// A JSON file.
pub(crate) fn json(path: impl AsRef<Path>) -> serde_json::Value {
    serde_json::from_str(&fs::read_to_string(path).expect("written")).expect("JSON")
}

/// What `detect --json` tells of all images as class, score and sides, sorted.
pub(crate) fn detections(record: &serde_json::Value) -> Vec<(u64, [f64; 5])> {
    let images = record["images"].as_array().expect("a list").iter();
    let all = images.flat_map(|image| image["detections"].as_array().expect("a list"));
    let numbers = |d: &serde_json::Value| {
        let side = |key: &str| d["bbox"][key].as_f64().expect("a number");
        let score = d["score"].as_f64().expect("a number");
        [score, side("left"), side("top"), side("right"), side("bottom")]
    };
    let mut found: Vec<(u64, [f64; 5])> =
        all.map(|d| (d["class"].as_u64().expect("a class"), numbers(d))).collect();
    found.sort_by(|a, b| a.partial_cmp(b).expect("numbers"));
    found
}

/// ONNX Runtime's shared library, as it ships in the Python package.
pub(crate) fn onnx_runtime(what: &str) -> Option<String> {
    let python = std::env::var("YOLOSLIM_PYTHON").unwrap_or("python3".to_owned());
    let find = "import glob, os, onnxruntime as o\n\
        print((glob.glob(os.path.join(os.path.dirname(o.__file__), 'capi', 'libonnxruntime.so*')) + [''])[0])";
    let out = Command::new(python).args(["-c", find]).output().ok()?;
    let found = PathBuf::from(String::from_utf8_lossy(&out.stdout).trim());
    if !found.is_file() {
        println!("skipped: {what} (no Python with onnxruntime)");
        return None;
    }
    Some(text(found))
}

/// The models, images and weights that are not in the repository.
pub(crate) fn assets(what: &str) -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/assets");
    if !root.exists() {
        println!("skipped: {what} (no ../shared/assets)");
        return None;
    }
    Some(root)
}

/// Kills a training that was typed when it has stored how it stands beside `out`, and goes on with the same command.
pub(crate) fn kill_and_go_on(typed: &[String], out: &Path) {
    let state = PathBuf::from(format!("{}.state", out.display()));
    let mut command = Command::new(env!("CARGO_BIN_EXE_yoloslim"));
    let mut child = command.args(typed).stderr(Stdio::null()).spawn().unwrap();
    while !state.exists() && child.try_wait().unwrap().is_none() {
        std::thread::sleep(Duration::from_millis(1));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(state.exists() && !out.exists(), "it was killed on the way");
    let again = Command::new(env!("CARGO_BIN_EXE_yoloslim")).args(typed).output().unwrap();
    assert!(stderr(&again).contains("going on after step"), "{}", stderr(&again));
    assert!(out.exists() && !state.exists());
}
