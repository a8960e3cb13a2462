//! Real models against ONNX Runtime.
use runtime::{Plan, PlanOptions, Session};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

/// Runs the model on raw f32 inputs and writes each output as raw f32.
const REFEREE: &str = "
import sys, numpy as np, onnxruntime as ort
model, folder = sys.argv[1:]
s = ort.InferenceSession(model, providers=['CPUExecutionProvider'])
i = s.get_inputs()[0]
shape = [int(d) for d in open(folder + '/shape').read().split()]
x = np.fromfile(folder + '/x', dtype=np.float32).reshape(shape)
for k, y in enumerate(s.run(None, {i.name: x})):
    y.astype(np.float32).tofile(f'{folder}/y{k}')
";

fn python() -> Option<String> {
    let python = std::env::var("YOLOSLIM_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let probe = Command::new(&python).args(["-c", "import onnxruntime, numpy"]).output();
    probe.is_ok_and(|o| o.status.success()).then_some(python)
}

fn models() -> Vec<PathBuf> {
    let weights = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/assets/weights");
    let entries = std::fs::read_dir(weights).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> =
        entries.map(|e| e.path()).filter(|p| p.extension().is_some_and(|e| e == "onnx")).collect();
    found.sort();
    found
}

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

fn floats(path: &Path) -> Vec<f32> {
    let bytes = std::fs::read(path).expect("the referee wrote its output");
    let number = |b: &[u8]| f32::from_le_bytes([b[0], b[1], b[2], b[3]]);
    bytes.chunks_exact(4).map(number).collect()
}

#[test]
fn run_real_models_equals_onnx_runtime() {
    let models = models();
    if models.is_empty() {
        println!("skipped: real models (no ../shared/assets)");
        return;
    }
    let Some(python) = python() else {
        println!("skipped: real models (no onnxruntime in python3 or YOLOSLIM_PYTHON)");
        return;
    };
    for model in models {
        compare(&python, &model);
    }
}

fn compare(python: &str, model: &Path) {
    let name = model.display().to_string();
    let options = onnx::LoadOptions::default();
    let graph = onnx::load(model, &options).expect(&name);
    let plan = Plan::compile(&graph, &[], &PlanOptions::default()).expect(&name);
    let shape = &graph.ty(graph.inputs()[0]).expect("typed input").shape;
    let len: usize = shape.iter().product();
    let x: Vec<f32> = (0..len as u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 8) as f32 / (1u32 << 24) as f32)
        .collect();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let text: Vec<String> = shape.iter().map(usize::to_string).collect();
    std::fs::write(folder.path().join("shape"), text.join(" ")).expect("a writable folder");
    std::fs::write(folder.path().join("x"), bytes(&x)).expect("a writable folder");
    let status = Command::new(python)
        .args(["-c", REFEREE])
        .args([model, folder.path()])
        .status()
        .expect("the interpreter was probed");
    assert!(status.success(), "{name}: the referee failed");
    let mut session = Session::new(&Arc::new(plan), 2).expect(&name);
    let outputs = session.run(&[&x]).expect(&name);
    for (k, y) in outputs.iter().enumerate() {
        let found = y.as_slice::<f32>().expect("f32 outputs");
        let expected = floats(&folder.path().join(format!("y{k}")));
        assert_eq!(found.len(), expected.len(), "{name}, output {k}");
        let low = expected.iter().copied().fold(f32::INFINITY, f32::min);
        let high = expected.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let off = found.iter().zip(&expected).map(|(a, b)| (a - b).abs());
        let worst = off.fold(0.0, |m: f32, d| if d.is_nan() { f32::INFINITY } else { m.max(d) });
        println!("{name}, output {k}: off by {worst:e} of {}", high - low);
        assert!(worst <= 1e-3 * (high - low), "{name}, output {k}: off by {worst}");
    }
}
