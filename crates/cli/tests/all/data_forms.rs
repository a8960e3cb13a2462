//! What the verbs say of the data that people bring.

use crate::support::{Tiny, accepts, json, refuses, stderr, yoloslim};
use std::fs;

#[test]
fn val_of_labels_given_twice_is_that_of_labels_given_once() {
    let tiny = Tiny::new(0, 6);
    let (model, data) = (tiny.arg("tiny.onnx"), tiny.arg("data.yaml"));
    let val = |out: &str| {
        let run = accepts(&["val", &model, "--data", &data, "--json", out]);
        (stderr(&run), json(out))
    };
    let (_, once) = val(&tiny.arg("once.json"));
    let mut lines = 0;
    for label in tiny.files("labels/val") {
        let text = fs::read_to_string(&label).unwrap();
        lines += text.lines().count();
        fs::write(&label, text.repeat(2)).unwrap();
    }
    let (told, twice) = val(&tiny.arg("twice.json"));
    assert!(told.contains(&format!("{lines} labels are exact duplicates")), "{told}");
    assert_eq!(once["duplicate_labels"], 0);
    assert_eq!(twice["duplicate_labels"], lines);
    for key in ["map_50_95", "ultralytics_map_50_95", "per_class"] {
        assert_eq!(once[key], twice[key], "{key}");
    }
}

#[test]
fn val_of_which_nothing_can_be_read_has_no_map_and_exits_2() {
    let tiny = Tiny::new(0, 3);
    for image in tiny.files("images/val") {
        fs::write(image, b"no image").unwrap();
    }
    let (model, data, out) = (tiny.arg("tiny.onnx"), tiny.arg("data.yaml"), tiny.arg("val.json"));
    let words = ["there is no mAP: none of 3 images", "0000.png"];
    refuses(&["val", &model, "--data", &data, "--json", &out], &words);
    let record = json(&out);
    for key in ["map_50_95", "map_50", "ultralytics_map_50_95"] {
        assert!(record.get(key).is_some_and(|v| v.is_null()), "{key}: {record}");
    }
    assert_eq!(record["bad_images"].as_array().unwrap().len(), 3);
}

#[test]
fn quantize_needs_no_names_for_a_folder_of_images_and_refuses_labels_of_other_classes() {
    let tiny = Tiny::new(6, 1);
    let (model, out) = (tiny.arg("tiny.onnx"), tiny.arg("int8.onnx"));
    let folder = tiny.arg("images/train");
    accepts(&["quantize", &model, "--data", &folder, "-o", &out]);
    tiny.put("unnamed.yaml", b"train: images/train\n");
    let unnamed = tiny.arg("unnamed.yaml");
    accepts(&["quantize", &model, "--data", &unnamed, "-o", &out]);
    tiny.put("other.yaml", b"train: images/train\nnames: [a, b, c]\n");
    let other = tiny.arg("other.yaml");
    let words = ["2 classes", "names 3", "other.yaml"];
    let args = ["--data", &other, "-o", &out];
    refuses(&[&["quantize", &model][..], &args].concat(), &words);
    refuses(&[&["prune", &model, "--macs", "0.1"][..], &args].concat(), &words);
    refuses(&["val", &model, "--data", &folder], &["the data set names no classes"]);
}

#[test]
fn images_that_are_there_twice_are_found_by_their_content() {
    let tiny = Tiny::new(6, 2);
    // An image of `val` under another name, and one of `train` once more.
    let copy = |from: &str, to: &str| fs::copy(tiny.path(from), tiny.path(to)).unwrap();
    copy("images/val/0000.png", "images/train/seen.png");
    copy("images/train/0003.png", "images/train/again.png");
    let (model, data) = (tiny.arg("tiny.onnx"), tiny.arg("data.yaml"));
    let out = tiny.arg("int8.onnx");
    let run = accepts(&["quantize", &model, "--data", &data, "-o", &out]);
    let told = stderr(&run);
    let words = [
        "1 of 8 images of `train` are images of `val` too",
        "1 of 8 images of `train` are copies of others of it",
    ];
    for word in words {
        assert!(told.contains(word), "no `{word}` in: {told}");
    }
    let run = accepts(&["val", &model, "--data", &data]);
    let told = stderr(&run);
    assert!(told.contains("1 of 2 images of `val` are images of `train` too"), "{told}");
}

#[test]
fn compress_leaves_out_of_calibration_what_judges_and_what_is_there_twice() {
    let tiny = Tiny::new(6, 2);
    let copy = |from: &str, to: &str| fs::copy(tiny.path(from), tiny.path(to)).unwrap();
    copy("images/val/0000.png", "images/train/seen.png");
    copy("images/train/0003.png", "images/train/again.png");
    let (model, data) = (tiny.arg("tiny.onnx"), tiny.arg("data.yaml"));
    let (run, out) = (tiny.arg("run"), tiny.arg("out.json"));
    let args = ["compress", &model, "--data", &data, "-o", &run, "--macs", "0"];
    let done = yoloslim(&[&args[..], &["--json", &out]].concat());
    assert!(done.status.code() < Some(2), "{}", stderr(&done));
    let record = json(&out);
    assert_eq!(record["calibration_images"], 6);
    let told = record["warnings"].to_string();
    for word in [
        "1 of 8 images of `train` are images of the split that judges",
        "1 of 8 images of `train` are copies",
    ] {
        assert!(told.contains(word), "no `{word}` in: {told}");
    }
}

#[test]
fn names_that_steer_a_terminal_are_printed_as_escapes() {
    let tiny = Tiny::new(0, 2);
    tiny.put("data.yaml", b"val: images/val\nnames: [\"\\e[31mred\", \"b\\rlue\"]\n");
    let run = yoloslim(&["val", &tiny.arg("tiny.onnx"), "--data", &tiny.arg("data.yaml")]);
    assert!(run.status.success(), "{}", stderr(&run));
    let shown = String::from_utf8_lossy(&run.stdout).into_owned();
    assert!(shown.contains("\\u{1b}[31mred"), "{shown}");
    assert!(!shown.contains('\u{1b}') && !shown.contains('\r'), "{shown:?}");
}
