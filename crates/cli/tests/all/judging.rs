//! `compress`: what is judged, by how many images, and what was reached instead of what was asked.
use crate::support::{Tiny, accepts, json, refuses, stderr, yoloslim};

struct Finished {
    code: Option<i32>,
    told: String,
    shown: String,
    record: serde_json::Value,
}

fn compress(tiny: &Tiny, more: &[&str]) -> Finished {
    let (model, data, run) = (tiny.arg("tiny.onnx"), tiny.arg("data.yaml"), tiny.arg("run"));
    let usual = ["compress", &model, "--data", &data, "-o", &run];
    let out = yoloslim(&[&usual[..], more].concat());
    let told = stderr(&out);
    assert!(out.status.code() < Some(2), "{told}");
    Finished {
        code: out.status.code(),
        told,
        shown: String::from_utf8_lossy(&out.stdout).into_owned(),
        record: json(tiny.path("run/metrics.json")),
    }
}

#[test]
fn compress_with_a_small_split_says_that_val_alone_decides_and_what_is_used() {
    let tiny = Tiny::new(5, 4);
    let done = compress(&tiny, &["--macs", "0.2", "--holdout", "200", "--keep", "0.5"]);
    let r = &done.record;
    assert_eq!(r["holdout_images"], 0);
    assert_eq!(r["calibration_images"], 5, "nothing is held out for nothing");
    assert_eq!(r["val_labelled"]["images"], 4);
    let attempt = &r["gate"]["attempts"][0];
    assert!(attempt["holdout"].is_null() && attempt["ratio"].is_f64());
    assert!(attempt["lower_bound"].is_null() && r["gate"]["lower_bound"].is_null());
    for words in [
        ["no hold-out", "200", "val alone decides"],
        ["calibration: 5 images", "100 were asked", "no more"],
        ["val: 4 labelled images", "says nothing", "at least 20"],
    ] {
        let warnings = r["warnings"].as_array().unwrap().iter();
        let told = warnings.filter_map(|w| w.as_str());
        let here = |text: &str| words.iter().all(|w| text.contains(w));
        assert!(told.clone().any(here), "{words:?} in {r}");
        assert!(done.told.lines().any(here), "{words:?} in {}", done.told);
        assert!(done.shown.lines().any(here), "{words:?} in {}", done.shown);
    }
    assert!(!done.shown.contains("95 % interval 0"), "{}", done.shown);
    // The report says the same.
    accepts(&["report", &tiny.arg("run")]);
    let page = std::fs::read_to_string(tiny.path("run/report.html")).unwrap();
    assert!(page.contains("no hold-out") && page.contains("too few to tell"));
}

#[test]
fn compress_with_unlabelled_training_images_has_no_holdout_and_says_so() {
    let tiny = Tiny::new(72, 24);
    for label in tiny.files("labels/train") {
        std::fs::remove_file(label).unwrap();
    }
    let done = compress(&tiny, &["--holdout", "24", "-n", "48", "--keep", "0.1"]);
    assert_eq!(done.record["holdout_images"], 0);
    assert!(done.told.contains("0 labelled images with 0 objects"), "{}", done.told);
    assert!(done.record["gate"]["lower_bound"].is_f64(), "val has enough");
}

#[test]
fn compress_with_fewer_held_out_than_asked_says_how_many() {
    let tiny = Tiny::new(72, 24);
    let done = compress(&tiny, &["--holdout", "50", "-n", "12", "--keep", "0.1"]);
    assert_eq!(done.record["holdout_images"], 24);
    assert!(done.record["gate"]["attempts"][0]["holdout"]["lower"].is_f64());
    assert!(done.told.contains("hold-out: 24 images, 50 were asked"), "{}", done.told);
}

#[test]
fn compress_strict_with_too_few_images_is_refused_before_any_work() {
    let tiny = Tiny::new(12, 6);
    let (model, data, run) = (tiny.arg("tiny.onnx"), tiny.arg("data.yaml"), tiny.arg("run"));
    let args = ["compress", &model, "--data", &data, "-o", &run, "--strict"];
    refuses(&args, &["95 % interval", "6 labelled images", "at least 20"]);
    assert!(!tiny.path("run/attempt-1").exists());
}

