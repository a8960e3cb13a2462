//! Random models on every instruction set of this CPU and on one and two threads, against ONNX Runtime.
//!
//! `YOLOSLIM_DIFFERENTIAL` multiplies the number of models; 10 makes some thousands of them.
use ir::ops::{CoordinateMode, Extent, Op, Resize};
use ir::{DataType, Graph, QuantParams, Tensor, ValueId, interpreter, normalise};
use kernels::Isa;
use quant::{Range, Target};
use runtime::{Plan, PlanOptions, Session};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use testkit::random_detector::random_detector;
use testkit::random_model::{RECIPES, Recipe, random_model};

/// Tools' ways to quantize, as `differential.py` names them.
const KINDS: &[&str] =
    &["qdq_u8", "qdq_s8", "qdq_u16", "qoperator_u8", "qoperator_s8", "dynamic_u8", "dynamic_s8"];

fn times() -> u64 {
    let asked = std::env::var("YOLOSLIM_DIFFERENTIAL").ok();
    asked.and_then(|n| n.parse().ok()).unwrap_or(1)
}

fn python() -> Option<String> {
    let python = std::env::var("YOLOSLIM_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let probe =
        Command::new(&python).args(["-c", "import numpy, onnx, onnxruntime.quantization"]).output();
    let found = probe.is_ok_and(|o| o.status.success());
    if !found {
        println!("skipped: random models against ONNX Runtime (not importable by {python})");
    }
    found.then_some(python)
}

/// Values between 0 and 1 that are the same everywhere.
fn values(n: usize) -> Vec<f32> {
    let at = |i: usize| ((i as u32 + 1).wrapping_mul(2_654_435_761) >> 8) as f32;
    (0..n).map(|i| at(i) / (1u32 << 24) as f32).collect()
}

fn input(graph: &Graph) -> Vec<f32> {
    values(graph.ty(graph.inputs()[0]).expect("typed").elements())
}

/// A folder of models, of which ONNX Runtime has told the outputs.
struct Referee {
    folder: tempfile::TempDir,
}

impl Referee {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        Self { folder }
    }

    fn path(&self, name: &str, suffix: &str) -> PathBuf {
        self.folder.path().join(format!("{name}.{suffix}"))
    }

    fn give(&self, name: &str, suffix: &str, model: &[u8], x: &[f32]) {
        let bytes: Vec<u8> = x.iter().flat_map(|v| v.to_le_bytes()).collect();
        std::fs::write(self.path(name, suffix), model).expect("written");
        std::fs::write(self.path(name, "x"), bytes).expect("written");
    }

    fn ask(&self, python: &str) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/differential.py");
        let run =
            Command::new(python).arg(script).arg(self.folder.path()).output().expect("python runs");
        let errors = String::from_utf8_lossy(&run.stderr);
        assert!(run.status.success(), "{errors}");
        println!("{errors}");
    }

    /// What ONNX Runtime gave, all outputs one after the other.
    fn told(&self, name: &str) -> Option<Vec<f32>> {
        let bytes = std::fs::read(self.path(name, "y")).ok()?;
        let values = bytes.as_chunks::<4>().0.iter();
        Some(values.map(|b| f32::from_le_bytes(*b)).collect())
    }
}

/// Outputs on every instruction set, one after the other; one and two threads must give the same bits.
fn outputs(name: &str, graph: &Graph, x: &[f32]) -> Vec<(Isa, Vec<f32>)> {
    let run = |isa: Isa, threads: usize| -> Vec<f32> {
        let options = PlanOptions { isa, integer: true };
        let plan = Plan::compile(graph, &[], &options).unwrap_or_else(|e| panic!("{name}: {e}"));
        let outputs = Session::new(&Arc::new(plan), threads).and_then(|mut s| s.run(&[x]));
        let outputs = outputs.unwrap_or_else(|e| panic!("{name}: {e}"));
        let flat = outputs.iter().map(|t| t.as_slice::<f32>().expect("f32").to_vec());
        flat.flatten().collect()
    };
    let on = |isa| {
        let one = run(isa, 1);
        let two = run(isa, 2);
        let same = one.iter().zip(&two).all(|(a, b)| a.to_bits() == b.to_bits());
        assert!(same, "{name}: one and two threads differ on {isa}");
        (isa, one)
    };
    Isa::available().into_iter().map(on).collect()
}

fn load(path: &Path) -> Graph {
    let name = path.display().to_string();
    let graph = onnx::load(path, &onnx::LoadOptions::default()).expect(&name);
    normalise(graph).expect(&name).into_graph()
}

/// How far numbers are from those expected.
struct Distance {
    /// Largest difference, in units of the largest number that is expected.
    largest: f64,
    /// Mean difference, in units of the mean distance of what is expected from its mean.
    mean: f64,
}

fn distance(found: &[f32], expected: &[f32]) -> Distance {
    assert_eq!(found.len(), expected.len());
    let n = expected.len().max(1) as f64;
    let differences = found.iter().zip(expected).map(|(&a, &b)| match (a, b) {
        (a, b) if a == b || (a.is_nan() && b.is_nan()) => 0.0,
        (a, b) => (f64::from(a) - f64::from(b)).abs(),
    });
    let differences: Vec<f64> = differences.collect();
    let finite = || expected.iter().map(|&v| f64::from(v)).filter(|v| v.is_finite());
    let centre = finite().sum::<f64>() / n;
    let spread = finite().map(|v| (v - centre).abs()).sum::<f64>() / n;
    let top = finite().fold(1e-3, |top, v| v.abs().max(top));
    Distance {
        largest: differences.iter().fold(0.0, |most, &d| d.max(most)) / top,
        mean: differences.iter().sum::<f64>() / n / spread.max(1e-3 * top),
    }
}

