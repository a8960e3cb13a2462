//! `plan MODEL.onnx`: the steps that a model is compiled to, and how many of its MACs run on integers.
use runtime::{Plan, PlanOptions};
use std::error::Error;
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    let model = std::env::args().nth(1).ok_or("usage: plan MODEL.onnx")?;
    let graph = onnx::load(Path::new(&model), &onnx::LoadOptions::default())?;
    let plan = Plan::compile(&graph, &[], &PlanOptions::default())?;
    let (mut all, mut integer) = (0, 0);
    for step in plan.steps() {
        all += step.macs;
        integer += if step.is_integer { step.macs } else { 0 };
        println!("{:>12} {:<32} {}", step.macs, step.kind, step.name);
        if let Some(tile) = step.tile {
            println!("{:>12} {} x {}: {}", "", tile.pixels, tile.channels, tile.why);
        }
    }
    println!("MACs: {all}, on integers: {integer}; arena: {} bytes", plan.arena_bytes());
    Ok(())
}
