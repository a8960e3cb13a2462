//! The binary, a tiny detector and a tiny data set, as every test of the command line uses them.
#![allow(dead_code, reason = "each test binary uses a part")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use testkit::tiny;

/// Runs the binary.
pub(crate) fn yoloslim(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_yoloslim"))
        .args(args)
        .output()
        .expect("the binary runs")
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
        assert!(
            message.contains(word),
            "{args:?}: no `{word}` in: {message}"
        );
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
    path.as_ref()
        .to_str()
        .expect("test paths are UTF-8")
        .to_owned()
}

/// A JSON file.
pub(crate) fn json(path: impl AsRef<Path>) -> serde_json::Value {
    serde_json::from_str(&fs::read_to_string(path).expect("written")).expect("JSON")
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

/// A folder with `tiny.onnx` and a data set of `train` and `val` images.
pub(crate) struct Tiny {
    dir: tempfile::TempDir,
}

impl Tiny {
    pub(crate) fn new(train: usize, val: usize) -> Self {
        let tiny = Self {
            dir: tempfile::tempdir().expect("a temporary folder"),
        };
        let model = onnx::encode(&tiny::detector()).expect("it is written");
        fs::write(tiny.path("tiny.onnx"), model).expect("written");
        for (split, count, seed) in [("train", train, 1000), ("val", val, 2000)] {
            for i in 0..count {
                tiny.put_scene(split, &format!("{i:04}"), seed + i as u64);
            }
        }
        let yaml = "path: .\ntrain: images/train\nval: images/val\nnames: [red, blue]\n";
        tiny.put("data.yaml", yaml.as_bytes());
        tiny
    }

    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.dir.path().join(file)
    }

    /// A path below the folder as an argument.
    pub(crate) fn arg(&self, file: &str) -> String {
        text(self.path(file))
    }

    pub(crate) fn put(&self, file: &str, bytes: &[u8]) {
        let path = self.path(file);
        fs::create_dir_all(path.parent().expect("below the folder")).expect("a folder");
        fs::write(path, bytes).expect("written");
    }

    fn put_scene(&self, split: &str, name: &str, seed: u64) {
        let scene = tiny::scene(seed);
        let side = tiny::SIDE_PX as u32;
        let image = image::RgbImage::from_raw(side, side, scene.rgb).expect("three bytes a pixel");
        let folder = self.path(&format!("images/{split}"));
        fs::create_dir_all(&folder).expect("a folder");
        image
            .save(folder.join(format!("{name}.png")))
            .expect("written");
        self.put(
            &format!("labels/{split}/{name}.txt"),
            scene.labels.as_bytes(),
        );
    }

    /// Every file below `folder`, to see that nothing was left behind.
    pub(crate) fn files(&self, folder: &str) -> Vec<PathBuf> {
        let mut files = Vec::new();
        let mut todo = vec![self.path(folder)];
        while let Some(dir) = todo.pop() {
            for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
                if entry.path().is_dir() {
                    todo.push(entry.path());
                } else {
                    files.push(entry.path());
                }
            }
        }
        files.sort();
        files
    }
}
