//! `throughput MODEL.onnx [sessions] [seconds]`: images a second of single-threaded sessions that share one plan.
use runtime::{Plan, PlanOptions, Session};
use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let usage = "usage: throughput MODEL.onnx [sessions] [seconds]";
    let model = arguments.first().ok_or(usage)?;
    let sessions: usize = arguments.get(1).map_or(Ok(2), |s| s.parse())?;
    let seconds: f64 = arguments.get(2).map_or(Ok(5.0), |s| s.parse())?;
    let graph = onnx::load(Path::new(model), &onnx::LoadOptions::default())?;
    let plan = Arc::new(Plan::compile(&graph, &[], &PlanOptions::default())?);
    let x = vec![0.5; graph.ty(graph.inputs()[0])?.elements()];
    let deadline = Instant::now() + Duration::from_secs_f64(seconds);
    let images: usize = std::thread::scope(|scope| {
        let work = || -> Result<usize, runtime::RuntimeError> {
            let mut session = Session::new(&plan, 1)?;
            let mut y = session.run(&[&x])?;
            let mut images = 0;
            while Instant::now() < deadline {
                y = session.run(&[&x])?;
                images += 1;
            }
            drop(y);
            Ok(images)
        };
        let running: Vec<_> = (0..sessions).map(|_| scope.spawn(work)).collect();
        let done = running.into_iter().map(|r| r.join().expect("a session's thread ends well"));
        done.sum::<Result<usize, _>>()
    })?;
    println!("{{\"sessions\": {sessions}, \"images_per_s\": {:.2}}}", images as f64 / seconds);
    Ok(())
}
