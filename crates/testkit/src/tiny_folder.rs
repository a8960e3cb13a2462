//! The tiny detector as a file, with images and labels beside it.
use crate::tiny;
use std::fs;
use std::path::{Path, PathBuf};

/// A folder with `tiny.onnx` and a data set of `train` and `val` images, removed when it is dropped.
pub struct TinyFolder {
    dir: tempfile::TempDir,
}

impl TinyFolder {
    /// Writes the model and as many images of both splits.
    pub fn new(train: usize, val: usize) -> Self {
        let tiny = Self { dir: tempfile::tempdir().expect("a temporary folder") };
        let model = onnx::encode(&tiny::detector()).expect("it has a file's form");
        tiny.put("tiny.onnx", &model);
        for (split, count, seed) in [("train", train, 1000), ("val", val, 2000)] {
            for i in 0..count {
                tiny.put_scene(split, &format!("{i:04}"), seed + i as u64);
            }
        }
        let yaml = "path: .\ntrain: images/train\nval: images/val\nnames: [red, blue]\n";
        tiny.put("data.yaml", yaml.as_bytes());
        tiny
    }

    /// A path below the folder.
    pub fn path(&self, file: &str) -> PathBuf {
        self.dir.path().join(file)
    }

    /// A path below the folder as an argument.
    pub fn arg(&self, file: &str) -> String {
        let path = self.path(file);
        path.to_str().expect("test paths are UTF-8").to_owned()
    }

    /// Writes a file below the folder.
    pub fn put(&self, file: &str, bytes: &[u8]) {
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
        let path = folder.join(format!("{name}.png"));
        image.save(path).expect("written");
        let labels = format!("labels/{split}/{name}.txt");
        self.put(&labels, scene.labels.as_bytes());
    }

    /// Every file below a folder of it, sorted.
    pub fn files(&self, folder: &str) -> Vec<PathBuf> {
        let mut files = Vec::new();
        collect(&self.path(folder), &mut files);
        files.sort();
        files
    }
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, files);
        } else {
            files.push(path);
        }
    }
}
