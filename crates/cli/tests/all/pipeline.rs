//! `pipeline`: from a commit to a bundle under an alias, and what keeps it from there.
#![cfg(unix)]

use crate::support::schema::breaches;
use crate::support::{Tiny, json, stderr};
use deliver::bundle::Bundle;
use deliver::package::{Limits, Package, pull};
use deliver::store::{Access, Location};
use deliver::{KeyFiles, Passphrase, PublicKeys, keygen};
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

/// A git repository with the tiny detector, its data beside, a key, and settings of a pipeline that pushes into a layout folder.
struct Line {
    tiny: Tiny,
}

impl Line {
    /// None where there is no git.
    fn new() -> Option<Self> {
        if Command::new("git").arg("--version").output().is_err() {
            println!("skipped: the pipeline (no git)");
            return None;
        }
        let line = Self { tiny: Tiny::new(72, 60) };
        let files = KeyFiles {
            public: line.tiny.path("release.pub"),
            secret: line.tiny.path("release.key"),
        };
        keygen(&files, &Passphrase::Given("secret".to_owned())).expect("keys");
        line.git(&["init", "--quiet", "--initial-branch=main", "."]);
        fs::copy(line.tiny.path("tiny.onnx"), line.tiny.path("repository/best.onnx")).unwrap();
        line.commit("the first model");
        line.settings("");
        Some(line)
    }

    fn settings(&self, more: &str) {
        let text = format!(
            r#"
name = "squares"
threads = 2
[source]
repository = "repository"
ref = "main"
path = "best.onnx"
poll_s = 0.1
[data]
path = "data.yaml"
[recipe]
options = ["--keep", "0.5", "-n", "24", "--holdout", "24", "--macs", "0"]
[sign]
key = "release.key"
passphrase_env = "SQUARES_PASSPHRASE"
[push]
to = "oci:store"
{more}
"#
        );
        self.tiny.put("pipeline.toml", text.as_bytes());
    }

    fn git(&self, args: &[&str]) -> String {
        let folder = self.tiny.path("repository");
        fs::create_dir_all(&folder).unwrap();
        let identity = ["-c", "user.name=Test", "-c", "user.email=test@example.org"];
        let out = Command::new("git").args(identity).args(args).current_dir(folder).output();
        let out = out.expect("git runs");
        assert!(out.status.success(), "{args:?}: {}", stderr(&out));
        String::from_utf8(out.stdout).unwrap().trim().to_owned()
    }

    fn commit(&self, message: &str) -> String {
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--message", message]);
        self.git(&["rev-parse", "HEAD"])
    }

    /// Another model: the metadata of an ONNX file may say anything.
    fn change_model(&self) {
        let mut graph = testkit::tiny::detector();
        graph.metadata.insert("comment".into(), "retrained".into());
        let bytes = onnx::encode(&graph).expect("a file's form");
        self.tiny.put("repository/best.onnx", &bytes);
    }

    fn command(&self, verb: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_yoloslim"));
        command.args(["pipeline", verb]).arg(self.tiny.path("pipeline.toml"));
        command.arg("--json").arg(self.tiny.path("result.json"));
        command.env("SQUARES_PASSPHRASE", "secret").env_remove("GITHUB_ACTIONS");
        command.env_remove("GITHUB_STEP_SUMMARY");
        command
    }

    /// Runs once, checks the exit code and gives the result.
    fn run(&self, code: i32) -> Value {
        let out = self.command("run").output().expect("the binary runs");
        self.result(&out, code)
    }

    fn result(&self, out: &Output, code: i32) -> Value {
        let printed = String::from_utf8_lossy(&out.stdout);
        assert_eq!(out.status.code(), Some(code), "{}\n{printed}", stderr(out));
        let result = json(self.tiny.path("result.json"));
        let breaches = breaches(&result, "pipeline.json");
        assert!(breaches.is_empty(), "{}", breaches.join("\n"));
        result
    }

