//! Outputs: nothing that is read is written over, whatever the verb and however it is named, and what cannot be printed
//! decides nothing.
use crate::support::{Tiny, accepts, json, refuses, stderr, yoloslim};
use std::fs;

/// Every file of the folder with its content.
fn content(tiny: &Tiny) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let files = tiny.files("").into_iter();
    files.map(|f| (f.clone(), fs::read(f).unwrap())).collect()
}

#[test]
fn output_that_is_an_input_is_refused_by_every_verb_and_nothing_changes() {
    let tiny = Tiny::new(4, 4);
    let (model, data) = (tiny.arg("tiny.onnx"), tiny.arg("data.yaml"));
    let (image, label) = (tiny.arg("images/val/0001.png"), tiny.arg("labels/train/0001.txt"));
    let again = tiny.arg("images/../tiny.onnx");
    let new = tiny.arg("new.json");
    let before = content(&tiny);
    let of = |verb: &[&'static str]| -> Vec<String> {
        let mut args: Vec<String> = verb.iter().map(|v| (*v).to_owned()).collect();
        args.insert(1, model.clone());
        if verb[0] != "export" {
            args.extend(["--data".to_owned(), data.clone()]);
        }
        args
    };
    let cases: &[(Vec<String>, &str, &str, &str)] = &[
        (of(&["export"]), "-o", &model, "the model"),
        (of(&["export"]), "-o", &again, "the model"),
        (of(&["prune", "--macs", "0.1"]), "-o", &model, "the model"),
        (of(&["prune", "--macs", "0.1"]), "-o", &data, "description"),
        (of(&["quantize"]), "-o", &again, "the model"),
        (of(&["quantize"]), "-o", &label, "data set"),
        (of(&["val"]), "--dets", &data, "description"),
        (of(&["val"]), "--dets", &image, "data set"),
        (of(&["val"]), "--json", &model, "the model"),
        (of(&["val", "--dets", "x.json"]), "--json", "./x.json", "one file"),
        (of(&["inspect", "--sensitivity"]), "--plot", &model, "the model"),
        (of(&["inspect", "--sensitivity", "--plot", "p.svg"]), "--json", "p.svg", "one file"),
    ];
    for (verb, option, out, word) in cases {
        let mut args: Vec<&str> = verb.iter().map(String::as_str).collect();
        args.extend([*option, *out]);
        if verb[0] == "quantize" || verb[0] == "prune" {
            args.extend(["--json", &new]);
        }
        refuses(&args, &[option, word, "name"]);
    }
    let detect = ["detect", &model, &image, "--json", &image];
    refuses(&detect, &["--json", "an image", "another file"]);
    let bench = ["bench", &model, "--json", &model];
    refuses(&bench, &["--json", "the model"]);
    tiny.put("val.txt", b"images/val/0001.png\nimages/val/0002.png\n");
    tiny.put("listed.yaml", b"val: val.txt\nnames: [red, blue]\n");
    let (listed, list) = (tiny.arg("listed.yaml"), tiny.arg("val.txt"));
    let val = ["val", &model, "--data", &listed, "--json", &list];
    refuses(&val, &["--json", "data set", "val.txt"]);
    let compare = ["compare", &model, &model, "--data", &data, "--json", &data];
    refuses(&compare, &["--json", "description"]);
    for new in ["val.txt", "listed.yaml"] {
        fs::remove_file(tiny.path(new)).unwrap();
    }
    assert!(before == content(&tiny), "something was written");
}

#[cfg(unix)]
#[test]
fn output_linked_with_an_input_is_refused() {
    let tiny = Tiny::new(0, 0);
    let model = tiny.arg("tiny.onnx");
    std::os::unix::fs::symlink(&model, tiny.path("soft.onnx")).unwrap();
    fs::hard_link(&model, tiny.path("hard.onnx")).unwrap();
    let before = fs::read(&model).unwrap();
    for link in ["soft.onnx", "hard.onnx"] {
        let (link, words) = (tiny.arg(link), ["would replace", "tiny.onnx"]);
        refuses(&["export", &model, "-o", &link], &words);
        refuses(&["export", &link, "-o", &model], &["would replace"]);
    }
    assert!(before == fs::read(&model).unwrap());
    assert!(fs::symlink_metadata(tiny.path("soft.onnx")).unwrap().is_symlink());
    // What is no input is written over, as ever.
    let out = tiny.arg("out.onnx");
    accepts(&["export", &model, "-o", &out]);
    accepts(&["export", &model, "-o", &out]);
}

#[test]
fn output_that_is_the_external_data_of_the_model_is_refused() {
    use prost_lite::*;
    let tiny = Tiny::new(0, 0);
    let (model, weights) = (tiny.arg("outside.onnx"), tiny.arg("outside.onnx.data"));
    tiny.put("outside.onnx", &with_external_weight("outside.onnx.data"));
    tiny.put("outside.onnx.data", &[0; 12]);
    accepts(&["inspect", &model]);
    let words = ["external data", "outside.onnx.data"];
    refuses(&["export", &model, "-o", &weights], &words);
    refuses(&["inspect", &model, "--json", &weights], &words);
    assert_eq!(fs::read(&weights).unwrap(), [0; 12]);
}

