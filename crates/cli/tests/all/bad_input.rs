//! Bad input of every kind: one clear message, exit code 2, nothing half-written.
use crate::support::{Tiny, accepts, json, refuses, stderr, yoloslim};

/// Protobuf by hand: what a hostile or broken file may hold, which no writer of ours would write.
mod proto {
    pub(crate) fn varint(mut v: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        while v >= 0x80 {
            bytes.push(v as u8 | 0x80);
            v >>= 7;
        }
        bytes.push(v as u8);
        bytes
    }

    pub(crate) fn int(tag: u64, v: u64) -> Vec<u8> {
        [varint(tag << 3), varint(v)].concat()
    }

    pub(crate) fn bytes(tag: u64, content: &[u8]) -> Vec<u8> {
        [varint(tag << 3 | 2), varint(content.len() as u64), content.to_vec()].concat()
    }

    pub(crate) fn node(op_type: &str, inputs: &[&str], output: &str) -> Vec<u8> {
        let inputs = inputs.iter().map(|i| bytes(1, i.as_bytes()));
        let node = [
            inputs.collect::<Vec<_>>().concat(),
            bytes(2, output.as_bytes()),
            bytes(3, format!("{op_type}_{output}").as_bytes()),
            bytes(4, op_type.as_bytes()),
        ];
        bytes(1, &node.concat())
    }

    /// `[1, 3, 8, 8] f32`.
    fn value(tag: u64, name: &str) -> Vec<u8> {
        let dims: Vec<Vec<u8>> = [1, 3, 8, 8].iter().map(|&d| bytes(1, &int(1, d))).collect();
        let ty = [int(1, 1), bytes(2, &dims.concat())].concat();
        bytes(tag, &[bytes(1, name.as_bytes()), bytes(2, &bytes(1, &ty))].concat())
    }

    /// A model of opset 17 from input `x` to output `y`.
    pub(crate) fn model(inside: &[Vec<u8>]) -> Vec<u8> {
        let graph = [inside.concat(), value(11, "x"), value(12, "y")].concat();
        [int(1, 8), bytes(7, &graph), bytes(8, &int(2, 17))].concat()
    }
}

fn tensor(dims: &[u64], rest: &[Vec<u8>]) -> Vec<u8> {
    let dims = dims.iter().map(|&d| proto::int(1, d)).collect::<Vec<_>>();
    let content = [dims.concat(), proto::int(2, 1), proto::bytes(8, b"w"), rest.concat()];
    proto::bytes(5, &content.concat())
}

#[test]
fn model_that_is_no_graph_exits_2_and_says_where() {
    let tiny = Tiny::new(0, 0);
    let whole = std::fs::read(tiny.path("tiny.onnx")).unwrap();
    let cycle = [proto::node("Add", &["x", "b"], "y"), proto::node("Relu", &["y"], "b")];
    let add = proto::node("Add", &["x", "w"], "y");
    let elsewhere = proto::bytes(
        13,
        &[proto::bytes(1, b"location"), proto::bytes(2, b"../../secret.bin")].concat(),
    );
    let huge = tensor(&[1 << 20, 1 << 20], &[proto::bytes(9, &[0; 16])]);
    let outside = tensor(&[3], &[elsewhere, proto::int(14, 1)]);
    let cases: &[(&str, Vec<u8>, &[&str])] = &[
        ("empty", vec![], &["empty.onnx"]),
        ("text", b"no model at all".to_vec(), &["text.onnx"]),
        ("cut", whole[..whole.len() / 2].to_vec(), &["cut.onnx"]),
        ("cycle", proto::model(&cycle), &["cycle.onnx", "cycle"]),
        ("huge", proto::model(&[add.clone(), huge]), &["huge.onnx", "w", "16"]),
        ("outside", proto::model(&[add, outside]), &["outside.onnx", "w", "secret.bin"]),
    ];
    for (name, bytes, words) in cases {
        let file = format!("{name}.onnx");
        tiny.put(&file, bytes);
        refuses(&["inspect", &tiny.arg(&file)], words);
        let (data, out) = (tiny.arg("data.yaml"), tiny.arg("out/int8.onnx"));
        refuses(&["quantize", &tiny.arg(&file), "--data", &data, "-o", &out], words);
    }
    assert!(tiny.files("out").is_empty());
}

