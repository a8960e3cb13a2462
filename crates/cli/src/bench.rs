//! `bench`: size, MACs, memory, latency and energy of models, side by side.
use crate::args::{BenchArgs, CommonArgs, EngineName};
use crate::format::{NOT_AVAILABLE, grouped, joules, megabytes, percent};
use crate::model;
use crate::output::{Row, align_right, row, table, write_json};
use crate::plan_listing::{self, Listing};
use crate::{bench_cameras, engine, memory, streams, timing};
use anyhow::{Context, Result};
use observe::{Compared, Latency, Machine, Measured, Run, Runs, noise, runs_in_integers};
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
    /// What the machine was while they were timed; null where none was.
    machine: Option<Machine>,
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
    let record = measure(args, common)?;
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

/// Reads a model for its engine.
fn open(args: &BenchArgs, common: &CommonArgs, path: &Path) -> Result<Opened> {
    let mut model = model::read(path, &args.reading.reading())?;
    let timed = match common.engine {
        EngineName::Builtin => {
            model.graph = ir::normalise(model.graph)?.into_graph();
            builtin(&model, common)?
        }
        EngineName::Onnxruntime => onnx_runtime(&model, common)?,
    };
    Ok(Opened { model, timed })
}

/// A model, ready to be timed.
struct Opened {
    model: Model,
    timed: Timed,
}

impl Opened {
    fn infer(&mut self) -> Result<(), YoloError> {
        self.timed.network.infer_elements(&self.timed.inputs.slices()).map(|_| ())
    }
}

/// The peak memory of reading a model and running it once, which another one that is still there would add to.
fn peak_rss_bytes(args: &BenchArgs, common: &CommonArgs, path: &Path) -> Result<Option<u64>> {
    memory::forget_peak();
    open(args, common, path)?.infer()?;
    Ok(memory::peak_rss_bytes())
}

fn measure(args: &BenchArgs, common: &CommonArgs) -> Result<Record> {
    let named = |path: &Path| path.display().to_string();
    let mut peaks = Vec::with_capacity(args.models.len());
    let mut opened = Vec::with_capacity(args.models.len());
    for path in &args.models {
        peaks.push(peak_rss_bytes(args, common, path).with_context(|| named(path))?);
    }
    for path in &args.models {
        opened.push(open(args, common, path).with_context(|| named(path))?);
    }
    let (measured, machine) = match time(&mut opened, args, common)? {
        Some(compared) => (compared.measured, Some(compared.machine)),
        None => (vec![], None),
    };
    let mut measured = measured.into_iter();
    let models = opened.into_iter().zip(peaks).map(|(opened, peak_rss_bytes)| {
        let measured = if opened.timed.honest { measured.next() } else { None };
        let path = opened.model.path.clone();
        let record = ModelRecord::new(args, common, opened, measured, peak_rss_bytes);
        record.with_context(|| named(&path))
    });
    Ok(Record { models: models.collect::<Result<_>>()?, machine })
}

/// Times those models whose time says something, in turns; `None` where there are none.
fn time(opened: &mut [Opened], args: &BenchArgs, common: &CommonArgs) -> Result<Option<Compared>> {
    let honest = opened.iter_mut().filter(|opened| opened.timed.honest);
    let run = |opened| -> Run<'_, YoloError> {
        let opened: &mut Opened = opened;
        Box::new(|| opened.infer())
    };
    let mut runs: Vec<Run<'_, YoloError>> = honest.map(run).collect();
    if runs.is_empty() {
        return Ok(None);
    }
    let count = Runs { warmup: args.warmup, timed: args.runs };
    Ok(Some(Compared::of_runs(&mut runs, engine::threads(common), count)?))
}

impl ModelRecord {
    fn new(
        args: &BenchArgs,
        common: &CommonArgs,
        opened: Opened,
        measured: Option<Measured>,
        peak_rss_bytes: Option<u64>,
    ) -> Result<Self> {
        let Opened { model, timed } = opened;
        let latency_ms = measured.map(|m| m.latency);
        let threads = engine::threads(common);
        let listed = timed.plan.as_ref().filter(|_| args.plan);
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
        Ok(Self {
            model: model.path.display().to_string(),
            file_bytes: model.file_bytes,
            params: model.graph.params(),
            macs: model.graph.macs(),
            int8_macs_share: quant::int8_macs_share(&model.graph),
            arena_bytes: timed.plan.map(|plan| plan.arena_bytes()),
            peak_rss_bytes,
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
    row("95 % interval", |m| figure(m.latency_ms.as_ref(), timing::interval), |_| None),
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
    say!(
        "engine {}{}, {} threads{}",
        first.engine,
        first.isa.as_ref().map_or(String::new(), |i| format!(" ({i})")),
        first.threads,
        timed(record)
    );
    if let Some(machine) = &record.machine {
        say!("{}", timing::machine(machine));
    }
    print_notes(record);
    for m in &record.models {
        if let Some(plan) = &m.plan {
            plan.print(&m.model);
        }
    }
}

/// How often models ran.
fn timed(record: &Record) -> String {
    let latencies: Vec<Latency> = record.models.iter().filter_map(|m| m.latency_ms).collect();
    let Some(first) = latencies.first() else {
        return String::new();
    };
    let warmup: Vec<String> = latencies.iter().map(|l| l.warmup_runs.to_string()).collect();
    let turns = if latencies.len() > 1 { ", the models in turn" } else { "" };
    let (runs, rounds) = (first.runs, first.rounds);
    format!("; {runs} runs in {rounds} rounds{turns}, after {} to warm up", warmup.join(", "))
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
