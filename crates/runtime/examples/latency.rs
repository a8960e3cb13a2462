//! `latency MODEL.onnx [threads] [runs]`: median latency of a model, and its slowest steps by kind.
use runtime::{Plan, PlanOptions, Session};
use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let model = arguments
        .first()
        .ok_or("usage: latency MODEL.onnx [threads] [runs]")?;
    let number = |i: usize, default| arguments.get(i).map_or(Ok(default), |s| s.parse());
    let (threads, runs) = (number(1, 2)?, number(2, 30)?);
    let options = onnx::LoadOptions::default();
    let graph = onnx::load(Path::new(model), &options)?;
    let plan = Arc::new(Plan::compile(&graph, &[], &PlanOptions::default())?);
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    for step in plan.steps() {
        *kinds.entry(step.kind).or_default() += 1;
    }
    println!("steps: {kinds:?}, arena: {} bytes", plan.arena_bytes());
    let mut session = Session::new(&plan, threads)?;
    let x = vec![0.5; graph.ty(graph.inputs()[0])?.elements()];
    let mut times_ms = Vec::new();
    let mut by_kind_ms: BTreeMap<String, f64> = BTreeMap::new();
    for _ in 0..runs + 3 {
        let start = Instant::now();
        session.run(&[&x])?;
        times_ms.push(start.elapsed().as_secs_f64() * 1e3);
    }
    for (step, ms) in session.profile(&[&x])? {
        *by_kind_ms.entry(step.kind).or_default() += ms;
    }
    let mut times_ms = times_ms.split_off(3);
    times_ms.sort_by(f64::total_cmp);
    println!(
        "median_ms: {:.3}, min_ms: {:.3}",
        times_ms[times_ms.len() / 2],
        times_ms[0]
    );
    for (kind, ms) in by_kind_ms {
        println!("{ms:9.3} ms {kind}");
    }
    Ok(())
}
