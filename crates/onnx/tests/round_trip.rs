//! Every model of the assets: read, written, read again; ONNX Runtime is the referee where it is installed.
use onnx::{LoadOptions, load, save};
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
    let mut models: Vec<_> = files
        .filter(|p| p.extension().is_some_and(|e| e == "onnx"))
        .collect();
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
    save(&graph, &path).unwrap();
    path
}

#[test]
fn save_every_model_reads_back_the_same() {
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
        assert_eq!(
            (before.macs(), before.params()),
            (after.macs(), after.params()),
            "{name}"
        );
        assert_eq!(before.node_count(), after.node_count(), "{name}");
        assert_eq!(before.metadata, after.metadata, "{name}");
        let opaque = before
            .nodes()
            .find(|(_, n)| matches!(n.op, ir::Op::Opaque(_)));
        assert!(opaque.is_none(), "{name}: {opaque:?}");
        assert_eq!(
            std::fs::read(&path).unwrap(),
            onnx::encode(&after).unwrap(),
            "{name}"
        );
    }
}

#[test]
fn save_every_model_computes_the_same_in_onnx_runtime() {
    let python = std::env::var("YOLOSLIM_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let present = Command::new(&python)
        .args(["-c", "import numpy, onnxruntime"])
        .output();
    if !present.is_ok_and(|o| o.status.success()) {
        println!("skipped: comparison with ONNX Runtime (not importable by {python})");
        return;
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/compare_with_onnxruntime.py");
    let folder = tempfile::tempdir().unwrap();
    for model in models() {
        let path = rewrite(&model, folder.path());
        let run = Command::new(&python)
            .arg(&script)
            .arg(&model)
            .arg(&path)
            .output()
            .unwrap();
        assert!(
            run.status.success(),
            "{}: {}",
            model.display(),
            String::from_utf8_lossy(&run.stderr)
        );
        let difference: f64 = String::from_utf8_lossy(&run.stdout).trim().parse().unwrap();
        println!("{}: {difference:e}", model.display());
        assert!(difference <= 1e-5, "{}: {difference:e}", model.display());
    }
}
