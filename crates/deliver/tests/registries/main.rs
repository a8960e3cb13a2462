//! Against Debian's registry, on this machine.
mod started;

use deliver::bundle::{Bundle, DataRecord, FileRole, InputShape, Manifest, Provenance, Thresholds};
use deliver::package::{Form, Limits, Package, pull, push};
use deliver::store::{Access, Credentials, Location, Patience, Reference, Store};
use deliver::{Blob, DeliverError, Digest};
use started::{Setup, Started, Tls, Wire, absent};
use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Bytes of a model that is sent in several chunks.
const LARGE: usize = 20_000_000;

/// A bundle of one model that is none: bytes are enough here.
fn seal(path: &Path, seed: u32, bytes: usize) -> Bundle {
    fs::create_dir_all(path.join("models")).expect("a folder");
    let count = u32::try_from(bytes).expect("small");
    let model = (0..count).map(|n| ((n ^ seed).wrapping_mul(2_654_435_761) >> 24) as u8);
    fs::write(path.join("models/builtin.onnx"), model.collect::<Vec<_>>()).expect("a file");
    fs::write(path.join("report.html"), format!("<html>{seed}")).expect("a file");
    let manifest = Manifest {
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
    };
    let files = [("models/builtin.onnx", FileRole::Model), ("report.html", FileRole::Document)];
    let roles = files.map(|(name, role)| (name.to_owned(), role));
    Bundle::seal(path, manifest, roles).expect("sealed")
}

fn access() -> Access {
    let first_wait = Duration::from_millis(10);
    let patience = Patience { first_wait, longest_wait: first_wait * 20, ..Patience::default() };
    Access { patience, ..Access::default() }
}

fn open(address: SocketAddr, repository: &str, access: &Access) -> Box<dyn Store> {
    let location: Location = format!("{address}/{repository}").parse().expect("a place");
    location.open(access).expect("opened")
}

fn tag(name: &str) -> Reference {
    Reference::Tag(name.to_owned())
}

fn sent(store: &dyn Store, bundle: &Bundle, tag: &str, form: Form) -> Digest {
    push(store, bundle, tag, form, &mut |_| {}).unwrap_or_else(|e| panic!("{tag}: {e}"))
}

fn fetched(store: &dyn Store, reference: &Reference, into: PathBuf) -> Bundle {
    let pulled = pull(store, reference, &into, &Limits::default());
    pulled.unwrap_or_else(|e| panic!("{reference}: {e}"))
}

