use super::*;
use std::collections::BTreeSet;

fn manifest(text: &str) -> StoredManifest {
    let bytes = format!(r#"{{"mediaType":"application/x","text":"{text}"}}"#).into_bytes();
    StoredManifest { digest: Digest::of(&bytes), media_type: "application/x".to_owned(), bytes }
}

#[test]
fn layout_gives_back_what_was_stored_by_tag_and_by_digest() {
    let folder = tempfile::tempdir().expect("a folder");
    let layout = Layout::new(&folder.path().join("store"));
    assert!(layout.manifest_of_tag("a").expect("asked").is_none());
    assert!(layout.tags().expect("asked").is_empty());
    let [first, second, third] = ["1", "2", "3"].map(manifest);
    layout.push_manifest("b", &first).expect("stored");
    layout.push_manifest("a", &first).expect("stored");
    layout.push_manifest("a", &second).expect("stored");
    layout.push_untagged(&third).expect("stored");
    assert_eq!(layout.tags().expect("tags"), ["a", "b"]);
    assert_eq!(layout.digest_of_tag("a").expect("asked"), Some(second.digest));
    let found = layout.manifest_of_tag("b").expect("asked").expect("there");
    assert_eq!((found.digest, found.bytes), (first.digest, first.bytes));
    let found = layout.manifest(&third.digest).expect("asked").expect("there");
    assert_eq!((found.media_type.as_str(), found.bytes), ("application/x", third.bytes));
}

#[test]
fn layout_that_several_write_to_keeps_every_tag() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("store");
    std::thread::scope(|scope| {
        for writer in 0..4 {
            let path = &path;
            scope.spawn(move || {
                for at in 0..8 {
                    let stored = manifest(&format!("{writer}-{at}"));
                    let layout = Layout::new(path);
                    layout.push_manifest(&format!("t{writer}-{at}"), &stored).expect("stored");
                    layout.push_manifest("all", &stored).expect("stored");
                }
            });
        }
    });
    let tags: BTreeSet<_> = Layout::new(&path).tags().expect("tags").into_iter().collect();
    assert_eq!(tags.len(), 4 * 8 + 1);
}

#[test]
fn layout_whose_bytes_were_changed_gives_none_of_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let layout = Layout::new(folder.path());
    let stored = manifest("1");
    layout.push_manifest("a", &stored).expect("stored");
    fs::write(layout.blob_path(&stored.digest), b"{}").expect("changed");
    let error = layout.manifest_of_tag("a").expect_err("refused");
    assert!(matches!(error, DeliverError::ManifestDigest { .. }), "{error}");
    let blob = Blob::of(&stored.bytes);
    let error = layout.read_blob(&blob, 0, &mut Vec::new()).expect_err("refused");
    assert!(matches!(error, DeliverError::Size { .. }), "{error}");
    fs::remove_file(layout.blob_path(&stored.digest)).expect("removed");
    let error = layout.manifest_of_tag("a").expect_err("refused");
    assert!(matches!(error, DeliverError::Missing { .. }), "{error}");
}

#[test]
fn layout_of_another_kind_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    fs::create_dir(path("other")).expect("a folder");
    fs::write(path("other/letter.txt"), b"dear").expect("a file");
    let error = Layout::new(&path("other")).push_manifest("a", &manifest("1"));
    let error = error.expect_err("refused");
    assert!(matches!(error, DeliverError::Layout { .. }), "{error}");
    assert!(!path("other/index.json").exists());
    Layout::new(&path("later")).push_manifest("a", &manifest("1")).expect("stored");
    fs::write(path("later/oci-layout"), br#"{"imageLayoutVersion":"2.0.0"}"#).expect("a file");
    let error = Layout::new(&path("later")).tags().expect_err("refused");
    assert!(error.to_string().contains("2.0.0"), "{error}");
    // A pipe in place of a blob would be waited for without end; a link that leads nowhere is no blob.
    let layout = Layout::new(&path("later"));
    fs::write(path("later/oci-layout"), br#"{"imageLayoutVersion":"1.0.0"}"#).expect("a file");
    let blob = Blob::of(b"x");
    fs::create_dir(layout.blob_path(&blob.digest)).expect("a folder");
    let error = layout.read_blob(&blob, 0, &mut Vec::new()).expect_err("refused");
    assert!(matches!(error, DeliverError::Read { .. }), "{error}");
}

#[test]
fn layout_keeps_what_other_programs_wrote_in_its_index() {
    let folder = tempfile::tempdir().expect("a folder");
    let layout = Layout::new(folder.path());
    layout.push_manifest("a", &manifest("1")).expect("stored");
    let path = folder.path().join("index.json");
    let text = fs::read_to_string(&path).expect("an index");
    let mut index: Value = serde_json::from_str(&text).expect("an index");
    assert_eq!(index["schemaVersion"], 2);
    index["annotations"] = json!({ "theirs": "1" });
    index["manifests"][0]["platform"] = json!({ "architecture": "arm64", "os": "linux" });
    fs::write(&path, index.to_string()).expect("written");
    layout.push_manifest("b", &manifest("2")).expect("stored");
    let text = fs::read_to_string(&path).expect("an index");
    let index: Value = serde_json::from_str(&text).expect("an index");
    assert_eq!(index["annotations"]["theirs"], "1");
    assert_eq!(index["manifests"][0]["platform"]["architecture"], "arm64");
}
