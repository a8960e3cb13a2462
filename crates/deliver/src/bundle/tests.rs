use super::*;
use crate::{KeyFiles, Passphrase, keygen};
use std::collections::BTreeMap;

/// What is said of a bundle with one model; its files are named when it is sealed.
pub(crate) fn manifest() -> Manifest {
    Manifest {
        yoloslim_bundle: Manifest::format(),
        name: "boards".to_owned(),
        family: "v8".to_owned(),
        classes: vec!["open".to_owned()],
        input: InputShape { channels: 3, height_px: 320, width_px: 320 },
        thresholds: Thresholds { conf: 0.25, iou: 0.7 },
        models: BTreeMap::from([("builtin".to_owned(), "models/builtin.onnx".to_owned())]),
        metrics: BTreeMap::new(),
        data: DataRecord { digest: Digest::of(b"data"), images: 300, objects: 1884 },
        provenance: Provenance { model: Digest::of(b"m"), commit: None, tool: "test".to_owned() },
        files: BTreeMap::new(),
    }
}

/// A bundle of one model that is none: bytes are enough here.
pub(crate) fn seal(path: &Path, model: &[u8]) -> Bundle {
    fs::create_dir_all(path.join("models")).expect("a folder");
    fs::write(path.join("models/builtin.onnx"), model).expect("a file");
    Bundle::seal(path, manifest(), [("models/builtin.onnx".to_owned(), FileRole::Model)])
        .expect("sealed")
}

#[test]
fn bundle_of_the_same_files_has_the_same_digest_wherever_it_lies() {
    let folder = tempfile::tempdir().expect("a folder");
    let [a, b, c] = [("a", "model"), ("b", "model"), ("c", "Model")]
        .map(|(name, model)| seal(&folder.path().join(name), model.as_bytes()).digest);
    assert_eq!(a, b);
    assert_ne!(a, c);
}

#[test]
fn bundle_with_a_changed_missing_stray_or_linked_file_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    let open = |name: &str, change: &dyn Fn(&Path)| {
        seal(&path(name), b"model");
        change(&path(name));
        Bundle::open(&path(name)).expect_err("refused")
    };
    let model = |at: &Path| at.join("models/builtin.onnx");
    let error = open("changed", &|at| fs::write(model(at), b"modeL").expect("a file"));
    assert!(matches!(error, DeliverError::Digest { .. }), "{error}");
    let error = open("longer", &|at| fs::write(model(at), b"models").expect("a file"));
    assert!(matches!(error, DeliverError::Size { .. }), "{error}");
    let error = open("missing", &|at| fs::remove_file(model(at)).expect("a file"));
    assert!(error.to_string().contains("is missing"), "{error}");
    let error = open("stray", &|at| fs::write(at.join("more"), b"").expect("a file"));
    assert!(error.to_string().contains("is not named"), "{error}");
    #[cfg(unix)]
    {
        let error = open("linked", &|at| {
            fs::rename(model(at), at.join("../aside")).expect("moved");
            std::os::unix::fs::symlink("../../aside", model(at)).expect("a link");
        });
        assert!(error.to_string().contains("no regular file"), "{error}");
    }
}

#[test]
fn names_that_leave_the_folder_or_hide_are_refused() {
    for name in ["", "/a", "../a", "a/../b", "a//b", "a\\b", ".a", "a/.b", "a b", "a:b", "ä", "a\0"]
    {
        assert!(check_name(name).is_err(), "{name:?}");
    }
    for name in ["a", "models/builtin.onnx", "golden/0001.png", "A-b_c.1"] {
        assert!(check_name(name).is_ok(), "{name:?}");
    }
}

#[test]
fn signature_carries_the_version_and_no_other_bundles() {
    let folder = tempfile::tempdir().expect("a folder");
    let files =
        KeyFiles { public: folder.path().join("k.pub"), secret: folder.path().join("k.key") };
    keygen(&files, &Passphrase::None).expect("keys");
    let key = SigningKey::read(&files.secret, &Passphrase::None).expect("a key");
    let keys = PublicKeys::read(&files.public).expect("a key");
    let a = seal(&folder.path().join("a"), b"one");
    let b = seal(&folder.path().join("b"), b"two");
    assert!(matches!(a.verify(&keys), Err(DeliverError::Unsigned { .. })));
    a.sign(&key, 7).expect("signed");
    assert_eq!(a.verify(&keys).expect("fits"), Signed { key: key.number(), version: 7 });
    fs::copy(a.path.join(SIGNATURE), b.path.join(SIGNATURE)).expect("copied");
    assert!(matches!(b.verify(&keys), Err(DeliverError::Signature { .. })));
}

#[test]
fn manifest_of_a_later_format_is_refused_by_its_number() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join(MANIFEST), br#"{"yoloslim_bundle": 2}"#).expect("a file");
    let error = Bundle::open(folder.path()).expect_err("refused");
    assert!(error.to_string().contains("its format is 2"), "{error}");
}
