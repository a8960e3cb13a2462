//! The node tests that ship in the `onnx` Python package, for every operator that is understood or folded.
use ir::{DataType, Graph, IrError, Op, OpError, Tensor, interpreter};
use onnx::{LoadOptions, OnnxError, encode, load, parse};
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::Command;

/// Operators that reading a file folds away.
const FOLDED: &[&str] =
    &["Constant", "Shape", "Size", "Identity", "Dropout", "ConstantOfShape", "Range"];
/// Operators of which the package has no case of opset 9 or later.
const WITHOUT_CASE: &[&str] = &["Xor"];
/// What the script may say of a case it does not write.
const UNREADABLE: &[&str] = &[
    "an element type that is only carried",
    "a sequence or an optional value",
    "an opset below 9",
    "a form of the operator that came after opset 28",
];
/// What reading or running may say that it does not support.
const UNSUPPORTED: &[&str] = &[
    "BatchNormalization in training mode",
    "antialias of Resize",
    "keep_aspect_ratio_policy over other than the two last axes",
    "resizing of other than the two last axes",
    "the Indices output of MaxPool",
    "block-wise quantization",
    "a reduction of ScatterND",
    "quantization of other types than f32",
];
/// Conv, MaxPool and Resize of other than two spatial axes.
const OTHER_RANK: &str = "other than two spatial axes";
/// Ways of resizing that are refused.
const RESIZE_MODES: &[&str] = &["cubic", "half_pixel_symmetric", "tf_crop_and_resize"];
/// A folded operator that had to be kept.
const NOT_FOLDED: &str = "a folded operator that must be computed";
/// A parameter that is computed; a reason only where an input is live.
const NOT_STATIC: &str = "a parameter that is computed";

/// One line of the script's list.
struct Case {
    name: String,
    op_types: Vec<String>,
    rtol: f64,
    atol: f64,
    unreadable: String,
}

/// How one way of running a case ended.
enum Outcome {
    Passed,
    Skipped(String),
    Failed(String),
}

fn cases(list: &str) -> Vec<Case> {
    let case = |line: &str| {
        let mut columns = line.split('\t').map(str::to_owned);
        let mut next = || columns.next().unwrap_or_default();
        Case {
            name: next(),
            op_types: next().split(',').map(str::to_owned).collect(),
            rtol: next().parse().unwrap(),
            atol: next().parse().unwrap(),
            unreadable: next(),
        }
    };
    list.lines().map(case).collect()
}

/// The constants of a file that holds nothing else, in order; a node without inputs has a file without any.
fn tensors(path: &Path) -> Vec<(String, Tensor)> {
    let graph = match load(path, &LoadOptions::default()) {
        Err(OnnxError::File { cause, .. }) if matches!(*cause, OnnxError::NoOutputs) => {
            return vec![];
        }
        read => read.unwrap(),
    };
    let named =
        |v: &ir::ValueId| (graph.value(*v).name.clone(), graph.constant(*v).unwrap().clone());
    graph.outputs().iter().map(named).collect()
}

/// The reason that is behind an error.
fn op_error(error: &OnnxError) -> Option<&OpError> {
    match error {
        OnnxError::File { cause, .. } => op_error(cause),
        OnnxError::Node { cause, .. } => Some(cause),
        OnnxError::Ir(e) => match &**e {
            IrError::Op { cause, .. } => Some(cause),
            _ => None,
        },
        _ => None,
    }
}

/// Whether a case may end with that error, and why.
fn explained(error: &OnnxError) -> Outcome {
    match op_error(error) {
        Some(OpError::Unsupported { feature }) if UNSUPPORTED.contains(feature) => {
            Outcome::Skipped((*feature).to_owned())
        }
        Some(OpError::Rank { expected: "4", .. }) => Outcome::Skipped(OTHER_RANK.to_owned()),
        Some(OpError::Attribute { found, .. }) if RESIZE_MODES.contains(&found.as_str()) => {
            Outcome::Skipped(format!("the resize mode {found}"))
        }
        _ if upgrade_reason(error).is_some_and(is_not_static) => {
            Outcome::Skipped(NOT_STATIC.to_owned())
        }
        _ => Outcome::Failed(error.to_string()),
    }
}