    /// What the alias names, proved with the public key.
    fn pushed(&self) -> Option<(Bundle, u64)> {
        let location = format!("oci:{}:candidate", self.tiny.arg("store"));
        let location: Location = location.parse().expect("a location");
        let store = location.open(&Access::default()).expect("a store");
        Package::resolve(store.as_ref(), &location.reference()).ok()?;
        let folder = tempfile::tempdir().unwrap();
        let into = folder.path().join("bundle");
        let bundle = pull(store.as_ref(), &location.reference(), &into, &Limits::default());
        let bundle = bundle.expect("whole");
        let keys = PublicKeys::read(&self.tiny.path("release.pub")).expect("a key");
        let signed = bundle.verify(&keys).expect("signed by the key");
        Some((bundle, signed.version))
    }
}

/// Names of stages that came out like this.
fn stages(result: &Value, state: &str) -> Vec<String> {
    let all = result["stages"].as_array().expect("stages").iter();
    let of_state = all.filter(|stage| stage["state"] == state);
    of_state.map(|stage| stage["stage"].as_str().expect("a name").to_owned()).collect()
}

#[test]
fn pipeline_pushes_a_commit_does_nothing_twice_and_pushes_the_next() {
    let Some(line) = Line::new() else { return };
    let first = line.run(0);
    assert_eq!(first["verdict"], "pushed");
    let all = ["source", "model", "compress", "bundle", "gate", "push"];
    assert_eq!(stages(&first, "done"), all);
    let (bundle, version) = line.pushed().expect("a bundle");
    assert_eq!(first["digest"], bundle.digest.to_string());
    assert_eq!(first["version"], version);
    assert_eq!(bundle.manifest.name, "squares");
    assert_eq!(bundle.manifest.provenance.commit.as_deref(), first["commit"].as_str());

    // Nothing new: nothing is computed, signed or pushed.
    let out = line.command("run").output().expect("the binary runs");
    let again = line.result(&out, 0);
    assert_eq!(again["verdict"], "unchanged");
    assert_eq!(stages(&again, "done"), ["gate"]);
    for word in ["measuring", "quantize:", "prune:", "push:", "images by layer"] {
        assert!(!stderr(&out).contains(word), "{word}: {}", stderr(&out));
    }
    assert_eq!(line.pushed().expect("a bundle").1, version);
    // Nor where the record of it is lost, as on another machine: the signature says it.
    fs::remove_dir_all(line.tiny.path("work")).unwrap();
    let elsewhere = line.run(0);
    assert_eq!(elsewhere["verdict"], "unchanged");
    assert_eq!(elsewhere["version"], version);

    // A commit that changes nothing of the model makes no version.
    line.tiny.put("repository/README.md", b"about");
    line.commit("about");
    let same = line.run(0);
    assert_eq!(same["verdict"], "unchanged");
    assert_eq!(stages(&same, "done"), ["source", "gate"]);

    line.change_model();
    let commit = line.commit("another model");
    let next = line.run(0);
    assert_eq!(next["verdict"], "pushed");
    let (other, higher) = line.pushed().expect("a bundle");
    assert_ne!(other.digest, bundle.digest);
    assert!(higher > version, "{higher} {version}");
    assert_eq!(other.manifest.provenance.commit, Some(commit));

    // Taken back: what was made of the first model is there still, and is signed as the newest.
    line.git(&["revert", "--no-edit", "HEAD"]);
    let back = line.run(0);
    assert_eq!(back["verdict"], "pushed");
    assert_eq!(stages(&back, "done"), ["source", "gate", "push"]);
    let (reverted, highest) = line.pushed().expect("a bundle");
    assert_eq!(reverted.digest, bundle.digest);
    assert!(highest > higher);

    // A file of the bundle that was changed behind its back is made anew.
    let report = Path::new(back["bundle"].as_str().unwrap()).join("report.html");
    fs::write(report, "changed").unwrap();
    let mended = line.run(0);
    assert_eq!(mended["verdict"], "unchanged");
    assert_eq!(stages(&mended, "done"), ["bundle", "gate"]);
    assert_eq!(mended["digest"], bundle.digest.to_string());
}