#[test]
fn compress_of_what_cannot_be_judged_ends_before_pruning() {
    let tiny = Tiny::new(12, 6);
    let (model, data, run) = (tiny.arg("tiny.onnx"), tiny.arg("data.yaml"), tiny.arg("run"));
    // The labels are somewhere else than what the detector finds.
    for label in tiny.files("labels/val") {
        std::fs::write(label, "0 0.5 0.5 1 1\n").unwrap();
    }
    let args = ["compress", &model, "--data", &data, "-o", &run];
    refuses(&args, &["map_50_95 on val is 0", "--imgsz", "--family"]);
    for label in tiny.files("labels/val") {
        std::fs::remove_file(label).unwrap();
    }
    let told = stderr(&yoloslim(&args));
    assert!(told.contains("label") && !told.contains("prune:"), "{told}");
    assert!(!tiny.path("run/attempt-1").exists());
}

#[test]
fn compress_that_cannot_reach_its_target_says_what_it_reached_and_shows_it_to_val_once() {
    let tiny = Tiny::new(72, 24);
    let limits = ["--macs", "0.9", "--floor", "24", "--shallow-ratio", "0.1"];
    let more = ["-n", "12", "--holdout", "0", "--keep", "1", "--recover", "2"];
    let done = compress(&tiny, &[&limits[..], &more].concat());
    let attempts = done.record["gate"]["attempts"].as_array().unwrap();
    let first = &attempts[0];
    let reached = first["macs_ratio"].as_f64().unwrap();
    let left = done.record["baseline"]["macs"].as_f64().unwrap();
    let pruned = json(tiny.path("run/attempt-1/prune.plan.json"));
    assert_eq!(pruned["reached"]["macs_ratio"], first["macs_ratio"]);
    assert!(reached < 0.45, "{reached} of {left}");
    // 90 and 45 % come out the same.
    let asked: Vec<f64> =
        first["asked"].as_array().unwrap().iter().map(|a| a["macs"].as_f64().unwrap()).collect();
    assert_eq!(asked[..2], [0.9, 0.45]);
    let most = first["shortfall"]["limits"]["most"].as_f64().unwrap();
    assert!((most - reached).abs() < 0.02, "{first}");
    assert!(first["shortfall"]["limits"]["without_floor"].as_f64().unwrap() >= most);
    let percent = format!("{:.1} % of the MACs pruned", 100.0 * reached);
    assert!(done.shown.contains(&percent), "{percent} in {}", done.shown);
    assert!(done.shown.contains("at most") && done.shown.contains("--floor"), "{}", done.shown);
    assert!(done.told.contains("the same as attempt-1"), "{}", done.told);
    let measured = |who: &str| {
        let line = format!("val: measuring accuracy of {who}");
        done.told.lines().filter(|l| **l == line).count()
    };
    assert_eq!(measured("attempt-1"), 1);
    assert_eq!(measured("baseline"), 1, "once, whatever the number of attempts");
    let before = |a: &str, b: &str| done.told.find(a) < done.told.find(b);
    assert!(before("accuracy of baseline", "prune:"), "{}", done.told);
    let folders = |n: usize| tiny.path(&format!("run/attempt-{n}")).exists();
    assert!(folders(attempts.len()) && !folders(attempts.len() + 1));
    if done.code == Some(1) {
        assert!(attempts.len() >= 2, "nothing removed is tried too");
    }
}

