//! The templates of `deploy`: they are what they are said to be, and call the commands that there are.
use deliver::agent::AgentSettings;
use deliver::pipeline::Settings;
use deliver::{KeyFiles, Passphrase, keygen};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/pipeline").join(name)
}

fn yaml(name: &str) -> Value {
    let text = fs::read_to_string(file(name)).expect("the template exists");
    serde_saphyr::from_str(&text).unwrap_or_else(|e| panic!("{name}: {e}"))
}

#[test]
fn example_settings_are_read_by_the_program() {
    let settings = Settings::read(&file("pipeline.toml")).expect("the example is valid");
    assert_eq!(settings.name, "boards");
    assert_eq!(settings.recipe.targets, ["onnxruntime"]);
    assert_eq!(settings.gate.metrics.len(), 4);
}

#[test]
fn example_settings_of_a_device_are_read_by_the_program() {
    let folder = tempfile::tempdir().expect("a folder");
    let keys = KeyFiles {
        public: folder.path().join("release.pub"),
        secret: folder.path().join("release.key"),
    };
    keygen(&keys, &Passphrase::None).expect("keys");
    let text = fs::read_to_string(file("../agent.toml")).expect("the template exists");
    // The key and the secrets are those of a device; here they are ours.
    let text = text.replace("/etc/yoloslim/release.pub", "release.pub");
    let text =
        text.replace("${YOLOSLIM_TOKEN}", "a token").replace("${REGISTRY_PASSWORD}", "a word");
    let path = folder.path().join("agent.toml");
    fs::write(&path, text).expect("a file");
    let settings = AgentSettings::read(&path, Path::new("yoloslim")).expect("the example is valid");
    assert_eq!([&*settings.device, &*settings.alias], ["line3-cam2", "champion"]);
    assert!(settings.serve.is_some());
}

#[test]
fn templates_call_the_pipeline_with_settings_results_and_one_at_a_time() {
    let github = yaml("github.yml");
    let step = &github["jobs"]["pipeline"]["steps"][0];
    let gitlab = yaml("gitlab.yml");
    let argo = yaml("argo.yaml");
    let spec = &argo["spec"]["workflowSpec"];
    let container = &spec["templates"][0]["container"];
    let argo_line: Vec<&str> = container["command"]
        .as_array()
        .into_iter()
        .chain(container["args"].as_array())
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    for line in [
        step["run"].as_str().expect("a command"),
        gitlab["pipeline"]["script"][0].as_str().expect("a command"),
        &argo_line.join(" "),
    ] {
        assert!(line.starts_with("yoloslim pipeline run /"), "{line}");
        assert!(line.contains("--junit ") && line.contains("--json "), "{line}");
    }
    assert_eq!(github["concurrency"]["cancel-in-progress"], false);
    assert_eq!(gitlab["pipeline"]["artifacts"]["reports"]["junit"], "pipeline.xml");
    assert_eq!(argo["kind"], "CronWorkflow");
    assert_eq!(argo["spec"]["concurrencyPolicy"], "Forbid");
    // Each volume that is mounted is one that there is.
    let names = |list: &Value| -> Vec<String> {
        let items = list.as_array().expect("a list").iter();
        items.map(|item| item["name"].as_str().expect("a name").to_owned()).collect()
    };
    assert_eq!(names(&container["volumeMounts"]), names(&spec["volumes"]));
    assert_eq!(spec["entrypoint"], spec["templates"][0]["name"]);
}
