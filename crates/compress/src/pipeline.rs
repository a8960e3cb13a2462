//! The whole way: baseline, prune, quantize, gate, with less pruning when the gate fails.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ir::{Graph, Op, rewrites};
use quant::Target;
use runtime::{Plan, PlanOptions};
use serde::Serialize;
use yolo::families::{self, Head};
use yolo::metrics::{Matches, Metrics, RatioInterval, paired_bootstrap};
use yolo::{CompiledDetector, Dataset, Thresholds, evaluate_detector};

use crate::{CompressError, Latency, Observation, PruneBudget, prune_detector, quantize_detector};

/// Confidence and overlap at which accuracy is measured.
const THRESHOLDS: Thresholds = Thresholds {
    conf: 0.001,
    iou: 0.7,
};
const BOOTSTRAP_ROUNDS: usize = 1000;

/// What `compress` is to do.
#[derive(Clone, Debug)]
pub struct CompressOptions<'a> {
    /// Share of the baseline's mAP that must be kept.
    pub keep: f64,
    /// Whether the lower end of the interval must keep it.
    pub strict: bool,
    /// Shares of the MACs to remove, tried in order until the gate passes.
    pub macs_ratios: Vec<f64>,
    /// Pruning criterion.
    pub criterion: &'a str,
    /// Engine that will run the model.
    pub target: Target,
    /// How ranges are chosen.
    pub calibrator: &'a str,
    /// Seed of everything drawn.
    pub seed: u64,
    /// How plans are compiled.
    pub engine: PlanOptions,
    /// Images in flight, and threads of one inference when it is timed.
    pub threads: usize,
}

/// Data of the pipeline: images to look at while changing the model, and the split that judges it.
pub struct CompressData<'a> {
    /// Calibration images, none of them of `val`.
    pub calibration: &'a [PathBuf],
    /// Read by the gate alone.
    pub val: &'a Dataset,
}

/// A stage's model, measured.
#[derive(Clone, Debug, Serialize)]
pub struct StageRecord {
    /// Size of the ONNX file.
    pub file_bytes: u64,
    /// Learned parameters.
    pub params: u64,
    /// Multiply-accumulate operations.
    pub macs: u64,
    /// Share of the MACs in INT8.
    pub int8_macs_share: f64,
    /// None for a quantized graph: it is evaluated by fake quantization in float, whose latency says nothing.
    pub latency_ms: Option<Latency>,
    /// Accuracy.
    #[serde(flatten)]
    pub metrics: Metrics,
}

/// One try at passing the gate.
#[derive(Clone, Debug, Serialize)]
pub struct Attempt {
    /// Share of the MACs that pruning was asked to remove.
    pub macs_ratio: f64,
    /// mAP over the baseline's.
    pub ratio: f64,
    /// Lower end of the 95 % interval.
    pub lower_bound: f64,
    /// Upper end.
    pub upper_bound: f64,
    /// Whether the gate passed.
    pub passed: bool,
}

/// The gate's verdict.
#[derive(Clone, Debug, Serialize)]
pub struct Gate {
    /// Share of the baseline's mAP asked for.
    pub keep: f64,
    /// Whether the lower bound had to keep it.
    pub strict: bool,
    /// The last attempt's ratio.
    pub ratio: f64,
    /// The last attempt's lower bound.
    pub lower_bound: f64,
    /// The verdict.
    pub passed: bool,
    /// All attempts, in order.
    pub attempts: Vec<Attempt>,
}

/// `metrics.json`.
#[derive(Clone, Debug, Serialize)]
pub struct CompressRecord {
    /// The model as it came.
    pub baseline: StageRecord,
    /// After pruning, in float.
    pub pruned: StageRecord,
    /// The result.
    pub quantized: StageRecord,
    /// The verdict.
    pub gate: Gate,
}