/// Why a node could not be upgraded, if that is what went wrong.
fn upgrade_reason(error: &OnnxError) -> Option<&str> {
    match error {
        OnnxError::File { cause, .. } => upgrade_reason(cause),
        OnnxError::CannotUpgrade { reason, .. } => Some(reason),
        _ => None,
    }
}

fn is_not_static(reason: &str) -> bool {
    (0..4).any(|input| OpError::NotStatic { input }.to_string() == reason)
}

/// Whether a graph holds a node that was kept without being understood, and why.
fn opaque(graph: &Graph) -> Option<Outcome> {
    let op = graph.nodes().find_map(|(_, n)| match &n.op {
        Op::Opaque(op) => Some(op),
        _ => None,
    })?;
    Some(if FOLDED.contains(&op.op_type.as_str()) {
        Outcome::Skipped(format!("{NOT_FOLDED}: {}", op.op_type))
    } else if is_not_static(&op.reason) {
        Outcome::Skipped(NOT_STATIC.to_owned())
    } else {
        Outcome::Failed(format!("{}: {}", op.op_type, op.reason))
    })
}

/// The first element that differs, if any; integers must be equal.
fn difference(case: &Case, found: &Tensor, expected: &Tensor) -> Option<String> {
    if found.ty() != expected.ty() {
        return Some(format!("expected {}, found {}", expected.ty(), found.ty()));
    }
    if !found.dtype().is_float() {
        return (found.data() != expected.data())
            .then(|| format!("expected {:?}, found {:?}", expected.data(), found.data()));
    }
    let (y, e) = (found.to_f64().unwrap(), expected.to_f64().unwrap());
    // A chain of operators in a narrow type may end one step off.
    let rtol = match found.dtype() {
        DataType::BF16 => case.rtol.max(1.0 / 64.0),
        DataType::F16 => case.rtol.max(1.0 / 512.0),
        _ => case.rtol,
    };
    let is_close = |y: f64, e: f64| {
        y == e || (y.is_nan() && e.is_nan()) || (y - e).abs() <= case.atol + rtol * e.abs()
    };
    let at = y.iter().zip(&e).position(|(&y, &e)| !is_close(y, e))?;
    Some(format!("[{at}]: expected {}, found {}", e[at], y[at]))
}

/// Runs a case with its first `live` inputs as inputs of the graph and the others as constants, as read and rewritten.
fn run(case: &Case, folder: &Path, live: usize) -> Result<Outcome, OnnxError> {
    let file = |part: &str| folder.join(format!("{}.{part}.onnx", case.name));
    let given = tensors(&file("inputs"));
    let expected = tensors(&file("expected"));
    let options = LoadOptions {
        constants: given.iter().skip(live).cloned().collect(),
        ..LoadOptions::default()
    };
    let inputs: Vec<Tensor> = given.into_iter().take(live).map(|(_, t)| t).collect();
    let graph = load(&file("model"), &options)?;
    if let Some(outcome) = opaque(&graph) {
        return Ok(outcome);
    }
    let bytes = encode(&graph)?;
    if live > 0 {
        std::fs::write(file("rewritten"), &bytes).unwrap();
    }
    let rewritten = parse(&bytes, None, &LoadOptions::default())?;
    for (how, graph) in [("as read", &graph), ("as rewritten", &rewritten)] {
        let outputs = interpreter::run(graph, &inputs)?;
        if outputs.len() != expected.len() {
            return Ok(Outcome::Failed(format!("{} outputs", outputs.len())));
        }
        for (y, (name, e)) in outputs.iter().zip(&expected) {
            if let Some(d) = difference(case, y, e) {
                let text = format!("{live} live inputs, {how}: output `{name}`: {d}");
                return Ok(Outcome::Failed(text));
            }
        }
    }
    Ok(Outcome::Passed)
}

