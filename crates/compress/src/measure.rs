//! A stage's model, measured: size, accuracy, speed.

use std::sync::Arc;

use ir::{Graph, normalise};
use runtime::{Plan, PlanOptions};
use serde::{Deserialize, Serialize};
use yolo::metrics::{CocoEvaluator, Matches, Metrics};
use yolo::{
    BadInput, CompiledDetector, Dataset, Doubt, Thresholds, evaluate_detector, read_results,
    read_size, results_json,
};

use crate::{CompressError, Latency, RunDir, Runs};

/// Confidence and overlap at which accuracy is measured.
pub const THRESHOLDS: Thresholds = Thresholds {
    conf: 0.001,
    iou: 0.7,
};

/// A stage's model, measured.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct StageRecord {
    /// Size of the file.
    pub file_bytes: u64,
    /// Learned parameters.
    pub params: u64,
    /// Multiply-accumulate operations.
    pub macs: u64,
    /// Share of the MACs in INT8.
    pub int8_macs_share: f64,
    /// Memory of one session's arena in our engine.
    pub arena_bytes: usize,
    /// In our engine; `None` where it evaluates INT8 in float, whose time says nothing.
    pub latency_ms: Option<Latency>,
    /// Of one inference, in joules, where the processor's counters can be read.
    pub energy_j: Option<f64>,
    /// Accuracy.
    #[serde(flatten)]
    pub metrics: Metrics,
}

/// What needs no images to be known.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(crate) struct Size {
    pub(crate) params: u64,
    pub(crate) macs: u64,
    pub(crate) int8_macs_share: f64,
    pub(crate) arena_bytes: usize,
    pub(crate) latency_ms: Option<Latency>,
    pub(crate) energy_j: Option<f64>,
}

/// Accuracy, as a stage keeps it; the detections are in a file beside.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Accuracy {
    pub(crate) metrics: Metrics,
    /// Whether the model was probably misread.
    pub(crate) doubt: Option<Doubt>,
    pub(crate) bad_images: Vec<BadInput>,
}

/// Whether our engine runs at least 99 % of what is quantized in the graph on integers, so that its time says something.
pub fn runs_as_it_is(graph: &Graph, plan: &Plan) -> bool {
    let steps = plan.steps();
    let integer: u64 = steps.iter().filter(|s| s.is_integer).map(|s| s.macs).sum();
    integer as f64 >= 0.99 * quant::quantized_macs_share(graph) * graph.macs() as f64
}

/// How often a stage's model runs when it is timed.
const RUNS: Runs = Runs {
    warmup: 3,
    timed: 20,
};

/// Parameters, MACs, memory, and the time and energy of some runs.
pub(crate) fn size(
    graph: &Graph,
    options: &PlanOptions,
    threads: usize,
) -> Result<Size, CompressError> {
    let graph = normalise(graph.clone())?;
    let plan = Arc::new(Plan::compile(&graph, &[], options)?);
    let timed = match runs_as_it_is(&graph, &plan) {
        true => Some(Latency::measure(&graph, &plan, threads, RUNS)?),
        false => None,
    };
    Ok(Size {
        params: graph.params(),
        macs: graph.macs(),
        int8_macs_share: quant::int8_macs_share(&graph),
        arena_bytes: plan.arena_bytes(),
        latency_ms: timed.map(|(latency, _)| latency),
        energy_j: timed.and_then(|(_, energy_j)| energy_j),
    })
}

/// Accuracy on a data set; detections go into the file `dets` of the run directory.
pub(crate) fn accuracy(
    (graph, family): (&Graph, &str),
    dataset: &Dataset,
    (options, threads): (&PlanOptions, usize),
    (run, dets): (&RunDir, &str),
    progress: &(dyn Fn(usize) + Sync),
) -> Result<Accuracy, CompressError> {
    let detector = CompiledDetector::compile(graph, Some(family), options)?;
    let evaluation = evaluate_detector(&detector, dataset, THRESHOLDS, threads, progress)?;
    run.write(dets, &results_json(&evaluation.results))?;
    Ok(Accuracy {
        metrics: evaluation.metrics,
        doubt: evaluation.doubt,
        bad_images: evaluation.bad_images,
    })
}

/// Matches of the detections that [`accuracy`] kept.
pub(crate) fn matches(
    accuracy: &Accuracy,
    dataset: &Dataset,
    (run, dets): (&RunDir, &str),
) -> Result<Matches, CompressError> {
    let size = |image: &yolo::ImageItem| {
        let bad = accuracy.bad_images.iter().any(|b| b.file == image.path);
        if bad {
            None
        } else {
            read_size(&image.path).ok()
        }
    };
    let sizes: Vec<Option<(u32, u32)>> = dataset.images.iter().map(size).collect();
    let results = read_results(&run.file(dets))?;
    Ok(CocoEvaluator::new(&dataset.ground_truth(&sizes)).evaluate(&results)?)
}