/// Runs the pipeline and writes `pruned.onnx`, `prune.plan.json`, `model.onnx`, `quant.plan.json` and `metrics.json` into `run_dir`.
///
/// A failed gate is no error: everything is written and `gate.passed` is false.
///
/// # Errors
/// As the stages; `Write` and `Onnx` when the folder refuses.
pub fn compress_detector(
    (source, source_bytes, family): (&Graph, u64, Option<&str>),
    data: &CompressData<'_>,
    options: &CompressOptions<'_>,
    run_dir: &Path,
    say: &(dyn Fn(&str) + Sync),
) -> Result<CompressRecord, CompressError> {
    fs::create_dir_all(run_dir).map_err(|source| CompressError::Write {
        path: run_dir.to_owned(),
        source,
    })?;
    let mut graph = source.clone();
    for rewrite in rewrites::REWRITES {
        rewrites::apply(&mut graph, rewrite)?;
    }
    let head = families::identify(&graph, family)?;
    say("baseline: measuring accuracy");
    let (baseline, expected) = measure(&graph, source_bytes, &head, data.val, options)?;
    let mut attempts = Vec::new();
    loop {
        let macs_ratio = options
            .macs_ratios
            .get(attempts.len())
            .copied()
            .unwrap_or(0.0);
        let (pruned_graph, quantized_graph) =
            shrink((&graph, &head), data, options, macs_ratio, (run_dir, say))?;
        say("gate: measuring accuracy");
        let size = |name: &str| fs::metadata(run_dir.join(name)).map_or(0, |m| m.len());
        let (quantized, found) = measure(
            &quantized_graph,
            size("model.onnx"),
            &head,
            data.val,
            options,
        )?;
        let interval = paired_bootstrap(&expected, &found, options.seed, BOOTSTRAP_ROUNDS)?;
        let attempt = judge(&interval, macs_ratio, options);
        let last = attempt.passed || attempts.len() + 1 >= options.macs_ratios.len();
        attempts.push(attempt.clone());
        if !last {
            say("gate: failed, trying again with less pruning");
            continue;
        }
        let (pruned, _) = measure(&pruned_graph, size("pruned.onnx"), &head, data.val, options)?;
        let gate = Gate {
            keep: options.keep,
            strict: options.strict,
            ratio: attempt.ratio,
            lower_bound: attempt.lower_bound,
            passed: attempt.passed,
            attempts,
        };
        let record = CompressRecord {
            baseline,
            pruned,
            quantized,
            gate,
        };
        write_json(&run_dir.join("metrics.json"), &record)?;
        return Ok(record);
    }
}

fn judge(interval: &RatioInterval, macs_ratio: f64, options: &CompressOptions<'_>) -> Attempt {
    let judged = if options.strict {
        interval.lower
    } else {
        interval.ratio
    };
    Attempt {
        macs_ratio,
        ratio: interval.ratio,
        lower_bound: interval.lower,
        upper_bound: interval.upper,
        passed: judged >= options.keep,
    }
}

/// Prunes and quantizes, and writes both models with their plans.
fn shrink(
    (graph, head): (&Graph, &Head),
    data: &CompressData<'_>,
    options: &CompressOptions<'_>,
    macs_ratio: f64,
    (run_dir, say): (&Path, &(dyn Fn(&str) + Sync)),
) -> Result<(Graph, Graph), CompressError> {
    let observe = |graph| Observation {
        graph,
        head,
        images: data.calibration,
        options: options.engine,
        threads: options.threads,
        progress: &|_| (),
    };
    say(&format!(
        "prune: {:.1} % of the MACs by {}",
        100.0 * macs_ratio,
        options.criterion
    ));
    let pruned = prune_detector(
        &observe(graph),
        options.criterion,
        PruneBudget::Macs(macs_ratio),
        true,
    )?;
    onnx::save(&pruned.graph, &run_dir.join("pruned.onnx"))?;
    write_json(&run_dir.join("prune.plan.json"), &pruned.plan)?;
    say(&format!(
        "quantize: {} images, {}",
        data.calibration.len(),
        options.calibrator
    ));
    let quantized =
        quantize_detector(&observe(&pruned.graph), &options.target, options.calibrator)?;
    for bad in &quantized.bad_images {
        say(&format!("skipped image: {bad}"));
    }
    let (bad, images) = (quantized.bad_images.len(), data.calibration.len());
    if bad > 3.max(images / 100) {
        return Err(CompressError::TooManyBadImages { bad, images });
    }
    onnx::save(&quantized.graph, &run_dir.join("model.onnx"))?;
    write_json(&run_dir.join("quant.plan.json"), &quantized.plan)?;
    Ok((pruned.graph, quantized.graph))
}

fn measure(
    graph: &Graph,
    file_bytes: u64,
    head: &Head,
    val: &Dataset,
    options: &CompressOptions<'_>,
) -> Result<(StageRecord, Matches), CompressError> {
    let detector = CompiledDetector::compile(graph, Some(head.family.name), &options.engine)?;
    let evaluation = evaluate_detector(&detector, val, THRESHOLDS, options.threads, &|_| ())?;
    let quantized = graph
        .nodes()
        .any(|(_, n)| matches!(n.op, Op::QuantizeLinear(_)));
    let plan: &Arc<Plan> = &detector.plan;
    let latency_ms = if quantized {
        None
    } else {
        Some(Latency::measure(graph, plan, options.threads, (3, 20))?)
    };
    let record = StageRecord {
        file_bytes,
        params: graph.params(),
        macs: graph.macs(),
        int8_macs_share: quant::int8_macs_share(graph),
        latency_ms,
        metrics: evaluation.metrics,
    };
    Ok((record, evaluation.matches))
}

fn write_json(path: &Path, record: &impl Serialize) -> Result<(), CompressError> {
    let failed = |source| CompressError::Write {
        path: path.to_owned(),
        source,
    };
    let text = serde_json::to_string_pretty(record).map_err(|e| failed(e.into()))?;
    crate::write_file(path, text.as_bytes()).map_err(failed)
}
