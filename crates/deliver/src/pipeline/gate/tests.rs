use super::*;
use crate::bundle::tests::seal;

fn metric(value: f64, before: f64, samples: u64) -> Metric {
    Metric { value, before: Some(before), ratio_interval: None, samples: Some(samples) }
}

fn manifest(metrics: &[(&str, Metric)]) -> Manifest {
    let folder = tempfile::tempdir().expect("a folder");
    let mut manifest = seal(folder.path(), b"model").manifest;
    manifest.metrics = metrics.iter().map(|(name, m)| ((*name).to_owned(), *m)).collect();
    manifest
}

fn settings(text: &str) -> GateSettings {
    let settings: GateSettings = toml::from_str(text).expect("a gate");
    settings.check().expect("rules that make sense");
    settings
}

fn failed(findings: &[Finding]) -> Vec<&str> {
    let is_failed = |f: &&Finding| matches!(f.result, Judgement::Failed(_));
    findings.iter().filter(is_failed).map(|f| f.metric.as_str()).collect()
}

#[test]
fn gate_holds_floors_shares_ceilings_and_samples() {
    let gate = settings(
        "[metrics.map_50_95]\nleast = 0.5\nkeep = 0.95\nsamples = 100\n[metrics.macs]\nmost = 1000\n",
    );
    let count = |value| Metric { before: None, samples: None, ..metric(value, 0.0, 0) };
    for (map, macs, expected) in [
        (metric(0.60, 0.62, 100), 1000.0, &[][..]),
        (metric(0.49, 0.50, 100), 1000.0, &["map_50_95"]),
        (metric(0.60, 0.64, 100), 1000.0, &["map_50_95"]),
        (metric(0.60, 0.62, 99), 1001.0, &["macs", "map_50_95"]),
    ] {
        let manifest = manifest(&[("map_50_95", map), ("macs", count(macs))]);
        assert_eq!(failed(&gate.judge(&manifest)), expected, "{map:?} {macs}");
    }
}

#[test]
fn gate_of_a_metric_that_is_missing_fails() {
    let gate = settings(
        "[metrics.recall]\nleast = 0.1\n[classes.scratch.recall]\nkeep = 0.9\n[classes.\"*\".map_50]\nkeep = 0.9\n",
    );
    let found = gate.judge(&manifest(&[]));
    assert_eq!(failed(&found), ["recall", "class.*.map_50", "class.scratch.recall"]);
    let unknown = Metric { before: None, ..metric(0.9, 0.0, 9) };
    let found = gate.judge(&manifest(&[
        ("recall", metric(0.2, 0.2, 9)),
        ("class.scratch.recall", unknown),
        ("class.scratch.map_50", metric(0.9, 0.9, 9)),
    ]));
    assert_eq!(failed(&found), ["class.scratch.recall"]);
}

#[test]
fn gate_of_every_class_leaves_out_those_with_too_few_objects_and_says_so() {
    let gate = settings("[classes.\"*\".map_50]\nkeep = 0.9\nsamples = 10\n");
    let found = gate.judge(&manifest(&[
        ("class.a.map_50", metric(0.5, 0.9, 10)),
        ("class.b.map_50", metric(0.5, 0.9, 3)),
        ("class.c.d.map_50", metric(0.9, 0.9, 30)),
    ]));
    assert_eq!(failed(&found), ["class.a.map_50"]);
    assert_eq!(found.len(), 3);
    assert!(found.iter().any(|f| matches!(f.result, Judgement::NotJudged(_))));
}

#[test]
fn gate_meets_models_for_further_targets_too() {
    let gate = settings("[metrics.map_50_95]\nkeep = 0.95\n");
    let mut manifest = manifest(&[
        ("map_50_95", metric(0.6, 0.6, 9)),
        ("target.onnxruntime.map_50_95", metric(0.5, 0.6, 9)),
    ]);
    manifest.models.insert("onnxruntime".to_owned(), "models/onnxruntime.onnx".to_owned());
    assert_eq!(failed(&gate.judge(&manifest)), ["target.onnxruntime.map_50_95"]);
    manifest.metrics.remove("target.onnxruntime.map_50_95");
    assert!(!failed(&gate.judge(&manifest)).is_empty(), "a model that was not measured");
}

#[test]
fn gate_rules_without_sense_are_refused() {
    for text in [
        "[metrics.map_50]\n",
        "[metrics.map_50]\nmost = 0.5\n",
        "[metrics.macs]\nleast = 1\n",
        "[metrics.macs]\nmost = nan\n",
        "[metrics.map_50]\nleast = 1.5\n",
        "[metrics.energy_j]\nmost = 1\n",
        "[classes.a.macs]\nmost = 1\n",
    ] {
        let settings: GateSettings = toml::from_str(text).expect("TOML");
        assert!(settings.check().is_err(), "{text}");
    }
}

#[test]
fn losses_are_those_of_what_is_measured_largest_first() {
    let manifest = manifest(&[
        ("map_50_95", metric(0.5, 0.6, 9)),
        ("map_small", metric(0.1, 0.6, 9)),
        ("class.a.recall", metric(0.7, 0.6, 9)),
        ("macs", metric(0.5, 0.6, 9)),
    ]);
    let lost: Vec<_> = losses(&manifest.metrics).into_iter().map(|l| l.metric).collect();
    assert_eq!(lost, ["map_small", "map_50_95"]);
}
