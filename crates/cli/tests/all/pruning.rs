//! `prune` and `inspect --sensitivity` as they are typed, on a tiny detector.
use crate::support::{Tiny, accepts, assets, json, refuses, text};
use ir::Tensor;

fn weight(path: &std::path::Path, name: &str) -> Tensor {
    let graph = onnx::load(path, &onnx::LoadOptions::default()).unwrap();
    let (_, value) = graph.values().find(|(_, v)| v.name == name).unwrap();
    value.constant.clone().unwrap()
}

#[test]
fn prune_tells_what_went_where_and_why() {
    let tiny = Tiny::new(12, 0);
    let (model, data) = (tiny.arg("tiny.onnx"), tiny.arg("data.yaml"));
    let (out, told) = (tiny.arg("pruned.onnx"), tiny.arg("prune.json"));
    let shown = accepts(&[
        "prune",
        &model,
        "--data",
        &data,
        "-o",
        &out,
        "--macs",
        "0.2",
        "--round-to",
        "4",
        "--floor",
        "4",
        "--shallow-ratio",
        "0.5",
        "--json",
        &told,
    ]);
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    let found = json(&told);
    assert_eq!(found["repair"], serde_json::json!(["reconstruct"]));
    let groups = found["plan"]["groups"].as_array().unwrap();
    assert!(!groups.is_empty());
    for g in groups {
        let (before, removed) = (g["channels"].as_u64().unwrap(), g["removed"].as_u64().unwrap());
        assert!(removed > 0 && (before - removed) % 4 == 0, "{g}");
        assert!((0.0..1.0).contains(&g["contribution_kept"].as_f64().unwrap()), "{g}");
        assert!(g["output_error_alone"].as_f64().unwrap() > 0.0, "{g}");
        let writer = &g["layers"][0];
        assert_eq!(writer["layer"], g["group"]);
        assert_eq!(writer["outputs"], serde_json::json!([before, before - removed]));
        assert!(shown.contains(&format!("{before} → {}", before - removed)), "{shown}");
    }
    let candidates = found["plan"]["candidates"].as_array().unwrap();
    let chosen: Vec<_> = candidates.iter().filter(|c| c["chosen"] == true).collect();
    assert_eq!(chosen.len(), 1);
    let error = |c: &serde_json::Value| c["output_error"].as_f64().unwrap();
    assert!(candidates.iter().all(|c| error(c) >= error(chosen[0])));
    assert_eq!(chosen[0]["macs"], found["macs"]);
    assert!(shown.contains("chosen") && shown.contains("frozen"), "{shown}");
}

#[test]
fn prune_by_contribution_needs_no_share_and_keeps_it() {
    let tiny = Tiny::new(12, 0);
    let (model, data) = (tiny.arg("tiny.onnx"), tiny.arg("data.yaml"));
    let (out, told) = (tiny.arg("pruned.onnx"), tiny.arg("prune.json"));
    let prune = ["prune", &model, "--data", &data, "-o", &out];
    let with = |more: &[&str]| accepts(&[&prune[..], more, &["--json", &told]].concat());
    with(&["--keep-contribution", "0.9", "--round-to", "1", "--floor", "1", "--criterion", "l1"]);
    let found = json(&told);
    let groups = found["plan"]["groups"].as_array().unwrap();
    assert!(!groups.is_empty());
    for g in groups {
        assert!(g["contribution_kept"].as_f64().unwrap() >= 0.9 - 1e-9, "{g}");
        assert!(g["output_error_alone"].is_null());
    }
    let two = [&prune[..], &["--keep-contribution", "0.9", "--macs", "0.1"]].concat();
    refuses(&two, &["cannot be used with"]);
    refuses(&prune, &["--keep-contribution"]);
}