/// Operators whose results follow their inputs smoothly.
fn smooth() -> Vec<Recipe> {
    RECIPES.iter().filter(|r| !r.jumps).copied().collect()
}

/// Where a scale gives no whole length, align_corners aligns to the length before it is cut off in ONNX's own node tests,
/// which we follow, and to the one after in ONNX Runtime.
fn is_disputed(graph: &Graph) -> bool {
    let by_scales = |op: &Op| match op {
        Op::Resize(Resize {
            coordinate_mode: CoordinateMode::AlignCorners,
            extent: Extent::Scales(scales),
            ..
        }) => scales.iter().any(|s| s.fract() != 0.0),
        _ => false,
    };
    graph.nodes().any(|(_, node)| by_scales(&node.op))
}

/// f32 against f32: both round every sum, in an order of their own. A dozen layers deep, and with differences of products
/// between, a thousandth of the largest number is far more than rounding (2^-24 of each term) and far less than a wrong
/// tap, pad or channel.
#[test]
fn random_float_models_compute_what_onnx_runtime_computes() {
    let Some(python) = python() else { return };
    let referee = Referee::new();
    let recipes = smooth();
    let mut names = Vec::new();
    for seed in 0..400 * times() {
        let steps = 3 + (seed % 8) as usize;
        let model = random_model(seed, steps, 9 + (seed % 16) as i64, &recipes);
        let elements = model.input.iter().product::<i64>() as usize;
        let name = format!("operators{seed:05}");
        referee.give(&name, "onnx", &model.encode(), &values(elements));
        names.push(name);
    }
    for seed in 0..150 * times() {
        let graph = random_detector(seed, 2 + (seed % 6) as usize);
        let name = format!("blocks{seed:05}");
        let model = onnx::encode(&graph).expect("it is written");
        referee.give(&name, "onnx", &model, &input(&graph));
        names.push(name);
    }
    referee.ask(&python);
    let (mut compared, mut wrong) = (0, Vec::new());
    for name in &names {
        let Some(expected) = referee.told(name) else {
            continue;
        };
        compared += 1;
        let graph = load(&referee.path(name, "onnx"));
        if is_disputed(&graph) {
            continue;
        }
        for (isa, found) in outputs(name, &graph, &input(&graph)) {
            let found = distance(&found, &expected).largest;
            if found > 1e-3 {
                wrong.push(format!("{name} on {isa}: {found:e}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    println!("compared {compared} of {}", names.len());
    assert!(compared * 10 > names.len() * 9, "{compared} of {}", names.len());
}

/// A network quantized by our own placement, with the ranges of its input.
fn quantized(graph: &Graph, target: Target) -> Graph {
    let graph = normalise(graph.clone()).expect("it is normalised");
    let x = Tensor::new(graph.ty(graph.inputs()[0]).expect("typed").shape.clone(), input(&graph));
    let seen = interpreter::run_all(&graph, &[x.expect("as many as the shape holds")]);
    let mut ranges: BTreeMap<ValueId, Range> = BTreeMap::new();
    for (v, tensor) in seen.expect("it runs") {
        let elements = tensor.to_f64().expect("numbers");
        let low = elements.iter().fold(f64::INFINITY, |a, &b| a.min(b));
        let high = elements.iter().fold(f64::NEG_INFINITY, |a, &b| a.max(b));
        ranges.insert(v, Range::new(low as f32, high as f32));
    }
    let pixel = QuantParams::per_tensor(1.0 / 255.0, 0, DataType::U8).expect("valid");
    let plan = quant::plan(&graph, &ranges, &pixel, target, &BTreeSet::new()).expect("a plan");
    quant::apply(&graph, &plan).expect("it is quantized")
}

/// Quantized values against the imitation of quantized values in f32: sums of quantized values are exact, sums in f32 are not, so that a value on the border
/// of two quantized values may fall to either, which later layers spread; nothing else may differ. So the mean difference is a
/// hundredth of how far the outputs spread at most, and a wrong zero point, scale, pad or channel is many times that.
#[test]
fn random_quantized_models_compute_what_onnx_runtime_computes() {
    let Some(python) = python() else { return };
    let referee = Referee::new();
    let (targets, mut names) = (Target::quantizing(), Vec::new());
    for seed in 0..210 * times() {
        let graph = random_detector(seed + 1_000_000, 1 + (seed % 4) as usize);
        let ours = format!("ours{seed:05}");
        let target = targets[seed as usize % targets.len()];
        let model = onnx::encode(&quantized(&graph, target)).expect("it is written");
        referee.give(&ours, "onnx", &model, &input(&graph));
        let kind = KINDS[seed as usize % KINDS.len()];
        let tools = format!("tools{seed:05}.{kind}");
        let model = onnx::encode(&graph).expect("it is written");
        referee.give(&tools, "float.onnx", &model, &input(&graph));
        names.extend([ours, tools]);
    }
    referee.ask(&python);
    let (mut compared, mut worst) = (0, BTreeMap::new());
    let mut wrong = Vec::new();
    for name in &names {
        let Some(expected) = referee.told(name) else {
            continue;
        };
        compared += 1;
        let graph = load(&referee.path(name, "onnx"));
        for (isa, found) in outputs(name, &graph, &input(&graph)) {
            let found = distance(&found, &expected).mean;
            let kind = name.split('.').nth(1).unwrap_or("ours");
            let worst = worst.entry(kind.to_owned()).or_insert(0f64);
            *worst = worst.max(found);
            if found > 0.01 {
                wrong.push(format!("{name} on {isa}: {found:e}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    println!("compared {compared} of {}, worst {worst:?}", names.len());
    assert!(compared * 10 > names.len() * 9, "{compared} of {}", names.len());
}
