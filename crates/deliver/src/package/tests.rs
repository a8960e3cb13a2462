use super::*;
use crate::bundle::FileRole;
use crate::bundle::tests::manifest;
use crate::store::{Access, Location};
use crate::{KeyFiles, Passphrase, SigningKey, keygen};
use std::fs;
use std::path::Path;

/// A bundle with a file of every role; two have the same content.
pub(crate) fn seal(path: &Path, model: &[u8]) -> Bundle {
    let files = [
        ("models/builtin.onnx", model, FileRole::Model),
        ("models/openvino.onnx", model, FileRole::Model),
        ("quant.plan.json", b"{}", FileRole::Config),
        ("report.html", b"<html>", FileRole::Document),
        ("golden/golden.json", b"[]", FileRole::Golden),
        ("golden/0.png", b"png", FileRole::Image),
    ];
    for (name, bytes, _) in &files {
        let file = path.join(name);
        fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
        fs::write(file, bytes).expect("a file");
    }
    let mut manifest = manifest();
    manifest.provenance.commit = Some("0123abc".to_owned());
    let roles = files.map(|(name, _, role)| (name.to_owned(), role));
    Bundle::seal(path, manifest, roles).expect("sealed")
}

pub(crate) fn layout(path: &Path) -> Box<dyn Store> {
    Location::folder(path).open(&Access::default()).expect("a folder")
}

pub(crate) fn tag(name: &str) -> Reference {
    Reference::Tag(name.to_owned())
}

fn keys(folder: &Path) -> (SigningKey, PublicKeys) {
    let files = KeyFiles { public: folder.join("k.pub"), secret: folder.join("k.key") };
    keygen(&files, &Passphrase::None).expect("keys");
    let key = SigningKey::read(&files.secret, &Passphrase::None).expect("a key");
    (key, PublicKeys::read(&files.public).expect("a key"))
}

const FORMS: [Form; 2] = [Form::ModelPack, Form::Image];

#[test]
fn bundle_that_went_through_a_store_is_the_same_with_its_signature_and_times() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    let bundle = seal(&path("a"), b"model");
    let (key, keys) = keys(folder.path());
    bundle.sign(&key, 7).expect("signed");
    fs::write(path("a/timings.json"), b"{}").expect("a file");
    let store = layout(&path("store"));
    for form in FORMS {
        let name = format!("{form:?}").to_lowercase();
        let digest = push(&*store, &bundle, &name, form, &mut |_| {}).expect("pushed");
        let package = Package::resolve(&*store, &tag(&name)).expect("found");
        assert_eq!((package.form, package.digest), (form, digest));
        assert_eq!(package.bundle_digest(), bundle.digest);
        assert_eq!(package.verify(&keys).expect("verified").version, 7);
        let reference = Reference::Digest(digest);
        let pulled = pull(&*store, &reference, &path(&name), &Limits::default()).expect("pulled");
        assert_eq!((&pulled.manifest, pulled.digest), (&bundle.manifest, bundle.digest));
        assert_eq!(pulled.verify(&keys).expect("verified").version, 7);
        assert!(path(&name).join(bundle::TIMINGS).is_file());
        // Nothing is left beside it.
        assert!(!path(&format!(".{name}.partial")).exists());
        // What is there already is not fetched again.
        pull(&*store, &reference, &path(&name), &Limits::default()).expect("there already");
    }
}

#[test]
fn bundle_of_the_same_files_has_the_same_manifest_wherever_it_lies() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = layout(&folder.path().join("store"));
    for form in FORMS {
        let [a, b, c] = [("a", "model"), ("b", "model"), ("c", "Model")].map(|(name, model)| {
            let bundle = seal(&folder.path().join(name), model.as_bytes());
            push(&*store, &bundle, name, form, &mut |_| {}).expect("pushed")
        });
        assert_eq!(a, b);
        assert_ne!(a, c);
    }
}