#[test]
fn prune_repairs_as_it_is_told() {
    let tiny = Tiny::new(12, 0);
    let (model, data) = (tiny.arg("tiny.onnx"), tiny.arg("data.yaml"));
    let prune = |out: &str, more: &[&str]| {
        let out = tiny.arg(out);
        let fixed =
            ["prune", &model, "--data", &data, "-o", &out, "--ratio", "0.3", "--round-to", "1"];
        accepts(&[&fixed[..], more].concat());
        std::fs::read(out).unwrap()
    };
    let none = prune("none.onnx", &["--repair", "none"]);
    assert!(none == prune("no.onnx", &["--no-repair"]));
    let all = ["absorb", "match", "reconstruct", "absorb,match"];
    let all: Vec<_> = all.iter().map(|r| prune("some.onnx", &["--repair", r])).collect();
    for (i, model) in all.iter().enumerate() {
        assert!(*model != none && all[..i].iter().all(|other| other != model), "{i}");
    }
    assert!(all[3] == prune("turned.onnx", &["--repair", "match,absorb"]));
    let out = tiny.arg("refused.onnx");
    let mixed =
        ["prune", &model, "--data", &data, "-o", &out, "--ratio", "0.1", "--repair", "none,match"];
    refuses(&mixed, &["cannot be combined"]);
}

#[test]
fn prune_of_a_pruned_model_keeps_indices_of_the_first() {
    let tiny = Tiny::new(12, 0);
    let data = tiny.arg("data.yaml");
    let mut model = "tiny.onnx".to_owned();
    for round in ["once.onnx", "twice.onnx"] {
        let (from, out) = (tiny.arg(&model), tiny.arg(round));
        accepts(&[
            "prune",
            &from,
            "--data",
            &data,
            "-o",
            &out,
            "--ratio",
            "0.3",
            "--round-to",
            "1",
            "--floor",
            "2",
            "--shallow-ratio",
            "0.6",
            "--no-repair",
        ]);
        model = round.to_owned();
    }
    let twice = onnx::load(&tiny.path("twice.onnx"), &onnx::LoadOptions::default()).unwrap();
    let kept = &twice.metadata[prune::KEPT_KEY];
    let kept: std::collections::BTreeMap<String, Vec<usize>> = serde_json::from_str(kept).unwrap();
    // The image is no channel that goes: rows of the first layer alone are cut, so they can be looked up.
    let rows = &kept["stem.weight"];
    let dense = weight(&tiny.path("tiny.onnx"), "stem.weight");
    let once = weight(&tiny.path("once.onnx"), "stem.weight");
    let last = weight(&tiny.path("twice.onnx"), "stem.weight");
    assert!(last.shape()[0] < once.shape()[0], "the second round cut the stem again");
    assert_eq!(last, dense.take(0, rows).unwrap());
}

#[test]
fn inspect_sensitivity_tells_the_most_fragile_group_first_and_draws_it() {
    let tiny = Tiny::new(8, 0);
    let (model, data) = (tiny.arg("tiny.onnx"), tiny.arg("data.yaml"));
    let (told, drawn) = (tiny.arg("sensitivity.json"), tiny.arg("sensitivity.svg"));
    let shown = accepts(&[
        "inspect",
        &model,
        "--sensitivity",
        "--data",
        &data,
        "--steps",
        "0.99,0.5",
        "--plot",
        &drawn,
        "--json",
        &told,
    ]);
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains("-50 %") && shown.contains("-99 %"), "{shown}");
    let found = json(&told);
    let groups = found["groups"].as_array().unwrap();
    let error = |g: &serde_json::Value, i: usize| g["points"][i]["output_error"].as_f64().unwrap();
    let fragility: Vec<f64> = groups.iter().map(|g| (error(g, 0) + error(g, 1)) / 2.0).collect();
    assert!(fragility[0] > 0.0 && fragility.windows(2).all(|w| w[0] >= w[1]), "{fragility:?}");
    let width = groups[0]["channels"].as_u64().unwrap();
    assert_eq!(groups[0]["points"][0]["removed"], width / 2);
    let svg = std::fs::read_to_string(drawn).unwrap();
    assert_eq!(svg.matches("<circle").count(), 2 + 2 * groups.len());
    refuses(&["inspect", &model, "--sensitivity"], &["--data"]);
    refuses(&["inspect", &model, "--data", &data], &["--sensitivity"]);
}

