//! Every model of the assets: read, written, read again; ONNX Runtime is the referee where it is installed.
use onnx::{LoadOptions, encode, load};
use std::path::{Path, PathBuf};
use std::process::Command;

fn models() -> Vec<PathBuf> {
    let weights = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/assets/weights");
    let folders = [weights.clone(), weights.join("structural")];
    let files = folders
        .iter()
        .filter_map(|f| std::fs::read_dir(f).ok())
        .flatten()
        .flatten()
        .map(|e| e.path());
    let mut models: Vec<_> = files.filter(|p| p.extension().is_some_and(|e| e == "onnx")).collect();
    models.sort();
    if models.is_empty() {
        println!("skipped: round trips (no ../shared/assets)");
    }
    models
}

/// Rewrites a model into `folder`; returns the new path.
fn rewrite(model: &Path, folder: &Path) -> PathBuf {
    let graph = load(model, &LoadOptions::default()).unwrap();
    let path = folder.join(model.file_name().unwrap());
    std::fs::write(&path, encode(&graph).unwrap()).unwrap();
    path
}

#[test]
fn encode_every_model_reads_back_the_same() {
    let folder = tempfile::tempdir().unwrap();
    for model in models() {
        let before = load(&model, &LoadOptions::default()).unwrap();
        let path = rewrite(&model, folder.path());
        let after = load(&path, &LoadOptions::default()).unwrap();
        let name = model.display();
        println!(
            "{name}: {} nodes, {} MACs, {} parameters",
            before.node_count(),
            before.macs(),
            before.params()
        );
        assert!(before.macs() > 0 && before.params() > 0, "{name}");
        assert_eq!((before.macs(), before.params()), (after.macs(), after.params()), "{name}");
        assert_eq!(before.node_count(), after.node_count(), "{name}");
        assert_eq!(before.metadata, after.metadata, "{name}");
        let opaque = before.nodes().find(|(_, n)| matches!(n.op, ir::Op::Opaque(_)));
        assert!(opaque.is_none(), "{name}: {opaque:?}");
        assert_eq!(std::fs::read(&path).unwrap(), onnx::encode(&after).unwrap(), "{name}");
    }
}

/// The interpreter that has ONNX Runtime, if one has.
fn python() -> Option<String> {
    let python = std::env::var("YOLOSLIM_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let present = Command::new(&python).args(["-c", "import numpy, onnxruntime"]).output();
    if !present.is_ok_and(|o| o.status.success()) {
        println!("skipped: comparison with ONNX Runtime (not importable by {python})");
        return None;
    }
    Some(python)
}

/// The largest difference of two files' outputs in ONNX Runtime, against the largest output.
fn difference(python: &str, before: &Path, after: &Path) -> f64 {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/compare_with_onnxruntime.py");
    let run = Command::new(python).arg(&script).arg(before).arg(after).output().unwrap();
    let stderr = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{}: {stderr}", before.display());
    let difference = String::from_utf8_lossy(&run.stdout).trim().parse().unwrap();
    println!("{}: {difference:e}", before.display());
    difference
}

#[test]
fn encode_every_model_computes_the_same_in_onnx_runtime() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    for model in models() {
        let path = rewrite(&model, folder.path());
        let difference = difference(&python, &model, &path);
        assert!(difference <= 1e-5, "{}: {difference:e}", model.display());
    }
}

#[test]
fn focus_of_real_models_is_one_convolution_that_computes_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let python = python();
    let is_focus = |p: &PathBuf| {
        let name = p.to_string_lossy();
        name.contains("focus") || name.contains("yolox")
    };
    for model in models().into_iter().filter(is_focus) {
        let mut graph = load(&model, &LoadOptions::default()).unwrap();
        let (nodes, macs) = (graph.node_count(), graph.macs());
        assert_eq!(ir::rewrites::apply(&mut graph, &ir::rewrites::FOCUS), Ok(1));
        assert!(graph.node_count() + 5 <= nodes);
        assert_eq!(graph.macs(), macs);
        let path = folder.path().join(model.file_name().unwrap());
        std::fs::write(&path, encode(&graph).unwrap()).unwrap();
        if let Some(python) = &python {
            let difference = difference(python, &model, &path);
            // The terms of the sum come in another order.
            assert!(difference <= 1e-4, "{}: {difference:e}", model.display());
        }
    }
}