#[test]
fn data_that_is_no_data_set_exits_2_and_says_what_is_missing() {
    let tiny = Tiny::new(1, 1);
    let yaml = |names: &str, rest: &str| format!("path: .\n{rest}names: {names}\n").into_bytes();
    tiny.put("split.yaml", &yaml("[red, blue]", "train: images/train\n"));
    tiny.put("classes.yaml", &yaml("[red, blue, green]", "val: images/val\n"));
    tiny.put("empty.yaml", &yaml("[red, blue]", "val: images/none\n"));
    tiny.put("broken.yaml", b"val: [images\n  names: {");
    std::fs::create_dir_all(tiny.path("images/none")).unwrap();
    let cases: &[(&str, &[&str])] = &[
        ("split.yaml", &["no split `val`", "train", "split.yaml"]),
        ("classes.yaml", &["2 classes", "names 3"]),
        ("empty.yaml", &["no images", "images/none"]),
        ("broken.yaml", &["broken.yaml", "line"]),
        ("missing.yaml", &["missing.yaml"]),
        ("tiny.onnx", &["not a data set"]),
    ];
    for (data, words) in cases {
        let dets = tiny.arg("dets.json");
        refuses(
            &["val", &tiny.arg("tiny.onnx"), "--data", &tiny.arg(data), "--dets", &dets],
            words,
        );
        assert!(!tiny.path("dets.json").exists(), "{data}");
    }
}

#[test]
fn val_with_a_few_bad_images_and_labels_skips_and_counts_them() {
    let tiny = Tiny::new(0, 12);
    let label = std::fs::read_to_string(tiny.path("labels/val/0003.txt")).unwrap();
    let with_bad = format!("{label}7 0.5 0.5 0.1 0.1\n0 0.5 0.5 1.5 0.1\nnot a label\n");
    tiny.put("labels/val/0003.txt", with_bad.as_bytes());
    tiny.put("images/val/0005.jpg", b"\xff\xd8\xff\xe0 and then nothing of a JPEG");
    let (model, data, out) = (tiny.arg("tiny.onnx"), tiny.arg("data.yaml"), tiny.arg("val.json"));
    let run = accepts(&["val", &model, "--data", &data, "--json", &out]);
    let told = stderr(&run);
    assert!(told.contains("skipped image") && told.contains("0005.jpg"), "{told}");
    assert!(told.contains("skipped label") && told.contains("0003.txt"), "{told}");
    let found = json(&out);
    assert_eq!(found["bad_images"].as_array().unwrap().len(), 1);
    assert_eq!(found["bad_labels"].as_array().unwrap().len(), 3);
    assert_eq!(found["images"], 12);
}

#[test]
fn more_bad_input_than_the_limit_exits_2_and_tells_the_first() {
    let tiny = Tiny::new(12, 12);
    let (model, data) = (tiny.arg("tiny.onnx"), tiny.arg("data.yaml"));
    for i in 0..4 {
        tiny.put(&format!("images/train/bad{i}.jpg"), b"\xff\xd8\xff\xe0");
        tiny.put(&format!("images/val/bad{i}.jpg"), b"\xff\xd8\xff\xe0");
    }
    let out = tiny.arg("out.onnx");
    refuses(&["val", &model, "--data", &data], &["4 bad images of 16", "bad0.jpg"]);
    let stage = ["quantize", &model, "--data", &data, "-o", &out];
    refuses(&stage, &["4 of 16 images", "at most 3"]);
    let stage = ["prune", &model, "--data", &data, "-o", &out, "--macs", "0.1"];
    refuses(&stage, &["4 of 16 images", "at most 3"]);
    refuses(&["detect", &model, &tiny.arg("images/val")], &["4 of 16 images", "at most 3"]);
    assert!(!tiny.path("out.onnx").exists());
    let run = tiny.arg("run");
    refuses(&["compress", &model, "--data", &data, "-o", &run], &["4"]);
    assert!(!tiny.path("run/metrics.json").exists());
    assert!(!tiny.path("run/model.onnx").exists());

    let few = Tiny::new(0, 4);
    few.put("labels/val/0000.txt", "9 0.5 0.5 0.1 0.1\n".repeat(5).as_bytes());
    let (model, data) = (few.arg("tiny.onnx"), few.arg("data.yaml"));
    refuses(&["val", &model, "--data", &data], &["5 bad labels", "0000.txt"]);
}