/// Protobuf by hand, for what no writer of ours writes.
mod prost_lite {
    fn varint(mut v: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        while v >= 0x80 {
            bytes.push(v as u8 | 0x80);
            v >>= 7;
        }
        bytes.push(v as u8);
        bytes
    }

    fn int(tag: u64, v: u64) -> Vec<u8> {
        [varint(tag << 3), varint(v)].concat()
    }

    fn bytes(tag: u64, content: &[u8]) -> Vec<u8> {
        let head = [varint(tag << 3 | 2), varint(content.len() as u64)].concat();
        [&head, content].concat()
    }

    fn value(tag: u64, name: &str) -> Vec<u8> {
        let dims = [1, 3].map(|d| bytes(1, &int(1, d))).concat();
        let ty = bytes(1, &[int(1, 1), bytes(2, &dims)].concat());
        bytes(tag, &[bytes(1, name.as_bytes()), bytes(2, &ty)].concat())
    }

    /// `y = x + w` with `w` of three floats in a file beside.
    pub(crate) fn with_external_weight(location: &str) -> Vec<u8> {
        let entry = [bytes(1, b"location"), bytes(2, location.as_bytes())].concat();
        let weight = [int(1, 3), int(2, 1), bytes(8, b"w"), bytes(13, &entry), int(14, 1)];
        let names = ["x", "w"].map(|n| bytes(1, n.as_bytes())).concat();
        let node = [names, bytes(2, b"y"), bytes(3, b"add"), bytes(4, b"Add")];
        let graph =
            [bytes(1, &node.concat()), bytes(5, &weight.concat()), value(11, "x"), value(12, "y")];
        [int(1, 8), bytes(7, &graph.concat()), bytes(8, &int(2, 17))].concat()
    }
}

#[test]
fn detect_draws_over_no_image_and_each_of_two_with_one_name_on_its_own() {
    let tiny = Tiny::new(2, 2);
    let model = tiny.arg("tiny.onnx");
    let (train, val, out) = (tiny.arg("images/train"), tiny.arg("images/val"), tiny.arg("drawn"));
    let before = content(&tiny);
    let words = ["--out", "0000.png", "another"];
    refuses(&["detect", &model, &val, "--out", &val], &words);
    let round_about = tiny.arg("images/train/../val");
    refuses(&["detect", &model, &val, "--out", &round_about], &words);
    // Also where the folder is another image's of the same command.
    refuses(&["detect", &model, &train, &val, "--out", &val], &words);
    assert!(before == content(&tiny));
    accepts(&["detect", &model, &train, &val, "--out", &out]);
    let names = tiny.files("drawn").into_iter();
    let names: Vec<_> = names.map(|p| p.file_name().unwrap().to_owned()).collect();
    assert_eq!(names, ["0000.png", "0000_2.png", "0001.png", "0001_2.png"]);
    let found = tiny.arg("drawn/found.json");
    accepts(&["detect", &model, &val, "--out", &out, "--json", &found]);
    let over = tiny.arg("drawn/0000.png");
    let clash = ["detect", &model, &val, "--out", &out, "--json", &over];
    refuses(&clash, &["one file"]);
}

#[test]
fn compress_leaves_folders_that_are_not_its_own_as_they_are() {
    let tiny = Tiny::new(4, 4);
    let (model, data) = (tiny.arg("tiny.onnx"), tiny.arg("data.yaml"));
    let mine = ["model.onnx", "metrics.json", "report.html", "stages/notes.json"];
    for file in mine {
        tiny.put(&format!("work/{file}"), b"mine");
    }
    fs::copy(&model, tiny.path("work/source.onnx")).unwrap();
    let before = content(&tiny);
    for (model, out) in [(&model, ""), (&model, "work"), (&tiny.arg("work/source.onnx"), "work")] {
        let out = tiny.arg(out);
        let args = ["compress", model, "--data", &data, "-o", &out];
        let words = ["is not empty", "a new folder"];
        refuses(&args, &words);
        refuses(&[&args[..], &["--resume"]].concat(), &words);
        refuses(&["report", &out], &["no finished run"]);
    }
    assert!(before == content(&tiny));
}

