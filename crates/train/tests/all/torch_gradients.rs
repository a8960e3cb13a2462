//! Gradients of small graphs and of whole detectors against PyTorch's, where a Python with it is found
//! (`YOLOSLIM_TORCH_PYTHON`; it needs `torch`, `onnx` and `numpy`).
use crate::nets;

use ir::{DataType, Graph, Tensor, TensorType, interpreter};
use numerics::Rng;
use std::path::{Path, PathBuf};
use std::process::Command;
use train::{Statistics, differentiate, parameters};

/// Largest distance of a parameter's gradient from PyTorch's, relative to the length of PyTorch's.
const ALLOWED: f64 = 1e-3;

/// Shorter ones count as so long: a bias receives nothing but rounding where what follows takes the mean away.
const LEAST: f64 = 1e-2;

fn python() -> Option<String> {
    let python = std::env::var("YOLOSLIM_TORCH_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let probe = Command::new(&python).args(["-c", "import torch, onnx, numpy"]).output();
    probe.is_ok_and(|o| o.status.success()).then_some(python)
}

fn random(rng: &mut Rng, ty: &TensorType) -> Tensor {
    let elements: Vec<f32> = (0..ty.elements()).map(|_| rng.signed()).collect();
    Tensor::new(ty.shape.clone(), elements).expect("as many elements as the shape has")
}

fn write(path: PathBuf, tensor: &Tensor) {
    let elements = tensor.as_slice::<f32>().expect("an f32 tensor");
    let bytes: Vec<u8> = elements.iter().flat_map(|v| v.to_le_bytes()).collect();
    std::fs::write(path, bytes).expect("the folder can be written");
}

fn doubles(path: &Path) -> Vec<f64> {
    let bytes = std::fs::read(path).expect("the referee wrote every gradient");
    let number = |b: &[u8]| f64::from_le_bytes(b.try_into().expect("eight bytes"));
    bytes.chunks_exact(8).map(number).collect()
}

fn length(vector: impl Iterator<Item = f64>) -> f64 {
    vector.map(|v| v * v).sum::<f64>().sqrt()
}

/// A graph in a folder of its own, with random inputs and output gradients, and what this room makes of them.
struct Subject {
    name: String,
    folder: tempfile::TempDir,
    /// Name and gradient of every parameter.
    gradients: Vec<(String, Tensor)>,
}

impl Subject {
    fn new(name: &str, graph: &Graph, statistics: Statistics) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let model = onnx::encode(graph).expect(name);
        std::fs::write(folder.path().join("model.onnx"), model).expect(name);
        if statistics == Statistics::OfRun {
            std::fs::write(folder.path().join("of_run"), "").expect(name);
        }
        let mut rng = Rng::new(1);
        let mut inputs = Vec::new();
        for (prefix, values) in [("x", graph.inputs()), ("dy", graph.outputs())] {
            for (i, &value) in values.iter().enumerate() {
                let tensor = random(&mut rng, graph.ty(value).expect(name));
                write(folder.path().join(format!("{prefix}{i}")), &tensor);
                inputs.push(tensor);
            }
        }
        let parameters = parameters(graph);
        let training = differentiate(graph, &parameters, statistics).expect(name);
        let results = interpreter::run(&training.graph, &inputs).expect(name);
        let names = parameters.iter().map(|&p| graph.value(p).name.clone());
        let gradients = names.zip(results.into_iter().skip(graph.outputs().len())).collect();
        Self { name: name.to_owned(), folder, gradients }
    }

    fn check(&self) {
        assert!(!self.gradients.is_empty(), "{}", self.name);
        for (parameter, found) in &self.gradients {
            let file = parameter.replace(|c: char| !c.is_ascii_alphanumeric(), "_");
            let expected = doubles(&self.folder.path().join("gradients").join(file));
            let found = found.to_f64().expect("a gradient of floats");
            assert_eq!(found.len(), expected.len(), "{}: {parameter}", self.name);
            let distance = length(found.iter().zip(&expected).map(|(a, b)| a - b));
            let error = distance / length(expected.into_iter()).max(LEAST);
            assert!(error <= ALLOWED, "{}: {parameter}: {error:e}", self.name);
        }
    }
}

fn compare(subjects: Vec<Subject>) {
    let Some(python) = python() else {
        println!("skipped: gradients (no torch and onnx in python3 or YOLOSLIM_TORCH_PYTHON)");
        return;
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/torch_gradients.py");
    let folders = subjects.iter().map(|s| s.folder.path());
    let referee = Command::new(python).arg(script).args(folders).output();
    let referee = referee.expect("Python starts");
    let said = String::from_utf8_lossy(&referee.stderr);
    assert!(referee.status.success(), "{said}");
    subjects.iter().for_each(Subject::check);
}

#[test]
fn gradients_of_small_graphs_equal_pytorch() {
    let nets = nets::all();
    let subject = |(name, graph): &(&str, Graph)| Subject::new(name, graph, Statistics::Frozen);
    compare(nets.iter().map(subject).collect());
}

#[test]
fn gradients_with_statistics_of_three_images_equal_pytorch() {
    let (name, graph) = nets::all().remove(0);
    let three = ir::with_batch(&graph, 3).expect(name);
    compare(vec![Subject::new(name, &three, Statistics::OfRun)]);
}

#[test]
fn gradients_of_whole_detectors_equal_pytorch() {
    let weights = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/assets/weights");
    if !weights.is_dir() {
        println!("skipped: gradients of whole detectors (no ../shared/assets)");
        return;
    }
    let models = ["yolov5n_coco_bn_op17.onnx", "yolov8n_deeppcb_320_fused_op17.onnx"];
    let subject = |name: &str| {
        let graph = onnx::load(&weights.join(name), &onnx::LoadOptions::default()).expect(name);
        Subject::new(name, &trunk(graph, 64), Statistics::Frozen)
    };
    compare(models.map(subject).into());
}

/// What leads to the head's output convolutions, for images of so many pixels.
fn trunk(graph: Graph, imgsz: usize) -> Graph {
    let mut graph = ir::canonicalise(graph).expect("a model that is read").into_graph();
    let convs = ir::find_tail(&graph).output_convs;
    let outputs: Vec<_> = convs.iter().map(|&id| graph.node(id).outputs[0]).collect();
    let mut edit = graph.edit();
    edit.set_outputs(&outputs);
    let image = TensorType::new(DataType::F32, [1, 3, imgsz, imgsz]);
    edit.set_type(graph.inputs()[0], image);
    graph.apply(edit).expect("a smaller image");
    graph
}
