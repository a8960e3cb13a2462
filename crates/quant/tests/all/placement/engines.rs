//! What ONNX Runtime and OpenVINO make of the files: which convolutions they run in INT8.
use super::{placed, real, small};
use quant::{ENGINES, Target};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

/// How an engine is asked what it runs: the Python module it needs; `None` where no program here can tell.
const ASKED: &[(&str, Option<&str>)] = &[
    // Its plan is tested in `runtime`.
    ("builtin", None),
    ("onnxruntime", Some("onnxruntime")),
    ("openvino", Some("openvino")),
    // It needs a GPU; the rules stand in for it.
    ("tensorrt", None),
];

fn module(target: Target) -> Option<&'static str> {
    let name = target.engine().name;
    let row = ASKED.iter().find(|(engine, _)| *engine == name);
    row.unwrap_or_else(|| panic!("nothing says how engine `{name}` is asked")).1
}

#[test]
fn engines_run_every_planned_convolution_in_int8() {
    let python = std::env::var("YOLOSLIM_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/placement/fused.py");
    let folder = tempfile::tempdir().unwrap();
    let asked = ENGINES.iter().filter(|engine| !engine.placement.is_vendors());
    assert_eq!(asked.count(), ASKED.len());
    for target in Target::quantizing() {
        let Some(module) = module(target) else { continue };
        let import = format!("import onnx, {module}");
        if !Command::new(&python).args(["-c", &import]).output().is_ok_and(|o| o.status.success()) {
            println!("skipped: fusion by {module} (not importable by {python})");
            continue;
        }
        for (name, graph) in small().into_iter().chain(real()) {
            let placed = placed(&graph, target);
            let path = folder.path().join("model.onnx");
            std::fs::write(&path, onnx::encode(&placed.graph).unwrap()).unwrap();
            let run = Command::new(&python).arg(&script).arg(module).arg(&path).output().unwrap();
            let (out, err) =
                (String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
            assert!(run.status.success(), "{name} for {target}: {err}");
            let found: BTreeMap<String, usize> = serde_json::from_str(&out).unwrap();
            println!("{name} for {target}: {found:?}");
            let count = |key: &str| found.get(key).copied().unwrap_or(0);
            let planned = planned(&placed.graph);
            assert_eq!(count("int8_convolutions"), planned, "{name} for {target}: {found:?}");
            let float = convolutions(&placed.graph) - planned;
            assert_eq!(count("float_convolutions"), float, "{name} for {target}: {found:?}");
            assert_eq!(count("loose_silus"), 0, "{name} for {target}: {found:?}");
        }
    }
}

fn convolutions(graph: &ir::Graph) -> usize {
    graph.nodes().filter(|(_, n)| matches!(n.op, ir::Op::Conv(_))).count()
}

fn planned(graph: &ir::Graph) -> usize {
    let has_stored_weight = |n: &ir::Node| graph.producer(n.inputs[1]).is_some();
    graph.nodes().filter(|(_, n)| matches!(n.op, ir::Op::Conv(_)) && has_stored_weight(n)).count()
}