#[test]
fn output_below_a_file_exits_2_before_any_work() {
    let tiny = Tiny::new(2, 2);
    let (model, data) = (tiny.arg("tiny.onnx"), tiny.arg("data.yaml"));
    // Permission bits do not stop an administrator; that a file is no folder stops everybody.
    let below = |file: &str| tiny.arg(&format!("tiny.onnx/{file}"));
    let words: &[&str] = &["cannot write", "tiny.onnx/"];
    refuses(&["quantize", &model, "--data", &data, "-o", &below("a.onnx")], words);
    let prune = ["prune", &model, "--data", &data, "--macs", "0.1", "-o", &below("a.onnx")];
    refuses(&prune, words);
    refuses(&["val", &model, "--data", &data, "--dets", &below("dets.json")], words);
    refuses(&["inspect", &model, "--json", &below("a.json")], words);
    refuses(&["compress", &model, "--data", &data, "-o", &below("run")], words);
    refuses(&["detect", &model, &tiny.arg("images/val"), "--out", &below("drawn")], words);
    refuses(&["inspect", &model, "--json", &tiny.arg("images")], &["cannot write", "directory"]);
    assert_eq!(tiny.files("").len(), 2 + 2 * 4);
}

#[cfg(target_os = "linux")]
#[test]
fn full_disk_exits_2_and_leaves_nothing() {
    use std::process::Command;
    let tiny = Tiny::new(4, 4);
    let (model, data) = (tiny.arg("tiny.onnx"), tiny.arg("data.yaml"));
    refuses(&["inspect", &model, "--json", "/dev/full"], &["cannot write /dev/full", "space"]);
    assert!(std::path::Path::new("/dev/full").exists());
    // A limit on the size of files fails a write half-way, as a full disk does.
    let limited = |args: &[&str]| {
        let script = "trap '' XFSZ; ulimit -f 2; exec \"$0\" \"$@\"";
        let mut command = Command::new("bash");
        command.args(["-c", script, env!("CARGO_BIN_EXE_yoloslim")]).args(args);
        command.output().expect("bash runs")
    };
    std::fs::create_dir_all(tiny.path("out")).unwrap();
    let (out, run) = (tiny.arg("out/a.onnx"), tiny.arg("out/run"));
    let cases: &[&[&str]] = &[
        &["quantize", &model, "--data", &data, "-o", &out],
        &["prune", &model, "--data", &data, "-o", &out, "--macs", "0"],
        &["compress", &model, "--data", &data, "-o", &run],
        &["inspect", &model, "--json", &out],
    ];
    for args in cases {
        let failed = limited(args);
        let message = stderr(&failed);
        assert_eq!(failed.status.code(), Some(2), "{args:?}: {message}");
        assert!(message.contains("cannot write"), "{args:?}: {message}");
        let left = tiny.files("out");
        let partial = left.iter().filter(|p| {
            let name = p.file_name().unwrap().to_string_lossy();
            name.contains("partial") || name.ends_with(".tmp") || name == "a.onnx"
        });
        assert_eq!(partial.count(), 0, "{args:?}: {left:?}");
    }
    assert!(!tiny.path("out/run/metrics.json").exists());
}

#[test]
fn usage_that_makes_no_sense_exits_2() {
    let tiny = Tiny::new(1, 1);
    let (model, data) = (tiny.arg("tiny.onnx"), tiny.arg("data.yaml"));
    let out = tiny.arg("out.onnx");
    let quantize = ["quantize", &model, "--data", &data, "-o", &out];
    let with = |more: &[&'static str]| [&quantize[..], more].concat();
    refuses(&with(&["--target", "toaster"]), &["toaster", "onnxruntime"]);
    refuses(&with(&["--calibrator", "guess"]), &["guess", "percentile"]);
    refuses(&with(&["--threads", "0"]), &["0"]);
    refuses(&with(&["--isa", "mmx"]), &["mmx", "avx2"]);
    refuses(&with(&["--engine", "onnxruntime"]), &["--engine builtin"]);
    refuses(&["val", &model, "--data", &data, "--conf", "2"], &["from 0 to 1", "`2`"]);
    refuses(
        &["bench", &model, "--engine", "onnxruntime", "--ort-library", &model],
        &["--ort-library"],
    );
    assert!(yoloslim(&["val", "--help"]).status.success());
    assert!(!tiny.path("out.onnx").exists());
}
