//! `bench`: size, MACs, memory, latency and energy of models, side by side.
use crate::args::{BenchArgs, CommonArgs, EngineName};
use crate::format::{NOT_AVAILABLE, grouped, joules, megabytes, percent};
use crate::model;
use crate::output::{Row, align_right, row, table, write_json};
use crate::plan_listing::{self, Listing};
use crate::progress::Progress;
use crate::{bench_cameras, engine, memory, streams};
use anyhow::{Context, Result};
use observe::{Latency, Measured, Runs, noise, runs_in_integers};
use runtime::{Plan, Session};
use serde::Serialize;
use std::path::Path;
use std::sync::Arc;
use yolo::{Network, Planes, YoloError};
use yoloslim::Model;

/// The keys of `--json`.
#[derive(Debug, Serialize)]
struct Record {
    models: Vec<ModelRecord>,
}

#[derive(Debug, Serialize)]
struct ModelRecord {
    model: String,
    file_bytes: u64,
    params: u64,
    macs: u64,
    int8_macs_share: f64,
    /// Null on an engine that does not tell.
    arena_bytes: Option<usize>,
    /// Of the process while this model was read and run, where the system tells.
    peak_rss_bytes: Option<u64>,
    /// Null for a quantized graph of which our engine runs a part in float: that latency says nothing.
    latency_ms: Option<Latency>,
    images_per_s: Option<f64>,
    /// Of `--streams` inferences at once, each on one thread.
    streams_images_per_s: Option<f64>,
    /// Of one inference, the whole processor; null where no counter can be read, or there is no latency.
    energy_j: Option<f64>,
    engine: &'static str,
    isa: Option<String>,
    threads: usize,
    runs: u32,
    /// Types of floats in the file other than f32; our engine computes in f32.
    other_floats: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    plan: Option<Listing>,
}

/// Runs the verb.
pub(crate) fn run(args: &BenchArgs, common: &CommonArgs) -> Result<()> {
    if !args.video.is_empty() {
        return bench_cameras::run(args, common);
    }
    let progress = Progress::new("models", args.models.len());
    let mut models = Vec::with_capacity(args.models.len());
    for (i, path) in args.models.iter().enumerate() {
        let measured = measure(args, common, path);
        models.push(measured.with_context(|| path.display().to_string())?);
        progress.at(i + 1);
    }
    drop(progress);
    let record = Record { models };
    print(&record);
    write_json(common.json.as_deref(), &record)
}

/// A network that can be timed, and what its engine tells about it.
struct Timed {
    network: Box<dyn Network>,
    inputs: Planes,
    plan: Option<Arc<Plan>>,
    /// Whether the time says something.
    honest: bool,
}

fn builtin(model: &Model, common: &CommonArgs) -> Result<Timed> {
    let graph = &model.graph;
    let plan = Arc::new(Plan::compile(graph, &[], &engine::options(common)?)?);
    let honest = runs_in_integers(graph, &plan);
    Ok(Timed {
        network: Box::new(Session::new(&plan, engine::threads(common))?),
        inputs: inputs(model)?,
        plan: Some(plan),
        honest,
    })
}

fn onnx_runtime(model: &Model, common: &CommonArgs) -> Result<Timed> {
    let library = engine::onnx_runtime(common)?;
    let network = library.network(model, engine::threads(common))?;
    Ok(Timed { network: Box::new(network), inputs: inputs(model)?, plan: None, honest: true })
}

/// Numbers for every input, whatever the model predicts.
fn inputs(model: &Model) -> Result<Planes> {
    let elements = |&v: &ir::ValueId| Ok(noise(model.graph.ty(v)?.elements()));
    let inputs = model.graph.inputs().iter().map(elements);
    Ok(Planes(inputs.collect::<Result<_>>()?))
}

/// Networks of one thread each; on our engine they share the plan.
fn streams(
    timed: &Timed,
    model: &Model,
    common: &CommonArgs,
    count: u16,
) -> Result<Vec<Box<dyn Network>>> {
    let network = |_| -> Result<Box<dyn Network>> {
        Ok(match &timed.plan {
            Some(plan) => Box::new(Session::new(plan, 1)?),
            None => {
                let library = engine::onnx_runtime(common)?;
                Box::new(library.network(model, 1)?)
            }
        })
    };
    (0..count).map(network).collect()
}

fn measure(args: &BenchArgs, common: &CommonArgs, path: &Path) -> Result<ModelRecord> {
    memory::forget_peak();
    let mut model = model::read(path, &args.reading.reading())?;
    let mut timed = match common.engine {
        EngineName::Builtin => {
            model.graph = ir::normalise(model.graph)?.into_graph();
            builtin(&model, common)?
        }
        EngineName::Onnxruntime => onnx_runtime(&model, common)?,
    };
    let measured = if timed.honest { Some(time(&mut timed, args)?) } else { None };
    let latency_ms = measured.map(|m| m.latency);
    let listed = timed.plan.as_ref().filter(|_| args.plan);
    let threads = engine::threads(common);
    let plan = listed
        .map(|plan| plan_listing::list(plan, &timed.inputs, threads, args.runs))
        .transpose()?;
    let streams = match args.streams.filter(|_| timed.honest) {
        Some(count) => {
            let networks = streams(&timed, &model, common, count)?;
            let warmup = latency_ms.map_or(args.warmup, |l| l.warmup_runs);
            let inputs = &timed.inputs;
            Some(streams::images_per_s(networks, inputs, warmup, args.runs)?)
        }
        None => None,
    };
    Ok(ModelRecord {
        model: path.display().to_string(),
        file_bytes: model.file_bytes,
        params: model.graph.params(),
        macs: model.graph.macs(),
        int8_macs_share: quant::int8_macs_share(&model.graph),
        arena_bytes: timed.plan.map(|plan| plan.arena_bytes()),
        peak_rss_bytes: memory::peak_rss_bytes(),
        latency_ms,
        images_per_s: latency_ms.map(|l| 1e3 / l.median),
        streams_images_per_s: streams,
        energy_j: measured.and_then(|m| m.energy_j),
        engine: common.engine.name(),
        isa: engine::isa_name(common)?,
        threads,
        runs: args.runs,
        other_floats: model.widened.iter().map(ToString::to_string).collect(),
        plan,
    })
}