#[test]
fn bundle_goes_through_a_registry_in_both_forms_and_has_the_digest_of_a_folder() {
    if absent("bundles in a registry") {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    let registry = Started::new(folder.path(), &Setup::default());
    let store = open(registry.address, "factory/boards", &access());
    let layout = Location::folder(&path("layout")).open(&access()).expect("opened");
    let bundle = seal(&path("a"), 1, LARGE);
    assert_eq!(store.tags().expect("tags"), Vec::<String>::new());
    assert_eq!(store.digest_of_tag("champion").expect("asked"), None);
    for (name, form) in [("champion", Form::ModelPack), ("image", Form::Image)] {
        let digest = sent(&*store, &bundle, name, form);
        assert_eq!(digest, sent(&*layout, &bundle, name, form));
        assert_eq!(store.digest_of_tag(name).expect("asked"), Some(digest));
        let pulled = fetched(&*store, &tag(name), path(name));
        assert_eq!(pulled.digest, bundle.digest);
        fetched(&*store, &Reference::Digest(digest), path(&format!("{name}-by-digest")));
    }
    assert_eq!(store.tags().expect("tags"), ["champion", "image"]);
    let error = Package::resolve(&*store, &tag("none")).expect_err("refused");
    assert!(matches!(error, DeliverError::Missing { .. }), "{error}");
}

#[test]
fn connection_that_breaks_in_either_direction_is_taken_up_again() {
    if absent("broken connections to a registry") {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    let registry = Started::new(folder.path(), &Setup::default());
    let wire = Wire::to(registry.address);
    let store = open(wire.address, "factory/boards", &access());
    let bundle = seal(&path("a"), 1, LARGE);
    wire.cut_after(12_000_000);
    sent(&*store, &bundle, "a", Form::ModelPack);
    assert!(wire.was_cut());
    // This registry goes on with no upload that broke inside a chunk: it is begun anew, once.
    assert!(wire.sent() < LARGE as u64 + 13_000_000, "{}", wire.sent());
    wire.cut_after(5_000_000);
    fetched(&*store, &tag("a"), path("b"));
    assert!(wire.was_cut());
}

#[test]
fn blobs_of_another_repository_are_mounted() {
    if absent("mounted blobs") {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let registry = Started::new(folder.path(), &Setup::default());
    let wire = Wire::to(registry.address);
    let bundle = seal(&folder.path().join("a"), 1, LARGE);
    sent(&*open(wire.address, "factory/boards", &access()), &bundle, "a", Form::ModelPack);
    let before = wire.sent();
    let mounting = Access { mount_from: Some("factory/boards".to_owned()), ..access() };
    let other = open(wire.address, "factory/line-3", &mounting);
    sent(&*other, &bundle, "a", Form::ModelPack);
    assert!(wire.sent() - before < 100_000, "{}", wire.sent() - before);
    fetched(&*other, &tag("a"), folder.path().join("b"));
    // From a repository that has them not they are sent.
    let mounting = Access { mount_from: Some("factory/none".to_owned()), ..access() };
    let third = open(wire.address, "factory/line-4", &mounting);
    sent(&*third, &bundle, "a", Form::ModelPack);
    fetched(&*third, &tag("a"), folder.path().join("c"));
}

#[test]
fn registry_with_passwords_lets_in_who_knows_one() {
    if absent("a registry with passwords") {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let password = bcrypt::hash("secret", 4).expect("a hash");
    let passwords = Some(format!("me:{password}\n"));
    let registry = Started::new(folder.path(), &Setup { passwords, tls: None });
    let bundle = seal(&folder.path().join("a"), 1, 1000);
    let store = |password: &str| {
        let user = Credentials { user: "me".to_owned(), password: password.to_owned() };
        open(registry.address, "boards", &Access { user: Some(user), ..access() })
    };
    let error = push(&*store("guess"), &bundle, "a", Form::ModelPack, &mut |_| {});
    let error = error.expect_err("refused");
    assert!(matches!(error, DeliverError::Denied { status: 401, .. }), "{error}");
    sent(&*store("secret"), &bundle, "a", Form::ModelPack);
    fetched(&*store("secret"), &tag("a"), folder.path().join("b"));
}

/// A certificate of an authority of its own, for this machine.
fn certificates(folder: &Path) -> Tls {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
    let mut authority = CertificateParams::new(Vec::new()).expect("parameters");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority_key = KeyPair::generate().expect("a key");
    let root = authority.self_signed(&authority_key).expect("a certificate");
    let issuer = Issuer::new(authority, authority_key);
    let key = KeyPair::generate().expect("a key");
    let own = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("parameters");
    let own = own.signed_by(&key, &issuer).expect("a certificate");
    let path = |name: &str| folder.join(name);
    fs::write(path("ca.pem"), root.pem()).expect("a file");
    fs::write(path("own.pem"), own.pem()).expect("a file");
    fs::write(path("own.key"), key.serialize_pem()).expect("a file");
    Tls { certificate: path("own.pem"), key: path("own.key") }
}

#[test]
fn registry_with_a_certificate_is_trusted_by_its_authority_alone() {
    if absent("a registry with TLS") {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let other = tempfile::tempdir().expect("a folder");
    let tls = Some(certificates(folder.path()));
    certificates(other.path());
    let registry = Started::new(folder.path(), &Setup { tls, passwords: None });
    let bundle = seal(&folder.path().join("a"), 1, 1000);
    let store =
        |ca: PathBuf| open(registry.address, "boards", &Access { ca_file: Some(ca), ..access() });
    let trusting = store(folder.path().join("ca.pem"));
    sent(&*trusting, &bundle, "a", Form::ModelPack);
    fetched(&*trusting, &tag("a"), folder.path().join("b"));
    let error = store(other.path().join("ca.pem")).manifest_of_tag("a").expect_err("refused");
    assert!(matches!(error, DeliverError::Unreachable { .. }), "{error}");
    // Without TLS the server itself refuses.
    let plain = open(registry.address, "boards", &access());
    let error = plain.manifest_of_tag("a").expect_err("refused");
    assert!(matches!(error, DeliverError::Answer { status: 400, .. }), "{error}");
}

/// As `openssl req -x509` makes it: one that is its own authority.
#[test]
fn registry_with_an_authority_as_its_certificate_is_refused_with_what_to_do() {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
    if absent("a registry with the certificate of an authority") {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("parameters");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("a key");
    let own = params.self_signed(&key).expect("a certificate");
    fs::write(path("own.pem"), own.pem()).expect("a file");
    fs::write(path("own.key"), key.serialize_pem()).expect("a file");
    let tls = Some(Tls { certificate: path("own.pem"), key: path("own.key") });
    let registry = Started::new(folder.path(), &Setup { tls, passwords: None });
    let trusting = Access { ca_file: Some(path("own.pem")), ..access() };
    let store = open(registry.address, "boards", &trusting);
    let error = store.manifest_of_tag("a").expect_err("refused").to_string();
    assert!(error.contains("CA:FALSE"), "{error}");
}

#[test]
fn bundle_that_was_deleted_is_gone_and_can_be_sent_again() {
    if absent("deleted bundles") {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let registry = Started::new(folder.path(), &Setup::default());
    let store = open(registry.address, "boards", &access());
    let bundle = seal(&folder.path().join("a"), 1, 1000);
    let digest = sent(&*store, &bundle, "a", Form::ModelPack);
    let url = format!("http://{}/v2/boards/manifests/{digest}", registry.address);
    ureq::delete(&url).call().expect("deleted");
    assert!(store.manifest_of_tag("a").expect("asked").is_none());
    assert!(store.manifest(&digest).expect("asked").is_none());
    let blob = Blob::of(b"never stored");
    let error = store.read_blob(&blob, 0, &mut Vec::new()).expect_err("refused");
    assert!(matches!(error, DeliverError::Missing { .. }), "{error}");
    assert_eq!(sent(&*store, &bundle, "a", Form::ModelPack), digest);
    fetched(&*store, &tag("a"), folder.path().join("b"));
}

#[test]
fn several_that_push_at_a_time_do_not_disturb_each_other() {
    if absent("several that push at a time") {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let registry = Started::new(folder.path(), &Setup::default());
    let path = |name: &str| folder.path().join(name);
    let digests = std::thread::scope(|scope| {
        let pushing = (0..4).map(|seed| {
            let (registry, path) = (&registry, &path);
            scope.spawn(move || {
                let store = open(registry.address, "boards", &access());
                let bundle = seal(&path(&format!("a{seed}")), seed, 100_000);
                sent(&*store, &bundle, &format!("t{seed}"), Form::ModelPack);
                (sent(&*store, &bundle, "all", Form::ModelPack), bundle.digest)
            })
        });
        let pushing: Vec<_> = pushing.collect();
        pushing.into_iter().map(|thread| thread.join().expect("pushed")).collect::<Vec<_>>()
    });
    let store = open(registry.address, "boards", &access());
    for (seed, (_, bundle)) in digests.iter().enumerate() {
        let pulled = fetched(&*store, &tag(&format!("t{seed}")), path(&format!("b{seed}")));
        assert_eq!(pulled.digest, *bundle);
    }
    let all = store.digest_of_tag("all").expect("asked").expect("there");
    assert!(digests.iter().any(|(digest, _)| *digest == all));
}
