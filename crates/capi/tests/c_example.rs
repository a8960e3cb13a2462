//! The C example, compiled by the C compiler and run on a real model.
use std::path::{Path, PathBuf};
use std::process::Command;

const MODEL: &str = "weights/yolov5n_coco_fused_op17.onnx";

fn assets() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/assets");
    path.exists().then_some(path)
}

/// Builds the library, which no test links in Rust, beside this test; gives its folder.
fn build_library() -> PathBuf {
    let test = std::env::current_exe().expect("a test has a path");
    let folder = test.ancestors().nth(2).expect("tests lie in `deps`");
    let target = folder.parent().expect("a profile lies in the target folder");
    let mut cargo = Command::new(env!("CARGO"));
    // All libraries and examples, as they were built with this test: the package by itself, or libraries without what only tests and
    // examples need, have other features of their dependencies, for which nearly all of them would be compiled anew.
    cargo.args(["build", "--quiet", "--workspace", "--lib", "--examples"]);
    cargo.arg("--target-dir").arg(target);
    if folder.ends_with("release") {
        cargo.arg("--release");
    }
    // What tells this test of its own package is no concern of theirs: `ring` is compiled anew where it changed, and all that needs it.
    for (name, _) in std::env::vars_os() {
        let is_own =
            |name: &str| ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|p| name.starts_with(p));
        if name.to_str().is_some_and(is_own) {
            cargo.env_remove(name);
        }
    }
    let built = cargo.status().expect("cargo starts");
    assert!(built.success(), "the library is not built");
    folder.to_owned()
}

/// Compiles the example against the shared library, warnings being errors.
fn compile(dir: &Path) -> PathBuf {
    let room = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (program, library) = (dir.join("detect"), build_library());
    let status = Command::new("cc")
        .args(["-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror"])
        .arg(room.join("examples/detect.c"))
        .arg("-I")
        .arg(room.join("include"))
        .arg("-L")
        .arg(&library)
        .arg(format!("-Wl,-rpath,{}", library.display()))
        .args(["-lyoloslim", "-o"])
        .arg(&program)
        .status()
        .expect("a linker needs a C compiler, so there is one");
    assert!(status.success(), "the example does not compile");
    program
}

fn write_ppm(image: &image::RgbImage, to: &Path) {
    let mut bytes = format!("P6\n{} {}\n255\n", image.width(), image.height()).into_bytes();
    bytes.extend_from_slice(image.as_raw());
    std::fs::write(to, bytes).expect("the folder is writable");
}

fn run(program: &Path, model: &Path, image: &Path) -> (Option<i32>, String, String) {
    let output = Command::new(program).args([model, image]).output().expect("the example starts");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("the example prints UTF-8");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn example_with_a_missing_model_prints_the_reason() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let (program, ppm) = (compile(dir.path()), dir.path().join("gray.ppm"));
    write_ppm(&image::RgbImage::new(8, 8), &ppm);
    let (code, out, err) = run(&program, Path::new("missing.onnx"), &ppm);
    assert_eq!((code, out.as_str()), (Some(2), ""));
    assert!(err.contains("missing.onnx"), "{err}");
}

#[test]
fn example_on_a_photo_prints_what_the_detector_finds() {
    let Some(assets) = assets() else {
        println!("skipped: the C example on a photo (no ../shared/assets)");
        return;
    };
    let dir = tempfile::tempdir().expect("a temporary folder");
    let (program, ppm) = (compile(dir.path()), dir.path().join("bus.ppm"));
    let photo = yolo::read_rgb(&assets.join("photos/bus.jpg")).expect("the photo reads");
    write_ppm(&photo, &ppm);
    let model = assets.join(MODEL);
    let (code, out, err) = run(&program, &model, &ppm);
    assert_eq!(code, Some(0), "{err}");

    let graph = onnx::load(&model, &onnx::LoadOptions::default()).expect("the model reads");
    let options = runtime::PlanOptions::default();
    let compiled = yolo::CompiledDetector::open(graph, None, &options).expect("it compiles");
    let names = compiled.head.names.clone().expect("the model has names");
    let thresholds = yolo::Thresholds { conf: 0.25, iou: 0.7 };
    let mut detector = compiled.session(1).expect("there is memory");
    let expected: String = detector
        .detect(std::slice::from_ref(&photo), thresholds)
        .expect("it runs")
        .iter()
        .map(|d| {
            let b = d.bbox;
            format!(
                "{} {:.4} {:.2} {:.2} {:.2} {:.2}\n",
                names[d.class], d.score, b.left, b.top, b.right, b.bottom
            )
        })
        .collect();
    assert!(!expected.is_empty(), "a bus and its passengers");
    assert_eq!(out, expected);
}