#[test]
fn compress_by_contribution_writes_recipe_and_reasons() {
    let tiny = Tiny::new(24, 12);
    let (model, data, run) = (tiny.arg("tiny.onnx"), tiny.arg("data.yaml"), tiny.arg("run"));
    let compress = ["compress", &model, "--data", &data, "-o", &run, "--keep", "0.1"];
    let how = ["--keep-contribution", "0.9", "--repair", "absorb,match", "--round-to", "4"];
    accepts(&[&compress[..], &how].concat());
    let recipe = std::fs::read_to_string(tiny.path("run/recipe.toml")).unwrap();
    assert!(
        recipe.contains("round_to = 4") && recipe.contains("keep_contribution = ["),
        "{recipe}"
    );
    assert!(recipe.contains("\"absorb\"") && recipe.contains("\"match\""), "{recipe}");
    let plan = json(tiny.path("run/prune.plan.json"));
    assert_eq!(plan["candidates"][0]["allocation"], "share of contribution");
    assert!(!plan["groups"].as_array().unwrap().is_empty());
    let attempt = &json(tiny.path("run/metrics.json"))["gate"]["attempts"][0];
    let gone = attempt["macs_ratio"].as_f64().unwrap();
    assert!(gone > 0.0 && gone < 1.0, "{attempt}");
    // Another run by that recipe gives the same model.
    let (again, from) = (tiny.arg("again"), tiny.arg("run/recipe.toml"));
    accepts(&["compress", &model, "--data", &data, "-o", &again, "--recipe", &from]);
    let read = |run: &str| std::fs::read(tiny.path(&format!("{run}/model.onnx"))).unwrap();
    assert!(read("run") == read("again"));
}

#[test]
fn prune_after_batch_norm_was_folded_still_counts_in_the_first_model() {
    let Some(assets) = assets("pruning of a folded model") else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| text(dir.path().join(name));
    let dense = text(assets.join("weights/yolov5n_coco_bn_op17.onnx"));
    let data = text(assets.join("coco/data.yaml"));
    let prune = |from: &str, to: &str| {
        let how = ["--keep-contribution", "0.9", "--criterion", "l2", "--no-repair"];
        accepts(&[&["prune", from, "--data", &data, "-n", "2", "-o", to], &how[..]].concat());
    };
    let (once, folded, twice) = (path("once.onnx"), path("folded.onnx"), path("twice.onnx"));
    prune(&dense, &once);
    accepts(&["export", &once, "-o", &folded]);
    prune(&folded, &twice);
    let last = onnx::load(twice.as_ref(), &onnx::LoadOptions::default()).unwrap();
    let first = onnx::load(dense.as_ref(), &onnx::LoadOptions::default()).unwrap();
    let kept: std::collections::BTreeMap<String, Vec<usize>> =
        serde_json::from_str(&last.metadata[prune::KEPT_KEY]).unwrap();
    let rows = |graph: &ir::Graph, name: &str| {
        let found = graph.values().find(|(_, v)| v.name == name);
        found.unwrap_or_else(|| panic!("no `{name}`")).1.constant.clone().unwrap().shape()[0]
    };
    let mut again = 0;
    for (name, indices) in &kept {
        assert_eq!(indices.len(), rows(&last, name), "{name}");
        assert!(indices.iter().all(|i| *i < rows(&first, name)), "{name}");
        again += usize::from(indices.iter().any(|i| *i >= indices.len()));
    }
    assert!(again > 0, "some kept row lies behind those that went");
}
