//! A bundle of the tiny detector, as `bundle` makes one of a run.
use super::{Tiny, accepts, text};
use deliver::Digest;
use deliver::bundle::{Bundle, DataRecord, FileRole, InputShape, Manifest, Provenance, Thresholds};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// What is said of a bundle with the tiny detector; its files are named when it is sealed.
pub(crate) fn manifest() -> Manifest {
    Manifest {
        yoloslim_bundle: Manifest::format(),
        name: "tiny".to_owned(),
        family: "v8".to_owned(),
        classes: vec!["red".to_owned(), "blue".to_owned()],
        input: InputShape { channels: 3, height_px: 64, width_px: 64 },
        thresholds: Thresholds { conf: 0.25, iou: 0.7 },
        models: BTreeMap::from([("builtin".to_owned(), "models/builtin.onnx".to_owned())]),
        metrics: BTreeMap::new(),
        data: DataRecord { digest: Digest::of(b"data"), images: 3, objects: 6 },
        provenance: Provenance { model: Digest::of(b"m"), commit: None, tool: "test".to_owned() },
        files: BTreeMap::new(),
    }
}

/// Makes a bundle of `tiny`, whose golden frames are what it finds in three of its images, with `change` made to that.
pub(crate) fn bundle(tiny: &Tiny, out: &Path, change: impl Fn(String) -> String) -> Bundle {
    let model = tiny.path("tiny.onnx");
    fs::create_dir_all(out.join("models")).expect("a folder");
    fs::create_dir_all(out.join("golden")).expect("a folder");
    fs::copy(&model, out.join("models/builtin.onnx")).expect("copied");
    let mut roles = vec![("models/builtin.onnx".to_owned(), FileRole::Model)];
    let mut args = vec!["detect".to_owned(), text(&model)];
    for i in 0..3 {
        let name = format!("golden/{i:04}.png");
        fs::copy(tiny.path(&format!("images/val/{i:04}.png")), out.join(&name)).expect("copied");
        args.push(text(out.join(&name)));
        roles.push((name, FileRole::Image));
    }
    let golden = out.join("golden/golden.json");
    args.extend(["--json".to_owned(), text(&golden)]);
    accepts(&args.iter().map(String::as_str).collect::<Vec<_>>());
    // Images lie beside it, wherever the bundle goes.
    let json = fs::read_to_string(&golden).expect("written");
    let json = json.replace(&format!("{}/", text(out.join("golden"))), "");
    fs::write(&golden, change(json)).expect("written");
    roles.push(("golden/golden.json".to_owned(), FileRole::Golden));
    Bundle::seal(out, manifest(), roles).expect("sealed")
}
