//! Quantized models in the engines that they are made for: `quantize --target`, and the mAP there.
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use testkit::tiny_folder::TinyFolder;

/// Images of val: a few dozen.
const IMAGES: usize = 36;

/// Each target with the engine here that runs its files.
const ENGINES: &[(&str, &str)] =
    &[("onnxruntime", "onnxruntime"), ("openvino", "openvino"), ("tensorrt", "onnxruntime")];

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

fn python() -> String {
    std::env::var("YOLOSLIM_PYTHON").unwrap_or_else(|_| "python3".to_owned())
}

fn has(module: &str) -> bool {
    let import = format!("import {module}, cv2, yaml, pycocotools");
    Command::new(python()).args(["-c", &import]).output().is_ok_and(|o| o.status.success())
}

/// The first images of val with their labels; the training images as they are.
fn few(assets: &Path, folder: &Path) -> PathBuf {
    let source = assets.join("deeppcb");
    for kind in ["images", "labels"] {
        let to = folder.join(kind).join("val");
        fs::create_dir_all(&to).unwrap();
        let files = fs::read_dir(source.join(kind).join("val")).unwrap();
        let mut files: Vec<PathBuf> = files.map(|f| f.unwrap().path()).collect();
        files.sort();
        for file in files.iter().take(IMAGES) {
            fs::copy(file, to.join(file.file_name().unwrap())).unwrap();
        }
    }
    let stated = fs::read_to_string(source.join("data.yaml")).unwrap();
    let names = &stated[stated.find("names:").expect("classes have names")..];
    let train = source.canonicalize().unwrap().join("images/train");
    let data = folder.join("data.yaml");
    let text = format!("path: {}\ntrain: {}\nval: images/val\n", folder.display(), train.display());
    fs::write(&data, text + names).unwrap();
    data
}

fn run(command: &mut Command) -> String {
    let out = command.output().expect("the program runs");
    assert!(out.status.success(), "{command:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).expect("text")
}

fn map_50_95(model: &Path, data: &Path, engine: &str) -> f64 {
    let mut command = Command::new(python());
    command.arg(root("benches/peers.py")).arg("val").arg(model).arg("--data").arg(data);
    let record = run(command.args(["--engine", engine]));
    let record: serde_json::Value = serde_json::from_str(&record).expect("a record");
    record["map_50_95"].as_f64().expect("a number")
}

#[test]
fn quantized_models_keep_the_map_in_the_engines_they_are_for() {
    let assets = root("../shared/assets");
    if !assets.is_dir() {
        println!("skipped: mAP in other engines (no ../shared/assets)");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let data = few(&assets, folder.path());
    let float = assets.join("weights/yolov8n_deeppcb_320_fused_op17.onnx");
    for (target, engine) in ENGINES {
        if !has(engine) {
            println!("skipped: mAP for {target} ({engine} not importable by {})", python());
            continue;
        }
        let int8 = folder.path().join(format!("{target}.onnx"));
        let mut command = Command::new(env!("CARGO_BIN_EXE_yoloslim"));
        command.arg("quantize").arg(&float).arg("--data").arg(&data).arg("-o").arg(&int8);
        run(command.args(["-n", "32", "--target", target]));
        let kept = map_50_95(&int8, &data, engine) / map_50_95(&float, &data, engine);
        println!("{target} in {engine}: {kept:.4} of the mAP");
        assert!(kept > 0.95, "{target} in {engine}: {kept}");
    }
}

#[test]
fn quantize_for_tensorrt_writes_a_cache_that_names_the_tensors_of_its_float_model() {
    let folder = TinyFolder::new(4, 2);
    let at = |name: &str| folder.path(name);
    let mut command = Command::new(env!("CARGO_BIN_EXE_yoloslim"));
    command.arg("quantize").arg(at("tiny.onnx")).arg("--data").arg(at("data.yaml"));
    command.arg("-o").arg(at("int8.onnx")).arg("--json").arg(at("out.json"));
    let said = run(command.args(["--target", "tensorrt"]));
    let record: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(at("out.json")).unwrap()).unwrap();
    let beside = &record["calibration_cache"];
    let path = |key: &str| PathBuf::from(beside[key].as_str().expect("a path"));
    assert_eq!(path("cache"), at("int8.calibration.cache"));
    let float = onnx::load(&path("float_model"), &onnx::LoadOptions::default()).unwrap();
    let cache = fs::read_to_string(path("cache")).unwrap();
    let mut lines = cache.lines();
    let header = lines.next().expect("a header");
    assert!(header.starts_with("TRT-") && header.ends_with("-EntropyCalibration2"), "{header}");
    let mut count = 0;
    for line in lines {
        let (name, bits) = line.rsplit_once(": ").expect("a name and a scale");
        assert!(float.value_named(name).is_some(), "`{name}` is in the float model");
        assert_eq!(bits.len(), 8, "{line}");
        let scale = f32::from_bits(u32::from_str_radix(bits, 16).expect("hexadecimal"));
        assert!(scale.is_normal() && scale > 0.0, "{line}");
        count += 1;
    }
    assert!(count > 5, "{cache}");
    for (command, file) in
        record["commands"].as_array().unwrap().iter().zip([at("int8.onnx"), path("float_model")])
    {
        let command = command.as_str().unwrap();
        assert!(command.contains(&format!("--onnx={} ", file.display())), "{command}");
        assert!(said.contains(command), "{said}");
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_yoloslim"));
    command.arg("quantize").arg(at("tiny.onnx")).arg("--data").arg(at("data.yaml"));
    command.arg("-o").arg(at("int8.onnx")).args(["--target", "tensorrt", "--cpu", "avx2"]);
    let refused = command.output().unwrap();
    assert_eq!(refused.status.code(), Some(2));
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("one file for every CPU"), "{said}");
}
