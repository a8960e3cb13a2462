use super::super::tests::{layout, seal, tag};
use super::super::{Form, Limits, Package, pull, push};
use super::*;
use std::fs;

/// Stores a bundle, with its manifest changed.
fn changed(change: impl FnOnce(&mut Value)) -> Result<Package, DeliverError> {
    let folder = tempfile::tempdir().expect("a folder");
    let store = layout(&folder.path().join("store"));
    let bundle = seal(&folder.path().join("a"), b"model");
    push(&*store, &bundle, "a", Form::ModelPack, &mut |_| {}).expect("pushed");
    let found = store.manifest_of_tag("a").expect("asked").expect("there");
    let mut manifest: Value = serde_json::from_slice(&found.bytes).expect("JSON");
    change(&mut manifest);
    let stored = stored(&MediaType::ImageManifest, &manifest);
    store.push_manifest("a", &stored).expect("stored");
    Package::resolve(&*store, &tag("a"))
}

#[test]
fn layer_whose_name_leaves_the_folder_hides_or_comes_twice_is_refused() {
    let names =
        ["../evil", "/etc/passwd", "a/../../evil", "", ".hidden", "a\\b", "a\0b", "bundle.json"];
    for name in names {
        let error = changed(|m| m["layers"][2]["annotations"][FILEPATH] = json!(name));
        let error = error.expect_err(name);
        assert!(matches!(error, DeliverError::Name { .. }), "{name}: {error}");
    }
    let error = changed(|m| m["layers"][2]["annotations"] = json!({})).expect_err("refused");
    assert!(matches!(error, DeliverError::Name { .. }), "{error}");
}

#[test]
fn layers_that_are_not_those_of_the_signed_list_are_refused() {
    let refused = |change: &dyn Fn(&mut Value), why: &str| {
        let error = changed(|m| change(m)).expect_err(why);
        assert!(matches!(error, DeliverError::Package { .. }), "{why}: {error}");
        assert!(error.to_string().contains(why), "{why}: {error}");
    };
    refused(&|m| m["layers"][1]["digest"] = json!(Digest::of(b"evil")), "is not the file of");
    refused(&|m| m["layers"][1]["size"] = json!(1), "is not the file of");
    refused(&|m| m["layers"][1]["annotations"][FILEPATH] = json!("stranger"), "has no layer for");
    refused(&|m| drop(m["layers"].as_array_mut().map(|l| l.remove(1))), "has no layer for");
    refused(&|m| drop(m["layers"].as_array_mut().map(|l| l.remove(0))), "has no bundle.json");
    refused(
        &|m| {
            let mut stranger = m["layers"][1].clone();
            stranger["annotations"][FILEPATH] = json!("stranger");
            m["layers"].as_array_mut().expect("layers").push(stranger);
        },
        "stranger is not named by",
    );
    refused(&|m| m["mediaType"] = json!("application/vnd.oci.image.index.v1+json"), "inside it");
    refused(&|m| m["layers"][1]["digest"] = json!("md5:00"), "is no digest");
}

#[test]
fn seal_that_is_too_large_or_damaged_is_refused() {
    let large = changed(|m| m["layers"][0]["size"] = json!(1_u64 << 40)).expect_err("refused");
    assert!(matches!(large, DeliverError::Oversized { .. }), "{large}");
    let other = changed(|m| {
        m["layers"][0] = {
            let mut other = m["layers"][1].clone();
            other["annotations"][FILEPATH] = json!("bundle.json");
            other
        }
    });
    let other = other.expect_err("refused");
    assert!(matches!(other, DeliverError::Package { .. }), "{other}");
}

#[test]
fn blob_with_other_bytes_is_refused_and_not_kept() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    let store = layout(&path("store"));
    let bundle = seal(&path("a"), b"model");
    push(&*store, &bundle, "a", Form::ModelPack, &mut |_| {}).expect("pushed");
    let hex = Digest::of(b"model").hex();
    let blob = path("store/blobs/sha256").join(&hex);
    fs::write(&blob, b"evil!").expect("changed");
    let error = pull(&*store, &tag("a"), &path("b"), &Limits::default()).expect_err("refused");
    assert!(matches!(error, DeliverError::Digest { .. }), "{error}");
    assert!(!path("b").exists());
    assert!(!path(".b.partial/blobs").join(format!("{hex}.partial")).exists());
    fs::write(&blob, b"model").expect("repaired");
    pull(&*store, &tag("a"), &path("b"), &Limits::default()).expect("pulled");
}