#[test]
fn prune_that_cannot_reach_its_target_says_what_it_reached_and_why() {
    let tiny = Tiny::new(12, 0);
    let (model, data, out, told) = (
        tiny.arg("tiny.onnx"),
        tiny.arg("data.yaml"),
        tiny.arg("pruned.onnx"),
        tiny.arg("prune.json"),
    );
    let usual = ["prune", &model, "--data", &data, "-o", &out, "--json", &told];
    for (how, key) in [(["--macs", "0.9"], "macs"), (["--ratio", "0.95"], "channels")] {
        let shown = accepts(&[&usual[..], &how].concat());
        let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
        let found = json(&told);
        let reached = &found["plan"]["reached"];
        let removed =
            1.0 - found["macs"].as_f64().unwrap() / found["source_macs"].as_f64().unwrap();
        assert!((reached["macs_ratio"].as_f64().unwrap() - removed).abs() < 1e-9);
        assert!(reached["asked"][key].is_f64(), "{reached}");
        let limits = &reached["shortfall"]["limits"];
        let share = |name: &str| limits[name].as_f64().unwrap();
        assert!(share("most") < 0.9 && share("most") <= share("without_caps"), "{limits}");
        assert!(share("without_caps") <= share("prunable"), "{limits}");
        assert!(shown.contains("at most") && shown.contains("--shallow-ratio"), "{shown}");
        assert!(shown.contains(&format!("{:.1} % removed", 100.0 * removed)), "{shown}");
    }
    let shown = accepts(&[&usual[..], &["--keep-contribution", "0.01"]].concat());
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains("groups keep more"), "{shown}");
    let within = accepts(&[&usual[..], &["--macs", "0.02"]].concat());
    assert!(json(&told)["plan"]["reached"]["shortfall"].is_null());
    assert!(!String::from_utf8_lossy(&within.stdout).contains("at most"));
}

#[test]
fn compress_by_recipe_takes_everything_of_it_and_refuses_what_contradicts() {
    let tiny = Tiny::new(12, 6);
    let (model, data, run) = (tiny.arg("tiny.onnx"), tiny.arg("data.yaml"), tiny.arg("by-recipe"));
    compress(&tiny, &["--keep", "0.1", "--seed", "5", "--family", "yolox", "--imgsz", "64"]);
    let written = std::fs::read_to_string(tiny.path("run/recipe.toml")).unwrap();
    let recipe = |change: &dyn Fn(&str) -> String| {
        tiny.put("recipe.toml", change(&written).as_bytes());
        tiny.arg("recipe.toml")
    };
    let from = recipe(&str::to_owned);
    let usual = ["compress", &model, "--data", &data, "-o", &run, "--recipe", &from];
    accepts(&usual);
    let again = std::fs::read_to_string(tiny.path("by-recipe/recipe.toml")).unwrap();
    assert_eq!(written, again);
    accepts(&[&usual[..], &["--seed", "5", "--family", "yolox"]].concat());
    for (typed, words) in [
        (&["--seed", "6"][..], &["--seed 6", "says 5"]),
        (&["--family", "v5"], &["--family v5", "says yolox"]),
        (&["--imgsz", "96"], &["--imgsz 96x96", "says 64x64"]),
        (&["--keep", "0.5"], &["--recipe", "--keep"]),
        (&["--target", "onnxruntime"], &["--recipe", "--target"]),
    ] {
        refuses(&[&usual[..], typed].concat(), words);
    }
    recipe(&|text| text.replace("keep = 0.1", "keep = nan"));
    refuses(&usual, &["recipe.toml", "gate.keep", "NaN"]);
    recipe(&|text| text.replace("seed = 5", "seed = 5\nspeed = 5"));
    refuses(&usual, &["recipe.toml", "unknown key `speed`"]);
    recipe(&|text| format!("isa = \"mmx\"\n{}", text.replacen("isa", "#", 1)));
    refuses(&usual, &["mmx", "--isa"]);
    // The same, typed.
    let typed = ["compress", &model, "--data", &data, "-o", &run];
    for flags in [
        ["--keep", "nan"],
        ["--keep", "-0.1"],
        ["--macs", "1.0"],
        ["--macs", "inf"],
        ["-n", "0"],
        ["--seed", "18446744073709551615"],
    ] {
        let flags = format!("{}={}", flags[0], flags[1]).replace("-n=", "-n");
        refuses(&[&typed[..], &[&flags]].concat(), &["invalid value"]);
    }
}
