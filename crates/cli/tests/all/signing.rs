//! `keygen`, `sign`, `verify`, and bundles in the place of models.
use crate::support::bundle::bundle;
use crate::support::schema::breaches;
use crate::support::{Tiny, accepts, json, refuses, stderr, yoloslim};
use std::fs;
use std::process::Command;

/// A tiny detector, its bundle, signed by one of two keys as version 7.
fn signed() -> Tiny {
    let tiny = Tiny::new(0, 3);
    bundle(&tiny, &tiny.path("bundle"), |golden| golden);
    let (bundle, key, out) = (tiny.arg("bundle"), tiny.arg("a.key"), tiny.arg("out.json"));
    for name in ["a", "b"] {
        accepts(&["keygen", &tiny.arg(name), "--no-passphrase", "--json", &out]);
        assert_eq!(breaches(&json(&out), "keygen.json"), Vec::<String>::new());
    }
    accepts(&["sign", &bundle, "--key", &key, "--version", "7", "--json", &out]);
    assert_eq!(breaches(&json(&out), "sign.json"), Vec::<String>::new());
    tiny
}

#[test]
fn verify_of_a_signed_bundle_runs_its_golden_frames() {
    let tiny = signed();
    let (bundle, key, out) = (tiny.arg("bundle"), tiny.arg("a.pub"), tiny.arg("out.json"));
    accepts(&["verify", &bundle, "--keys", &key, "--run", "--json", &out]);
    let record = json(&out);
    assert_eq!(breaches(&record, "verify.json"), Vec::<String>::new());
    assert_eq!(record["signature"]["version"], 7);
    assert_eq!([&record["golden"]["missed"], &record["golden"]["wrong"]], [0, 0]);
    assert!(record["golden"]["expected"].as_u64().unwrap() > 0);
    assert_eq!(record["golden"]["mean_iou"], 1.0);
    let slow = yoloslim(&["verify", &bundle, "--run", "--latency-ms", "0.000001"]);
    assert_eq!(slow.status.code(), Some(1), "{}", stderr(&slow));
    // The stock tool reads the same files.
    let files = [tiny.arg("bundle/bundle.json"), key];
    match Command::new("minisign").args(["-Vm", &files[0], "-p", &files[1]]).output() {
        Ok(out) => {
            let told = String::from_utf8_lossy(&out.stdout).into_owned();
            assert!(out.status.success() && told.contains("version 7"), "{told}");
        }
        Err(_) => println!("skipped: the stock minisign (not installed)"),
    }
}

#[test]
fn verify_of_a_changed_or_foreign_bundle_says_what_is_wrong() {
    let tiny = signed();
    let bundle = tiny.arg("bundle");
    let (a, b) = (tiny.arg("a.pub"), tiny.arg("b.pub"));
    refuses(&["verify", &bundle, "--keys", &b], &["none of the trusted ones"]);
    let manifest = fs::read_to_string(tiny.path("bundle/bundle.json")).unwrap();
    fs::write(tiny.path("bundle/bundle.json"), manifest.replace("\"red\"", "\"rot\"")).unwrap();
    refuses(&["verify", &bundle, "--keys", &a], &["signature does not fit"]);
    fs::write(tiny.path("bundle/bundle.json"), manifest).unwrap();
    let model = tiny.path("bundle/models/builtin.onnx");
    let mut bytes = fs::read(&model).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&model, bytes).unwrap();
    refuses(&["verify", &bundle], &["builtin.onnx", "not what was promised"]);
    fs::remove_file(tiny.path("bundle/bundle.json.minisig")).unwrap();
    refuses(&["detect", &bundle, &tiny.arg("images/val")], &["not what was promised"]);
}

#[test]
fn verify_of_a_model_that_finds_something_else_fails() {
    let tiny = Tiny::new(0, 3);
    bundle(&tiny, &tiny.path("bundle"), |golden| golden.replace("\"red\"", "\"blue\""));
    let out = yoloslim(&["verify", &tiny.arg("bundle"), "--run"]);
    assert_eq!(out.status.code(), Some(1), "{}", stderr(&out));
    let told = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(told.contains("refused: golden frames:"), "{told}");
}

#[test]
fn bundle_in_the_place_of_a_model_detects_the_same() {
    let tiny = signed();
    let images = tiny.arg("images/val");
    let [of_file, of_bundle] = ["tiny.onnx", "bundle"].map(|model| {
        let out = tiny.arg(&format!("{model}.json"));
        accepts(&["detect", &tiny.arg(model), &images, "--json", &out]);
        json(&out)["images"].clone()
    });
    assert_eq!(of_file, of_bundle);
    let inside = tiny.arg("bundle/models/builtin.onnx");
    refuses(&["export", &tiny.arg("bundle"), "-o", &inside], &["would replace the model"]);
}

#[test]
fn keygen_asks_for_a_passphrase_and_sign_needs_it() {
    let tiny = signed();
    let name = tiny.arg("c");
    refuses(&["keygen", &name], &["YOLOSLIM_PASSPHRASE", "--no-passphrase"]);
    tiny.put("pass", b"a long passphrase\n");
    accepts(&["keygen", &name, "--passphrase-file", &tiny.arg("pass")]);
    let (bundle, key) = (tiny.arg("bundle"), tiny.arg("c.key"));
    refuses(&["sign", &bundle, "--key", &key], &["c.key"]);
    accepts(&["sign", &bundle, "--key", &key, "--passphrase-file", &tiny.arg("pass")]);
    accepts(&["verify", &bundle, "--keys", &tiny.arg("c.pub")]);
}

#[test]
fn serve_with_keys_takes_signed_bundles_only() {
    let tiny = signed();
    let images = tiny.arg("images/val");
    let serve = |model: &str, key: &str, why: &[&str]| {
        let (model, key) = (tiny.arg(model), tiny.arg(key));
        let args = ["serve", &model, "--keys", &key, "--source", &images];
        refuses(&[&args[..], &["--listen", "127.0.0.1:0"]].concat(), why);
    };
    serve("tiny.onnx", "a.pub", &["only signed bundles are served"]);
    serve("bundle", "b.pub", &["none of the trusted ones"]);
    fs::remove_file(tiny.path("bundle/bundle.json.minisig")).unwrap();
    serve("bundle", "a.pub", &["is not signed"]);
}