#[test]
fn pipeline_gate_that_fails_pushes_nothing_and_says_what_was_lost() {
    let Some(line) = Line::new() else { return };
    line.settings(
        "[gate.metrics.macs]\nmost = 10\n[gate.metrics.recall]\nsamples = 100000\nleast = 0.1\n",
    );
    let summary = line.tiny.path("summary.md");
    let junit = line.tiny.path("pipeline.xml");
    let mut command = line.command("run");
    command.arg("--junit").arg(&junit).env("GITHUB_ACTIONS", "true");
    command.env("GITHUB_STEP_SUMMARY", &summary);
    let out = command.output().expect("the binary runs");
    let result = line.result(&out, 1);
    assert_eq!(result["verdict"], "gate_failed");
    assert!(line.pushed().is_none());
    let printed = String::from_utf8_lossy(&out.stdout);
    assert!(printed.contains("::error title=yoloslim pipeline::macs: "), "{printed}");
    assert!(Path::new(result["report"].as_str().unwrap()).is_file());
    let told = fs::read_to_string(&summary).unwrap();
    assert!(told.contains("The gate failed: nothing was pushed"), "{told}");
    assert!(told.contains("| macs | at most 10 |"), "{told}");
    let xml = fs::read_to_string(&junit).unwrap();
    assert!(xml.contains("<failure message=\"measured on "), "{xml}");

    // The run's own gate.
    let kept = line.tiny.arg("pipeline.toml");
    let text = fs::read_to_string(&kept).unwrap().replace("\"0.5\"", "\"1.0\", \"--strict\"");
    fs::write(&kept, text).unwrap();
    let result = line.run(1);
    assert_eq!(result["verdict"], "gate_failed");
    assert!(result["failures"][0].as_str().unwrap().starts_with("compress: "), "{result}");
    assert!(!result["lost"].as_array().unwrap().is_empty(), "{result}");
    assert!(Path::new(result["report"].as_str().unwrap()).is_file());
    assert!(line.pushed().is_none());
}

#[test]
fn pipeline_with_further_targets_gates_them_and_quantizes_once() {
    let Some(line) = Line::new() else { return };
    line.settings("[gate.metrics.map_50_95]\nkeep = 0.5\n");
    let file = line.tiny.path("pipeline.toml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("[sign]", "targets = [\"onnxruntime\"]\n[sign]")).unwrap();
    let result = line.run(0);
    assert!(stages(&result, "done").contains(&"quantize onnxruntime".to_owned()));
    let judged: Vec<_> = result["gate"].as_array().unwrap().iter().map(|f| &f["metric"]).collect();
    assert_eq!(judged, ["map_50_95", "target.onnxruntime.map_50_95"]);
    let (bundle, _) = line.pushed().expect("a bundle");
    assert!(bundle.model("onnxruntime").is_some());
    assert_eq!(stages(&line.run(0), "done"), ["gate"]);
}

#[test]
fn pipeline_of_what_cannot_be_fetched_says_which_and_pushes_nothing() {
    let Some(line) = Line::new() else { return };
    let refused = |words: &[&str]| {
        let error = line.run(2)["error"].as_str().expect("an error").to_owned();
        for word in words {
            assert!(error.contains(word), "no `{word}` in {error}");
        }
        assert!(line.pushed().is_none());
    };
    // A pointer whose file nobody has.
    let pointer = "version https://git-lfs.github.com/spec/v1\n\
        oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n";
    line.tiny.put("repository/best.onnx", pointer.as_bytes());
    line.commit("a pointer");
    let error = line.run(2)["error"].as_str().expect("an error").to_owned();
    let is_refused = error.contains("Git LFS pointer") || error.contains("git lfs");
    assert!(is_refused, "{error}");
    // And where git-lfs is not installed.
    let programs = Command::new("sh").args(["-c", "command -v git"]).output().unwrap();
    let git = String::from_utf8(programs.stdout).unwrap();
    fs::create_dir(line.tiny.path("programs")).unwrap();
    std::os::unix::fs::symlink(git.trim(), line.tiny.path("programs/git")).unwrap();
    let out = line.command("run").env("PATH", line.tiny.path("programs")).output().unwrap();
    let error = line.result(&out, 2)["error"].as_str().expect("an error").to_owned();
    assert!(error.contains("best.onnx is a Git LFS pointer"), "{error}");
    assert!(error.contains("not installed"), "{error}");
    // A link out of the repository is a file with the target's name.
    let model = line.tiny.path("repository/best.onnx");
    fs::remove_file(&model).unwrap();
    std::os::unix::fs::symlink(line.tiny.path("tiny.onnx"), &model).unwrap();
    line.commit("a link");
    refused(&["compress failed"]);
    fs::remove_file(&model).unwrap();
    line.tiny.put("repository/other.txt", b"");
    line.commit("no model");
    refused(&["best.onnx"]);
    line.git(&["branch", "--move", "elsewhere"]);
    refused(&["no `main`"]);
}