#[test]
fn compress_over_an_earlier_run_removes_what_is_its_own_and_reads_nothing_of_it() {
    let tiny = Tiny::new(12, 4);
    let (model, data, run) = (tiny.arg("tiny.onnx"), tiny.arg("data.yaml"), tiny.arg("run"));
    let compress = |model: &str, more: &[&str]| {
        let usual = ["compress", model, "--data", &data, "-o", &run, "--keep", "0.1"];
        yoloslim(&[&usual[..], more].concat())
    };
    assert!(compress(&model, &["--macs", "0.3"]).status.success());
    for file in ["notes.md", "attempt-1/notes.md"] {
        tiny.put(&format!("run/{file}"), b"mine");
    }
    tiny.put("run/attempt-2/model.onnx", b"of an older run");
    let again = compress(&model, &["--macs", "0"]);
    assert!(again.status.success(), "{}", stderr(&again));
    assert!(stderr(&again).contains("removing the run"), "{}", stderr(&again));
    assert!(tiny.path("run/notes.md").exists() && tiny.path("run/attempt-1/notes.md").exists());
    assert!(!tiny.path("run/attempt-2").exists());
    // The result of a run is no input of the next one in the same folder.
    for inside in ["run/model.onnx", "run/attempt-1/pruned.onnx"] {
        let (refused, inside) = (compress(&tiny.arg(inside), &[]), tiny.path(inside));
        assert_eq!(refused.status.code(), Some(2));
        assert!(stderr(&refused).contains("belongs to the run"), "{}", stderr(&refused));
        assert!(inside.exists());
    }
    let recipe = tiny.arg("run/recipe.toml");
    let usual = ["compress", &model, "--data", &data, "-o", &run, "--recipe", &recipe];
    refuses(&usual, &["the recipe", "belongs to the run"]);
    let metrics = tiny.arg("run/metrics.json");
    let usual = ["compress", &model, "--data", &data, "-o", &run, "--json", &metrics];
    refuses(&usual, &["belongs to the run"]);
    assert!(json(&metrics)["gate"].is_object());
    // Another model is no continuation.
    accepts(&["export", &model, "-o", &tiny.arg("other.onnx"), "--opset", "18"]);
    let other = compress(&tiny.arg("other.onnx"), &["--resume"]);
    assert_eq!(other.status.code(), Some(2));
    assert!(stderr(&other).contains("of another model"), "{}", stderr(&other));
}

#[cfg(unix)]
#[test]
fn compress_in_a_folder_where_another_is_at_work_is_refused() {
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};
    let tiny = Tiny::new(60, 30);
    let (model, data, run) = (tiny.arg("tiny.onnx"), tiny.arg("data.yaml"), tiny.arg("run"));
    let args = ["compress", &model, "--data", &data, "-o", &run, "--keep", "0.1"];
    let mut first = Command::new(env!("CARGO_BIN_EXE_yoloslim"))
        .args(args)
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(first.stderr.take().unwrap()).lines();
    assert!(said.any(|l| l.unwrap().contains("measuring accuracy")));
    // Stopped, it still holds its folder.
    let signal = |name: &str| {
        let id = first.id().to_string();
        assert!(Command::new("kill").args([name, &id]).status().unwrap().success());
    };
    signal("-STOP");
    for more in [&[][..], &["--resume"]] {
        refuses(&[&args[..], more].concat(), &["another yoloslim is at work"]);
    }
    signal("-CONT");
    drop(said.by_ref().last());
    assert!(first.wait().unwrap().success());
    // Nothing of the lock is left.
    accepts(&[&args[..], &["--resume"]].concat());
}

#[cfg(target_os = "linux")]
#[test]
fn what_cannot_be_printed_decides_nothing() {
    use std::fs::File;
    use std::process::{Command, Stdio};
    let tiny = Tiny::new(12, 4);
    let (model, data) = (tiny.arg("tiny.onnx"), tiny.arg("data.yaml"));
    let closed = || {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        Stdio::from(writer)
    };
    let full = || Stdio::from(File::options().write(true).open("/dev/full").expect("Linux has it"));
    let run = |args: &[&str], (stdout, stderr): (Stdio, Stdio)| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_yoloslim"));
        command.args(args).stdout(stdout).stderr(stderr);
        command.output().expect("it runs")
    };
    let out = tiny.arg("found.json");
    let inspect = ["inspect", &model, "--json", &out];
    for streams in [(closed(), closed()), (full(), full()), (closed(), Stdio::piped())] {
        let done = run(&inspect, streams);
        assert_eq!(done.status.code(), Some(0));
        assert_eq!(stderr(&done), "", "a reader that has seen enough is passed over");
        assert!(json(&out)["params"].is_u64());
        fs::remove_file(&out).unwrap();
    }
    let told = stderr(&run(&inspect, (full(), Stdio::piped())));
    assert!(told.contains("could not be printed"), "{told}");
    assert_eq!(told.lines().count(), 1, "{told}");
    // Work of many stages, with its progress; an error's exit code; bad images on stderr.
    let dir = tiny.arg("run");
    let compress = ["compress", &model, "--data", &data, "-o", &dir, "--keep", "0.1"];
    assert_eq!(run(&compress, (full(), closed())).status.code(), Some(0));
    assert_eq!(run(&compress, (closed(), full())).status.code(), Some(0));
    let unknown = ["inspect", "no-such.onnx"];
    assert_eq!(run(&unknown, (closed(), closed())).status.code(), Some(2));
    // Its name is no text, which a record must bear.
    let name = <std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(b"b\xffd.jpg");
    fs::write(tiny.path("images/val").join(name), b"\xff\xd8\xff\xe0").unwrap();
    let val = ["val", &model, "--data", &data, "--json", &out];
    assert_eq!(run(&val, (closed(), full())).status.code(), Some(0));
}