#[test]
fn manifest_says_what_model_pack_asks_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = layout(&folder.path().join("store"));
    let bundle = seal(&folder.path().join("a"), b"model");
    push(&*store, &bundle, "a", Form::ModelPack, &mut |_| {}).expect("pushed");
    let stored = store.manifest_of_tag("a").expect("asked").expect("there");
    let manifest: serde_json::Value = serde_json::from_slice(&stored.bytes).expect("JSON");
    assert_eq!(manifest["artifactType"], "application/vnd.cncf.model.manifest.v1+json");
    let layers = manifest["layers"].as_array().expect("layers");
    let model = layers
        .iter()
        .find(|layer| layer["annotations"]["org.cncf.model.filepath"] == "models/builtin.onnx");
    let model = model.expect("a layer");
    assert_eq!(model["mediaType"], "application/vnd.cncf.model.weight.v1.raw");
    assert_eq!(model["digest"], Digest::of(b"model").to_string());
    let config = manifest["config"]["digest"].as_str().expect("a digest");
    let size_bytes = manifest["config"]["size"].as_u64().expect("a size");
    let config = Blob { digest: config.parse().expect("a digest"), size_bytes };
    let mut bytes = Vec::new();
    store.read_blob(&config, 0, &mut bytes).expect("read");
    let config: serde_json::Value = serde_json::from_slice(&bytes).expect("JSON");
    assert_eq!(config["config"]["format"], "onnx");
    assert_eq!(config["config"]["precision"], "int8");
    assert_eq!(config["descriptor"]["revision"], "0123abc");
    assert_eq!(config["modelfs"]["type"], "layers");
    assert_eq!(config["modelfs"]["diffIds"].as_array().map(Vec::len), Some(layers.len()));
}

#[test]
fn folder_that_holds_something_else_is_left_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    let store = layout(&path("store"));
    let bundle = seal(&path("a"), b"model");
    push(&*store, &bundle, "a", Form::ModelPack, &mut |_| {}).expect("pushed");
    seal(&path("b"), b"Model");
    fs::create_dir(path("c")).expect("a folder");
    fs::write(path("c/letter"), b"dear").expect("a file");
    for name in ["b", "c"] {
        let error = pull(&*store, &tag("a"), &path(name), &Limits::default());
        let error = error.expect_err("refused");
        assert!(matches!(error, DeliverError::Exists { .. }), "{error}");
    }
    fs::create_dir(path("d")).expect("an empty folder");
    pull(&*store, &tag("a"), &path("d"), &Limits::default()).expect("pulled");
}

#[test]
fn bundle_larger_than_allowed_is_refused_before_it_is_fetched() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    let store = layout(&path("store"));
    let bundle = seal(&path("a"), &[0; 9 << 20]);
    for form in FORMS {
        push(&*store, &bundle, "a", form, &mut |_| {}).expect("pushed");
        let limits = Limits { bundle_bytes: 1 << 20 };
        let error = pull(&*store, &tag("a"), &path("b"), &limits).expect_err("refused");
        assert!(matches!(error, DeliverError::Oversized { .. }), "{error}");
        assert!(!path(".b.partial").exists());
    }
}

#[test]
fn download_goes_on_where_it_was_left_and_does_not_believe_what_lies_there() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    let store = layout(&path("store"));
    let bundle = seal(&path("a"), b"model");
    push(&*store, &bundle, "a", Form::ModelPack, &mut |_| {}).expect("pushed");
    let hex = Digest::of(b"model").hex();
    for (name, left) in
        [("b", &b"mo"[..]), ("c", b"XX"), ("d", b"longer than all"), ("e", b"MODEL")]
    {
        let blobs = path(&format!(".{name}.partial/blobs"));
        fs::create_dir_all(&blobs).expect("a folder");
        fs::write(blobs.join(format!("{hex}.partial")), left).expect("a file");
        fs::write(blobs.join(Digest::of(b"png").hex()), b"gif").expect("a file");
        pull(&*store, &tag("a"), &path(name), &Limits::default()).expect("pulled");
    }
}

#[test]
fn something_else_than_a_bundle_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = layout(&folder.path().join("store"));
    let image = "application/vnd.oci.image.manifest.v1+json";
    let empty = Digest::of(b"{}");
    let config = format!(r#"{{"mediaType":"application/x","digest":"{empty}","size":2}}"#);
    let cases = [
        (image, "{", "cannot be read"),
        (image, r#"{"schemaVersion":2,"layers":[]}"#, "cannot be read"),
        (image, &format!(r#"{{"schemaVersion":2,"config":{config},"layers":[]}}"#), "neither"),
        (
            image,
            &format!(
                r#"{{"schemaVersion":2,"artifactType":"application/y","config":{config},"layers":[]}}"#
            ),
            "artifact of type application/y",
        ),
        (
            "application/vnd.oci.image.index.v1+json",
            r#"{"schemaVersion":2,"manifests":[]}"#,
            "empty",
        ),
        ("application/vnd.docker.distribution.manifest.v2+json", "{}", "media type"),
    ];
    for (media_type, text, why) in cases {
        let bytes = text.as_bytes().to_vec();
        let manifest =
            StoredManifest { digest: Digest::of(&bytes), media_type: media_type.to_owned(), bytes };
        store.push_manifest("a", &manifest).expect("stored");
        let error = Package::resolve(&*store, &tag("a")).expect_err("refused");
        assert!(matches!(error, DeliverError::Package { .. }), "{error}");
        assert!(error.to_string().contains(why), "{why}: {error}");
    }
}