/// Runs a case with constants only, then with its first input live, where a parameter may be refused; whether that
/// passed too is the second answer.
fn outcome(case: &Case, folder: &Path) -> (Outcome, bool) {
    if !case.unreadable.is_empty() {
        let known = UNREADABLE.contains(&case.unreadable.as_str());
        let outcome = if known { Outcome::Skipped } else { Outcome::Failed };
        return (outcome(case.unreadable.clone()), false);
    }
    let attempt = |live| {
        let run = catch_unwind(AssertUnwindSafe(|| run(case, folder, live)));
        match run {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(error)) => explained(&error),
            Err(_) => Outcome::Failed(format!("{live} live inputs: panicked")),
        }
    };
    match (attempt(0), attempt(1)) {
        (Outcome::Passed, failed @ Outcome::Failed(_)) => (failed, false),
        (Outcome::Skipped(reason), _) if reason == NOT_STATIC => (Outcome::Failed(reason), false),
        (constant, live) => (constant, matches!(live, Outcome::Passed)),
    }
}

/// What the cases of one operator came to.
#[derive(Default)]
struct Tally {
    passed: usize,
    skipped: BTreeMap<String, usize>,
    failed: usize,
}

/// The interpreter's name, if it has the package.
fn python() -> Option<String> {
    let python = std::env::var("YOLOSLIM_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let present =
        Command::new(&python).args(["-c", "import numpy, onnx.backend.test.loader"]).output();
    if !present.is_ok_and(|o| o.status.success()) {
        println!("skipped: node tests of the onnx package (not importable by {python})");
        return None;
    }
    Some(python)
}

fn write_cases(python: &str, op_types: &BTreeSet<&str>, folder: &Path) -> Vec<Case> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/backend_cases.py");
    let run = Command::new(python).arg(&script).arg(folder).args(op_types).output().unwrap();
    let stderr = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{stderr}");
    cases(&std::fs::read_to_string(folder.join("cases.tsv")).unwrap())
}

#[test]
fn load_and_run_node_tests_of_the_onnx_package_give_the_expected_outputs() {
    let Some(python) = python() else { return };
    let op_types: BTreeSet<&str> = ir::ops::op_types().chain(FOLDED.iter().copied()).collect();
    let folder = tempfile::tempdir().unwrap();
    let cases = write_cases(&python, &op_types, folder.path());
    let mut tallies: BTreeMap<&str, Tally> = BTreeMap::new();
    let mut skipped: BTreeMap<String, usize> = BTreeMap::new();
    let mut failures = Vec::new();
    let (mut passed, mut passed_live) = (0, 0);
    for case in &cases {
        let (outcome, live) = outcome(case, folder.path());
        passed_live += usize::from(live);
        for op_type in &case.op_types {
            let tally = tallies.entry(op_type).or_default();
            match &outcome {
                Outcome::Passed => tally.passed += 1,
                Outcome::Skipped(r) => *tally.skipped.entry(r.clone()).or_default() += 1,
                Outcome::Failed(_) => tally.failed += 1,
            }
        }
        match outcome {
            Outcome::Passed => passed += 1,
            Outcome::Skipped(reason) => *skipped.entry(reason).or_default() += 1,
            Outcome::Failed(why) => failures.push(format!("{}: {why}", case.name)),
        }
    }
    for (op_type, t) in &tallies {
        let why: Vec<String> = t.skipped.iter().map(|(r, n)| format!("{n} {r}")).collect();
        println!(
            "{op_type}: {} passed, {} failed; skipped: [{}]",
            t.passed,
            t.failed,
            why.join(", ")
        );
    }
    println!(
        "{} cases: {passed} passed ({passed_live} with a live input too), skipped {skipped:?}",
        cases.len()
    );
    assert!(failures.is_empty(), "{} failed:\n{}", failures.len(), failures.join("\n"));
    let unproven: Vec<&str> =
        op_types.into_iter().filter(|o| tallies.get(o).is_none_or(|t| t.passed == 0)).collect();
    assert_eq!(unproven, WITHOUT_CASE);
    check_rewritten(&python, folder.path());
}

/// Lets ONNX Runtime run what was written, where it is installed.
fn check_rewritten(python: &str, folder: &Path) {
    let present = Command::new(python).args(["-c", "import onnxruntime"]).output();
    if !present.is_ok_and(|o| o.status.success()) {
        println!("skipped: rewritten node tests in ONNX Runtime (not importable by {python})");
        return;
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/backend_rewritten.py");
    let run = Command::new(python).arg(&script).arg(folder).output().unwrap();
    println!("{}", String::from_utf8_lossy(&run.stderr));
    assert!(run.status.success());
    assert_eq!(String::from_utf8_lossy(&run.stdout), "");
}
