//! `bench`: size, MACs, memory and latency of models, side by side.
use crate::args::BenchArgs;
use crate::engine;
use crate::output::{align_right, grouped, megabytes, table, write_json};
use anyhow::{Context, Result};
use compress::Latency;
use ir::{Op, rewrites};
use runtime::Plan;
use serde::Serialize;
use std::path::Path;
use std::sync::Arc;

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
    arena_bytes: usize,
    /// Of the whole process so far: meaningful for the first model.
    peak_rss_bytes: Option<u64>,
    /// None for a quantized graph: it is evaluated by fake quantization in float, whose latency says nothing.
    latency_ms: Option<Latency>,
    images_per_s: Option<f64>,
    /// Not measured.
    energy_j: Option<f64>,
    engine: &'static str,
    isa: String,
    threads: usize,
    runs: u32,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    plan: Vec<StepRecord>,
}

#[derive(Debug, Serialize)]
struct StepRecord {
    name: String,
    kind: String,
    macs: u64,
}

/// Runs the verb.
pub(crate) fn run(args: &BenchArgs) -> Result<()> {
    let models = args
        .models
        .iter()
        .map(|m| measure(args, m).with_context(|| m.display().to_string()));
    let record = Record {
        models: models.collect::<Result<_>>()?,
    };
    print(&record);
    write_json(args.json.as_deref(), &record)
}

fn measure(args: &BenchArgs, path: &Path) -> Result<ModelRecord> {
    let options = engine::options(&args.engine)?;
    let threads = engine::threads(&args.engine);
    let mut graph = onnx::load(
        path,
        &onnx::LoadOptions {
            imgsz: args.imgsz,
            ..Default::default()
        },
    )?;
    for rewrite in rewrites::REWRITES {
        rewrites::apply(&mut graph, rewrite)?;
    }
    let plan = Arc::new(Plan::compile(&graph, &[], &options)?);
    let quantized = graph
        .nodes()
        .any(|(_, n)| matches!(n.op, Op::QuantizeLinear(_)));
    let latency_ms = if quantized {
        None
    } else {
        Some(Latency::measure(
            &graph,
            &plan,
            threads,
            (args.warmup, args.runs),
        )?)
    };
    let steps = plan.steps();
    let plan_rows = steps.iter().map(|s| StepRecord {
        name: s.name.clone(),
        kind: s.kind.to_string(),
        macs: s.macs,
    });
    Ok(ModelRecord {
        model: path.display().to_string(),
        file_bytes: std::fs::metadata(path)?.len(),
        params: graph.params(),
        macs: graph.macs(),
        arena_bytes: plan.arena_bytes(),
        peak_rss_bytes: peak_rss_bytes(),
        latency_ms,
        images_per_s: latency_ms.map(|l| 1e3 / l.median),
        energy_j: None,
        engine: "builtin",
        isa: options.isa.to_string(),
        threads,
        runs: args.runs,
        plan: if args.plan {
            plan_rows.collect()
        } else {
            vec![]
        },
    })
}

/// Peak resident memory of this process, where the system tells.
fn peak_rss_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|l| l.starts_with("VmHWM:"))?;
    line.split_whitespace()
        .nth(1)?
        .parse::<u64>()
        .ok()
        .map(|kib| kib * 1024)
}

fn print(record: &Record) {
    let mut rows = table(&[
        "model",
        "file",
        "parameters",
        "MACs",
        "arena",
        "latency, median",
        "p90",
        "images/s",
        "to first",
    ]);
    let first = record.models[0].latency_ms;
    for m in &record.models {
        let ms = |f: fn(&Latency) -> f64| {
            m.latency_ms
                .as_ref()
                .map_or("–".to_owned(), |l| format!("{:.2} ms", f(l)))
        };
        let ratio = m.latency_ms.zip(first).map_or("–".to_owned(), |(l, f)| {
            format!("{:.3}", l.median / f.median)
        });
        rows.add_row([
            m.model.clone(),
            megabytes(m.file_bytes),
            grouped(m.params),
            grouped(m.macs),
            megabytes(m.arena_bytes as u64),
            ms(|l| l.median),
            ms(|l| l.p90),
            m.images_per_s.map_or("–".to_owned(), |v| format!("{v:.1}")),
            ratio,
        ]);
    }
    align_right(&mut rows, 1);
    println!("{rows}");
    let m = &record.models[0];
    println!(
        "engine {} ({}), {} threads, {} runs; peak memory of the process {}",
        m.engine,
        m.isa,
        m.threads,
        m.runs,
        m.peak_rss_bytes
            .map_or("not available".to_owned(), megabytes)
    );
    for m in record.models.iter().filter(|m| m.latency_ms.is_none()) {
        println!(
            "{}: quantized; evaluated by fake quantization in float, so no latency is shown",
            m.model
        );
    }
    for m in record.models.iter().filter(|m| !m.plan.is_empty()) {
        let mut steps = table(&["step", "kind", "MACs"]);
        for s in &m.plan {
            steps.add_row([s.name.clone(), s.kind.clone(), grouped(s.macs)]);
        }
        align_right(&mut steps, 2);
        println!("{}\n{steps}", m.model);
    }
}
