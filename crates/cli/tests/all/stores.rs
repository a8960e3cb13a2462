//! `push` and `pull` as they are typed, into a layout folder and into a registry where there is one.
use crate::support::bundle::manifest;
use crate::support::schema::breaches;
use crate::support::{Tiny, accepts, json, refuses, stderr};
use deliver::bundle::{Bundle, FileRole};
use deliver::{Digest, KeyFiles, Passphrase, SigningKey, keygen};
use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A signed bundle of one model that is none, beside the key that verifies it and one that does not.
fn signed_bundle(folder: &Path) -> Bundle {
    let path = folder.join("bundle");
    fs::create_dir_all(path.join("models")).unwrap();
    fs::write(path.join("models/builtin.onnx"), [7; 100_000]).unwrap();
    let role = ("models/builtin.onnx".to_owned(), FileRole::Model);
    let bundle = Bundle::seal(&path, manifest(), [role]).unwrap();
    for name in ["ours", "theirs"] {
        let public = folder.join(format!("{name}.pub"));
        let files = KeyFiles { public, secret: folder.join(format!("{name}.key")) };
        keygen(&files, &Passphrase::None).unwrap();
    }
    let key = SigningKey::read(&folder.join("ours.key"), &Passphrase::None).unwrap();
    bundle.sign(&key, 7).unwrap();
    bundle
}

#[test]
fn bundle_that_is_pushed_to_a_folder_is_pulled_with_the_key_that_signed_it() {
    let tiny = Tiny::new(0, 0);
    let folder = tiny.path("");
    let arg = |name: &str| tiny.arg(name);
    let bundle = signed_bundle(&folder);
    let (path, out) = (arg("bundle"), arg("record.json"));
    for form in ["modelpack", "image"] {
        let location = format!("oci:{}:{form}", arg("store"));
        accepts(&["push", &path, &location, "--as", form, "--json", &out]);
        let record = json(&out);
        assert_eq!(breaches(&record, "push.json"), Vec::<String>::new());
        assert_eq!(record["bundle_digest"], bundle.digest.to_string());
        let (theirs, into) = (arg("theirs.pub"), arg(&format!("by-{form}")));
        let pull = ["pull", &location, "-o", &into, "--keys"];
        refuses(&[&pull[..], &[&theirs]].concat(), &["which is none of the trusted ones"]);
        assert!(!Path::new(&into).exists());
        let ours = arg("ours.pub");
        accepts(&[&pull[..], &[&ours, "--json", &out]].concat());
        let record = json(&out);
        assert_eq!(breaches(&record, "pull.json"), Vec::<String>::new());
        assert_eq!(record["signed"]["version"], 7);
        assert_eq!(Bundle::open(Path::new(&into)).unwrap().digest, bundle.digest);
        let unverified = arg(&format!("unverified-{form}"));
        let said = stderr(&accepts(&["pull", &location, "-o", &unverified, "--json", &out]));
        assert!(said.contains("nobody's signature was verified"), "{said}");
        assert_eq!(json(&out)["signed"], serde_json::Value::Null);
    }
    let none = format!("oci:{}:none", arg("store"));
    refuses(&["pull", &none, "-o", &arg("x")], &["has no tag none"]);
    let digest = Digest::of(b"");
    let named = format!("oci:{}:a@{digest}", arg("store"));
    refuses(&["push", &path, &named], &["what is pushed gets a tag"]);
    refuses(&["push", &path, "boards:latest"], &["is no place for bundles", "no repository"]);
}

/// Ends with the test.
struct Registry {
    child: Child,
    host: String,
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Debian's registry, which lets in `me` with `secret`; none where the program is absent.
fn registry(folder: &Path) -> Option<Registry> {
    if Command::new("docker-registry").arg("--version").output().is_err() {
        println!("skipped: push to a registry (no docker-registry)");
        return None;
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap().to_string();
    drop(listener);
    // bcrypt of "secret", as htpasswd writes it.
    let password = "$2b$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a";
    fs::write(folder.join("htpasswd"), format!("me:{password}\n")).unwrap();
    let folder = folder.display();
    let config = format!(
        "version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {folder}/storage\nhttp:\n  addr: {host}\nauth:\n  htpasswd:\n    realm: boards\n    path: {folder}/htpasswd\n"
    );
    let path = format!("{folder}/config.yml");
    fs::write(&path, config).unwrap();
    let child = Command::new("docker-registry")
        .args(["serve", &path])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    Some(Registry { child, host })
}

/// The program, with the environment of somebody whom docker knows by this configuration.
fn run(docker: &Path, args: &[&str]) -> std::process::Output {
    Command::new(env!("CARGO_BIN_EXE_yoloslim"))
        .args(args)
        .env("DOCKER_CONFIG", docker)
        .env_remove("YOLOSLIM_REGISTRY_USER")
        .env_remove("YOLOSLIM_REGISTRY_PASSWORD")
        .output()
        .unwrap()
}

#[test]
fn registry_lets_in_whom_docker_or_the_environment_knows() {
    let tiny = Tiny::new(0, 0);
    let folder = tiny.path("");
    let arg = |name: &str| tiny.arg(name);
    let Some(registry) = registry(&folder) else { return };
    signed_bundle(&folder);
    let (path, location) = (arg("bundle"), format!("{}/boards:champion", registry.host));
    let docker = folder.join("docker");
    fs::create_dir(&docker).unwrap();
    // Until it listens the client tries again.
    let output = run(&docker, &["push", &path, &location]);
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("nobody is known for"), "{error}");
    assert_eq!(output.status.code(), Some(2));
    // "me:secret" in Base64.
    let auths = format!(r#"{{"auths":{{"{}":{{"auth":"bWU6c2VjcmV0"}}}}}}"#, registry.host);
    fs::write(docker.join("config.json"), auths).unwrap();
    let output = run(&docker, &["push", &path, &location]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let (into, keys) = (arg("pulled"), arg("ours.pub"));
    let output = Command::new(env!("CARGO_BIN_EXE_yoloslim"))
        .args(["pull", &location, "-o", &into, "--keys", &keys])
        .envs([("YOLOSLIM_REGISTRY_USER", "me"), ("YOLOSLIM_REGISTRY_PASSWORD", "secret")])
        .env("DOCKER_CONFIG", folder.join("none"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("as version 7"), "{said}");
}
