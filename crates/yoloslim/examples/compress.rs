//! Prunes and quantizes a detector: `cargo run --release -p yoloslim --example compress -- MODEL data.yaml RUNDIR`
#![allow(clippy::print_stdout, reason = "an example prints")]

use std::error::Error;
use yoloslim::{Engine, Model, Run, RunDir, compress};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, data, out] = &arguments[..] else {
        return Err("expected MODEL data.yaml RUNDIR".into());
    };
    let model = Model::open(model)?;
    let recipe = model.recipe(data)?;
    let data = model.splits(&recipe)?;
    let dir = RunDir::create(out.as_ref(), true)?;
    let run = Run { log: &|line| println!("{line}"), ..Run::quiet(&dir, Engine::default()) };
    let record = compress(&model, &data, &recipe, &run)?;
    let (before, after) = (&record.baseline, &record.quantized);
    println!(
        "{} to {} bytes, mAP {:.4} to {:.4}, gate {}",
        before.file_bytes,
        after.file_bytes,
        before.metrics.coco.map_50_95,
        after.metrics.coco.map_50_95,
        if record.gate.passed { "passed" } else { "failed" }
    );
    Ok(())
}
