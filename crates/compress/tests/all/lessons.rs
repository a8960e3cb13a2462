//! A detector that is quantized thoroughly learns from another one, where that is given.
use compress::{
    HeadPrecision, HeadedModel, Lessons, QuantizeBudget, QuantizeOptions, Quantized,
    quantize_detector,
};
use ir::{Graph, Tensor};
use observe::{Engine, ImageSet, Model, Observation};
use quant::{AUTO, BUILTIN};
use std::cell::RefCell;
use testkit::tiny_folder::TinyFolder;
use yolo::Dataset;
use yolo::families::{self, Head};

const STEPS: usize = 40;

struct Subject {
    graph: Graph,
    head: Head,
    images: ImageSet,
}

impl Subject {
    fn observation<'a>(&'a self, graph: &'a Graph) -> Observation<'a> {
        Observation {
            model: Model::new(graph, &self.head),
            images: &self.images,
            engine: Engine { threads: 2, ..Engine::default() },
            progress: &|_| (),
        }
    }

    /// The detector, and the losses of the images that its learning held out, in order.
    fn quantized(&self, graph: &Graph, lessons: Option<Lessons<'_>>) -> (Quantized, Vec<f64>) {
        let options = QuantizeOptions {
            target: BUILTIN,
            calibrator: &AUTO,
            budget: QuantizeBudget::Thorough,
            explain: false,
            head: HeadPrecision::default(),
            float: vec![],
            lessons,
        };
        let losses = RefCell::new(vec![]);
        let log = |line: &str| {
            let told = line.split_once("held-out images: loss ").map(|(_, loss)| loss);
            let loss = told.and_then(|loss| loss.split(',').next()?.parse::<f64>().ok());
            losses.borrow_mut().extend(loss);
        };
        let quantized = quantize_detector(&self.observation(graph), &options, &log).unwrap();
        (quantized, losses.into_inner())
    }
}

/// A detector of which all kernels are larger, as if something had gone wrong with it.
fn worse(graph: &Graph) -> Graph {
    let mut worse = graph.clone();
    let mut edit = worse.edit();
    for (v, value) in graph.values() {
        let Some(kernel) = value.constant.as_ref().filter(|t| t.shape().len() == 4) else {
            continue;
        };
        let larger = kernel.as_slice::<f32>().unwrap().iter().map(|w| 1.3 * w).collect();
        let larger = Tensor::new(kernel.shape().to_vec(), larger).unwrap();
        let larger = edit.constant(&value.name, larger);
        edit.replace_uses(v, larger);
    }
    worse.apply(edit).unwrap();
    ir::normalise(worse).unwrap().into_graph()
}

#[test]
fn quantize_thoroughly_with_lessons_comes_nearer_to_their_teacher() {
    let folder = TinyFolder::new(24, 1);
    let graph = ir::normalise(testkit::tiny::detector()).unwrap().into_graph();
    let head = families::identify(&graph, None).unwrap();
    let dataset = Dataset::open(&folder.path("data.yaml"), "train").unwrap();
    let subject = Subject { graph, head, images: ImageSet::from(&dataset) };
    let student = worse(&subject.graph);
    let teacher = HeadedModel { graph: &subject.graph, head: &subject.head };
    let lessons = Lessons { teacher, images: &subject.images, steps: STEPS };
    let (of_itself, without) = subject.quantized(&student, None);
    let (learnt, with) = subject.quantized(&student, Some(lessons));
    let named = |q: &Quantized, step: &str| q.steps.iter().any(|s| s.step == step && s.kept);
    assert!(named(&learnt, &format!("{STEPS} steps of learning")), "{:?}", learnt.steps);
    assert!(!named(&of_itself, &format!("{STEPS} steps of learning")), "{:?}", of_itself.steps);
    // It is farther from the other detector than from its own float form, and comes nearer to it.
    let [start, best] = [with[0], with.iter().copied().fold(f64::INFINITY, f64::min)];
    assert!(start > without[0] && best < start, "{without:?} without, {with:?} with lessons");
}