#[test]
fn pipeline_fetches_large_files_where_git_lfs_is_there() {
    let Some(line) = Line::new() else { return };
    let has_lfs = Command::new("git").args(["lfs", "version"]).output();
    if !has_lfs.is_ok_and(|out| out.status.success()) {
        println!("skipped: large files (no git-lfs)");
        return;
    }
    line.git(&["lfs", "install", "--local"]);
    line.git(&["lfs", "track", "*.onnx"]);
    line.change_model();
    line.git(&["add", "--renormalize", "."]);
    line.commit("a large file");
    let stored = line.git(&["cat-file", "-p", "HEAD:best.onnx"]);
    assert!(stored.starts_with("version https://git-lfs"), "{stored}");
    let result = line.run(0);
    assert_eq!(result["verdict"], "pushed");
    assert_eq!(line.run(0)["verdict"], "unchanged");
}

/// Waits for a line that a child says.
fn until(child: &mut Child, word: &str) -> Option<String> {
    let mut said = BufReader::new(child.stderr.as_mut().unwrap()).lines().map_while(Result::ok);
    said.find(|line| line.contains(word))
}

#[test]
fn pipeline_killed_on_the_way_goes_on() {
    let Some(line) = Line::new() else { return };
    for word in ["measuring accuracy", "quantize:", "latency:", "images by layer", "push:"] {
        let mut child = line.command("run").stderr(Stdio::piped()).spawn().unwrap();
        let said = until(&mut child, word);
        child.kill().unwrap();
        assert_eq!(child.wait().unwrap().code(), None, "killed: {word}");
        assert!(said.is_some(), "{word}");
    }
    // What the killed process had started ends by itself; its folder is free then.
    let result = line.run(0);
    let (bundle, version) = line.pushed().expect("a bundle");
    assert_eq!(result["digest"], bundle.digest.to_string());
    assert_eq!(result["version"], version);
    assert_eq!(stages(&line.run(0), "done"), ["gate"]);
}

#[test]
fn watch_runs_on_new_commits_outlives_failures_and_ends_when_it_is_told() {
    let Some(line) = Line::new() else { return };
    let mut command = line.command("watch");
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut said = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let mut next = |what: &str| said.by_ref().find(|line| line.starts_with(what)).expect("told");
    assert!(next("push: ").starts_with("push: done"));
    // Only one works in the folder.
    let busy = line.command("run").output().unwrap();
    assert_eq!(busy.status.code(), Some(2), "{}", stderr(&busy));
    assert!(stderr(&busy).contains("another pipeline"), "{}", stderr(&busy));
    line.tiny.put("repository/best.onnx", b"no model");
    line.commit("broken");
    assert!(next("compress: ").starts_with("compress: failed"));
    line.change_model();
    let commit = line.commit("mended");
    assert!(next("push: ").starts_with("push: done"));
    let interrupt = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(interrupt.unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(3));
    let (bundle, _) = line.pushed().expect("a bundle");
    assert_eq!(bundle.manifest.provenance.commit, Some(commit));
    // It does not run again for a commit that it is done with.
    assert_eq!(said.filter(|line| line.starts_with("source: ")).count(), 0);
}
