//! How long a step of training takes: forward, backward and Adam of a detector cut at its raw outputs, with a loss that costs nothing.
//!
//!     cargo run --release -p yoloslim-compress --example train_step -- MODEL.onnx [BATCH [THREADS [STEPS]]]
//!
//! Prints one line of JSON: the median of the steps after two, in milliseconds, and the most memory that the process took.
use runtime::PlanOptions;
use std::error::Error;
use std::time::Instant;
use train::optimizers::{ADAM, OptimizerState, clip};
use train::{BatchGradients, Batching, OutputGradients, Trainer, parameters, weights};

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let path = args.next().ok_or("name a model")?;
    let mut number = |default: usize| args.next().map_or(Ok(default), |text| text.parse());
    let (batch, threads, steps) = (number(8)?, number(2)?, number(22)?);
    let graph = onnx::load(path.as_ref(), &onnx::LoadOptions::default())?;
    let mut trunk = ir::normalise(graph)?.into_graph();
    let raw = yolo::families::identify(&trunk, None)?.raw(&trunk)?;
    let mut edit = trunk.edit();
    edit.set_outputs(&raw.outputs);
    trunk.apply(edit)?;
    let learned = parameters(&trunk);
    let mut weights = weights(&trunk, &learned)?;
    let batching = Batching::ways(batch).next().ok_or("no images")?;
    let options = PlanOptions::default();
    let mut trainer = Trainer::new(&trunk, &learned, &options, threads, batching)?;
    let mut adam = OptimizerState::new(&ADAM, &weights);
    let image = vec![0.5; trunk.ty(trunk.inputs()[0])?.elements()];
    let images = vec![image.as_slice(); batch];
    let squares = |_: usize, raw: &[Vec<f32>]| OutputGradients {
        loss: raw.iter().flatten().map(|&y| f64::from(y * y)).sum(),
        gradients: raw
            .iter()
            .map(|r| r.iter().map(|y| 2.0 * y / r.len() as f32).collect())
            .collect(),
    };
    let mut gradients = BatchGradients::default();
    let mut times_ms = Vec::new();
    for _ in 0..steps {
        let start = Instant::now();
        trainer.set_weights(&weights)?;
        trainer.gradients(&images, &squares, &mut gradients)?;
        clip(&mut gradients.gradients, 10.0, threads);
        adam.step(&mut weights, &gradients.gradients, 1e-4, threads);
        times_ms.push(start.elapsed().as_secs_f64() * 1e3);
    }
    times_ms.drain(..2.min(steps.saturating_sub(1)));
    times_ms.sort_by(f64::total_cmp);
    let peak_mb = peak_rss_bytes() / 1_000_000;
    let median_ms = times_ms[times_ms.len() / 2];
    println!("{{\"median_ms\": {median_ms:.1}, \"peak_rss_mb\": {peak_mb}}}");
    Ok(())
}

/// The most memory that the process took; 0 where the system does not tell.
fn peak_rss_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kb = line.and_then(|line| line.split_whitespace().next()?.parse::<usize>().ok());
    kb.unwrap_or(0) * 1024
}
