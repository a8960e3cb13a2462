use super::super::oci::stored;
use super::super::tests::{layout, seal, tag};
use super::super::{Form, pull, push};
use super::*;
use oci_spec::image::MediaType;
use serde_json::{Value, json};

/// A stored bundle that promises a model of so many bytes.
fn promising(folder: &Path, bytes: u64) -> Box<dyn Store> {
    let store = layout(&folder.join("store"));
    let bundle = seal(&folder.join("a"), b"model");
    push(&*store, &bundle, "a", Form::ModelPack, &mut |_| {}).expect("pushed");
    let path = folder.join("a").join(bundle::MANIFEST);
    let mut list: Value = serde_json::from_slice(&fs::read(&path).expect("a list")).expect("JSON");
    list["files"]["models/builtin.onnx"]["size_bytes"] = json!(bytes);
    fs::write(&path, list.to_string()).expect("written");
    let list = Blob::of(list.to_string().as_bytes());
    store.push_blob(&list, &path).expect("stored");
    let found = store.manifest_of_tag("a").expect("asked").expect("there");
    let mut manifest: Value = serde_json::from_slice(&found.bytes).expect("JSON");
    for layer in manifest["layers"].as_array_mut().expect("layers") {
        match layer["annotations"]["org.cncf.model.filepath"].as_str() {
            Some(bundle::MANIFEST) => {
                layer["digest"] = json!(list.digest);
                layer["size"] = json!(list.size_bytes);
            }
            Some("models/builtin.onnx") => layer["size"] = json!(bytes),
            _ => {}
        }
    }
    store.push_manifest("a", &stored(&MediaType::ImageManifest, &manifest)).expect("stored");
    store
}

#[test]
fn bundle_for_which_there_is_no_room_is_not_begun() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = promising(folder.path(), 1 << 60);
    let into = folder.path().join("b");
    let limits = Limits { bundle_bytes: u64::MAX };
    let error = pull(&*store, &tag("a"), &into, &limits).expect_err("refused");
    assert!(
        matches!(error, DeliverError::Space { needed, available, .. } if needed > 1 << 60 && available < needed),
        "{error}"
    );
    let blobs = fs::read_dir(folder.path().join(".b.partial/blobs")).expect("a folder");
    assert_eq!(blobs.count(), 0);
    let error = pull(&*store, &tag("a"), &into, &Limits::default()).expect_err("refused");
    assert!(matches!(error, DeliverError::Oversized { .. }), "{error}");
}

#[test]
fn blob_of_another_size_than_is_promised_everywhere_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = promising(folder.path(), 6);
    let into = folder.path().join("b");
    let error = pull(&*store, &tag("a"), &into, &Limits::default()).expect_err("refused");
    assert!(matches!(error, DeliverError::Size { .. }), "{error}");
    assert!(!into.exists());
}

#[test]
fn two_that_fetch_the_same_bundle_at_a_time_both_have_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    let bundle = seal(&path("a"), &[1; 1_000_000]);
    push(&*layout(&path("store")), &bundle, "a", Form::ModelPack, &mut |_| {}).expect("pushed");
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let store = layout(&path("store"));
                let pulled = pull(&*store, &tag("a"), &path("b"), &Limits::default());
                assert_eq!(pulled.expect("pulled").digest, bundle.digest);
            });
        }
    });
    assert!(!path(".b.partial").exists());
}