fn time(timed: &mut Timed, args: &BenchArgs) -> Result<Measured> {
    let inputs = timed.inputs.slices();
    let runs = Runs { warmup: args.warmup, timed: args.runs };
    let infer = || timed.network.infer(&inputs).map(|_| ());
    Ok(Measured::of_runs::<YoloError>(runs, infer)?)
}

const ROWS: &[Row<ModelRecord>] = &[
    row("file size", |m| megabytes(m.file_bytes), |m| Some(m.file_bytes as f64)),
    row("parameters", |m| grouped(m.params), |m| Some(m.params as f64)),
    row("MACs", |m| grouped(m.macs), |m| Some(m.macs as f64)),
    row("MACs in INT8", |m| percent(m.int8_macs_share), |_| None),
    row(
        "arena",
        |m| figure(m.arena_bytes, |b| megabytes(b as u64)),
        |m| m.arena_bytes.map(|b| b as f64),
    ),
    row(
        "peak memory",
        |m| m.peak_rss_bytes.map_or(NOT_AVAILABLE.to_owned(), megabytes),
        |m| m.peak_rss_bytes.map(|b| b as f64),
    ),
    row("latency, median", |m| milliseconds(m, |l| l.median), |m| m.latency_ms.map(|l| l.median)),
    row("latency, fastest", |m| milliseconds(m, |l| l.min), |m| m.latency_ms.map(|l| l.min)),
    row("latency, p90", |m| milliseconds(m, |l| l.p90), |m| m.latency_ms.map(|l| l.p90)),
    row("images/s", |m| figure(m.images_per_s, |v| format!("{v:.1}")), |m| m.images_per_s),
    row(
        "images/s, streams",
        |m| figure(m.streams_images_per_s, |v| format!("{v:.1}")),
        |m| m.streams_images_per_s,
    ),
    row("energy per image", |m| joules(m.energy_j), |m| m.energy_j),
    row("power", |m| power(m).map_or(NOT_AVAILABLE.to_owned(), |w| format!("{w:.1} W")), power),
];

/// A figure as text; a dash where there is none.
fn figure<T>(value: Option<T>, text: impl Fn(T) -> String) -> String {
    value.map_or("–".to_owned(), text)
}

fn milliseconds(m: &ModelRecord, figure: fn(&Latency) -> f64) -> String {
    self::figure(m.latency_ms.as_ref(), |l| format!("{:.2} ms", figure(l)))
}

fn power(m: &ModelRecord) -> Option<f64> {
    m.energy_j.zip(m.images_per_s).map(|(j, per_s)| j * per_s)
}

fn print(record: &Record) {
    let first = &record.models[0];
    let title = |i: usize, m: &ModelRecord| match (record.models.len(), i) {
        (2, 0) => format!("before\n{}", m.model),
        (2, _) => format!("after\n{}", m.model),
        _ => m.model.clone(),
    };
    let mut header = vec![String::new()];
    for (i, m) in record.models.iter().enumerate() {
        header.push(title(i, m));
        header.extend((i > 0).then(|| "change".to_owned()));
    }
    let mut rows = table(&header.iter().map(String::as_str).collect::<Vec<_>>());
    for row in ROWS {
        let mut cells = vec![row.name.to_owned()];
        for (i, m) in record.models.iter().enumerate() {
            cells.push((row.text)(m));
            let change = |(a, b)| format!("{:+.1} % ({:.2}x)", 100.0 * (b / a - 1.0), b / a);
            cells.extend((i > 0).then(|| figure(row.pair(first, m), change)));
        }
        rows.add_row(cells);
    }
    align_right(&mut rows, 1);
    say!("{rows}");
    let warmup = record.models.iter().filter_map(|m| m.latency_ms);
    let warmup: Vec<String> = warmup.map(|l| l.warmup_runs.to_string()).collect();
    say!(
        "engine {}{}, {} threads, {} timed runs{}",
        first.engine,
        first.isa.as_ref().map_or(String::new(), |i| format!(" ({i})")),
        first.threads,
        first.runs,
        if warmup.is_empty() {
            String::new()
        } else {
            format!(" after {} to warm up", warmup.join(", "))
        }
    );
    print_notes(record);
    for m in &record.models {
        if let Some(plan) = &m.plan {
            plan.print(&m.model);
        }
    }
}

/// What the table does not tell.
fn print_notes(record: &Record) {
    for m in record.models.iter().filter(|m| m.latency_ms.is_none()) {
        say!(
            "{}: no latency is shown, because less than 99 % of what is quantized runs in INT8 here (--plan lists the steps); --engine onnxruntime times the file as it is",
            m.model
        );
    }
    let builtin = |m: &&ModelRecord| m.engine == EngineName::Builtin.name();
    let widened = |m: &&ModelRecord| !m.other_floats.is_empty();
    for m in record.models.iter().filter(builtin).filter(widened) {
        let floats = m.other_floats.join(", ");
        say!("{}: its floats are {floats}; they are computed in f32", m.model);
    }
}
