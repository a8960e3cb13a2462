//! Models made at random: read, written, read again; ONNX Runtime is the referee where it is installed.
use ir::{Op, TensorType};
use onnx::{LoadOptions, encode, parse};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use testkit::model::Model;
use testkit::random_model::{RECIPES, random_model};

const MODELS: u64 = 1000;

/// One model for each seed, of every opset from 9 to 24.
fn made(seed: u64) -> Model {
    random_model(seed, 3 + (seed % 9) as usize, 9 + (seed % 16) as i64, RECIPES)
}

/// Operators with all their parameters, and the types of the model's outputs.
fn facts(graph: &ir::Graph) -> (Vec<Op>, Vec<Option<TensorType>>) {
    let outputs = graph.outputs().iter();
    (
        graph.nodes().map(|(_, n)| n.op.clone()).collect(),
        outputs.map(|&v| graph.value(v).ty.clone()).collect(),
    )
}

#[test]
fn random_models_hold_every_operator() {
    let used: BTreeSet<&str> =
        (0..MODELS).flat_map(|seed| made(seed).nodes).map(|n| n.op).collect();
    let missing: Vec<&str> = ir::ops::op_types().filter(|op| !used.contains(op)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn random_model_written_reads_back_as_the_same_graph() {
    for seed in 0..MODELS {
        let bytes = made(seed).encode();
        let before = parse(&bytes, None, &LoadOptions::default())
            .unwrap_or_else(|e| panic!("seed {seed}: {e}"));
        let written = encode(&before).unwrap();
        let after = parse(&written, None, &LoadOptions::default())
            .unwrap_or_else(|e| panic!("seed {seed}, written: {e}"));
        // An operator of an old opset may be several of a new one; those are one each from then on.
        let rewritten = encode(&after).unwrap();
        let again = parse(&rewritten, None, &LoadOptions::default()).unwrap();
        assert_eq!(facts(&after), facts(&again), "seed {seed}");
        assert_eq!(facts(&before).1, facts(&after).1, "seed {seed}");
        assert!(rewritten == encode(&again).unwrap(), "seed {seed}");
    }
}

fn python() -> Option<String> {
    let python = std::env::var("YOLOSLIM_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let present = Command::new(&python).args(["-c", "import numpy, onnx, onnxruntime"]).output();
    if !present.is_ok_and(|o| o.status.success()) {
        println!("skipped: comparison with ONNX Runtime (not importable by {python})");
        return None;
    }
    Some(python)
}

#[test]
fn random_model_written_computes_the_same_in_onnx_runtime() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    for seed in 0..MODELS {
        let bytes = made(seed).encode();
        let graph = parse(&bytes, None, &LoadOptions::default()).unwrap();
        let at = |kind: &str| folder.path().join(format!("{seed:04}.{kind}.onnx"));
        std::fs::write(at("before"), bytes).unwrap();
        std::fs::write(at("after"), encode(&graph).unwrap()).unwrap();
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/compare_many.py");
    let run = Command::new(python).arg(script).arg(folder.path()).output().unwrap();
    let (out, errors) =
        (String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
    assert!(run.status.success(), "{errors}");
    println!("{out}");
    let (failures, summary): (Vec<&str>, Vec<&str>) =
        out.lines().partition(|l| !l.starts_with("compared "));
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    let compared: u64 = summary[0]["compared ".len()..].trim().parse().unwrap();
    assert!(compared * 10 > MODELS * 9, "ONNX Runtime runs {compared} of {MODELS}");
}
