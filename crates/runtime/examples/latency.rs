//! `latency MODEL.onnx [threads] [runs] [kinds|steps|json] [isa]`: latency of a model, and what its steps take at their fastest.
use kernels::Isa;
use runtime::{Plan, PlanOptions, Session};
use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let usage = "usage: latency MODEL.onnx [threads] [runs] [kinds|steps|json] [isa]";
    let model = arguments.first().ok_or(usage)?;
    let number = |i: usize, default| arguments.get(i).map_or(Ok(default), |s| s.parse());
    let (threads, runs) = (number(1, 2)?, number(2, 30)?);
    let isa = arguments.get(4).map_or(Ok(Isa::best()), |s| s.parse())?;
    let options = PlanOptions { isa, ..PlanOptions::default() };
    let start = Instant::now();
    let graph = onnx::load(Path::new(model), &onnx::LoadOptions::default())?;
    let plan = Arc::new(Plan::compile(&graph, &[], &options)?);
    let mut session = Session::new(&plan, threads)?;
    let x = vec![0.5; graph.ty(graph.inputs()[0])?.elements()];
    drop(graph);
    session.infer(&[&x])?;
    let first_ms = start.elapsed().as_secs_f64() * 1e3;
    let mut times_ms = Vec::new();
    for _ in 0..runs + 3 {
        let start = Instant::now();
        session.infer(&[&x])?;
        times_ms.push(start.elapsed().as_secs_f64() * 1e3);
    }
    let mut times_ms = times_ms.split_off(3);
    times_ms.sort_by(f64::total_cmp);
    let (median, min) = (times_ms[times_ms.len() / 2], times_ms[0]);
    let (arena, peak) = (plan.arena_bytes(), peak_rss_bytes());
    println!(
        "{{\"median_ms\": {median:.3}, \"min_ms\": {min:.3}, \"first_ms\": {first_ms:.1}, \"arena_bytes\": {arena}, \"peak_rss_bytes\": {peak}}}"
    );
    let listing = arguments.get(3).map_or("kinds", String::as_str);
    if listing != "json" {
        list(&mut session, &x, listing == "steps")?;
    }
    Ok(())
}

/// What Linux says of the process; 0 elsewhere.
fn peak_rss_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"));
    let kib = line.and_then(|l| l.trim().trim_end_matches(" kB").parse::<usize>().ok());
    kib.unwrap_or(0) * 1024
}

fn list(session: &mut Session, x: &[f32], steps: bool) -> Result<(), Box<dyn Error>> {
    let mut fastest = session.profile(&[x])?;
    for _ in 0..20 {
        for (best, (_, ms)) in fastest.iter_mut().zip(session.profile(&[x])?) {
            best.1 = best.1.min(ms);
        }
    }
    let mut by_kind: BTreeMap<String, (usize, f64, u64)> = BTreeMap::new();
    for (step, ms) in &fastest {
        if steps {
            let gops = 2e-6 * step.macs as f64 / ms;
            println!("{ms:9.4} ms {gops:7.1} GOP/s {:<28} {}", step.kind, step.name);
        }
        let kind = by_kind.entry(step.kind.clone()).or_default();
        *kind = (kind.0 + 1, kind.1 + ms, kind.2 + step.macs);
    }
    for (kind, (count, ms, macs)) in by_kind {
        let gops = 2e-6 * macs as f64 / ms;
        println!("{ms:9.3} ms {gops:7.1} GOP/s {count:4} {kind}");
    }
    let all: f64 = fastest.iter().map(|(_, ms)| ms).sum();
    println!("{all:9.3} ms in all");
    Ok(())
}
